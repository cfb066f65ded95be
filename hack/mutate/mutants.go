package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// mutant is one change of one file: the bytes from, to are replaced.
type mutant struct {
	file     string
	source   []byte
	from, to int
	instead  string
	in       string // the function
	what     string
}

// name is the same for as long as the function says the same: it has no line numbers.
func (m mutant) name() string {
	return fmt.Sprintf("%s: %s: %s", filepath.Join(filepath.Base(filepath.Dir(m.file)), filepath.Base(m.file)), m.in, m.what)
}

// swapped are the operators that a mutant has instead.
var swapped = map[token.Token]string{
	token.LAND: "||", token.LOR: "&&", token.EQL: "!=", token.NEQ: "==",
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">", token.ADD: "-", token.SUB: "+",
}

// collector gathers the mutants of one file.
type collector struct {
	file   string
	source []byte
	base   int
	in     string
	list   []mutant
}

func mutantsOf(file string) ([]mutant, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, file, source, 0)
	if err != nil {
		return nil, err
	}
	c := &collector{file: file, source: source, base: set.File(syntax.Pos()).Base()}
	for _, decl := range syntax.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
			c.in = fn.Name.Name
			ast.Inspect(fn.Body, c.visit)
		}
	}
	return c.list, nil
}

func (c *collector) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IfStmt:
		c.add(n.Cond.Pos(), n.Cond.End(), "!("+c.text(n.Cond)+")", "negates "+c.text(n.Cond))
	case *ast.BinaryExpr:
		if op, ok := swapped[n.Op]; ok {
			c.add(n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), op, fmt.Sprintf("%s instead of %s in %s", op, n.Op, c.text(n)))
		}
	case *ast.ExprStmt:
		c.add(n.Pos(), n.End(), "", "removes "+c.text(n))
	case *ast.IncDecStmt:
		c.add(n.Pos(), n.End(), "", "removes "+c.text(n))
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			c.add(n.Pos(), n.End(), "", "removes "+c.text(n))
		}
	case *ast.CaseClause:
		if len(n.Body) > 0 {
			first, last := n.Body[0], n.Body[len(n.Body)-1]
			c.add(first.Pos(), last.End(), "", "empties "+c.label(n))
		}
	case *ast.ReturnStmt:
		for _, r := range n.Results {
			if id, ok := r.(*ast.Ident); ok && (id.Name == "true" || id.Name == "false") {
				c.add(id.Pos(), id.End(), map[string]string{"true": "false", "false": "true"}[id.Name], "the opposite of "+c.text(n))
			}
		}
	}
	return true
}

func (c *collector) label(n *ast.CaseClause) string {
	if n.List == nil {
		return "default"
	}
	return "case " + c.between(n.List[0].Pos(), n.List[len(n.List)-1].End())
}

func (c *collector) text(n ast.Node) string { return c.between(n.Pos(), n.End()) }

func (c *collector) between(from, to token.Pos) string {
	return strings.Join(strings.Fields(string(c.source[int(from)-c.base:int(to)-c.base])), " ")
}

func (c *collector) add(from, to token.Pos, instead, what string) {
	const most = 120
	if len(what) > most {
		what = what[:most] + "..."
	}
	c.list = append(c.list, mutant{file: c.file, source: c.source, from: int(from) - c.base, to: int(to) - c.base, instead: instead, in: c.in, what: what})
}
