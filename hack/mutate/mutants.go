package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// mutant is one change of one file: if mutant number id is on, the bytes between from and to are different.
type mutant struct {
	file     string
	from, to int
	in       string // the function
	what     string
	again    int // how many earlier mutants of the same function have the same name
	write    writer
	order    int
	id       int // its number in the compiled program
}

// writer writes a mutant: code that behaves like the original unless mutant number id is on. text returns the source between
// two offsets, with the mutants in it.
type writer func(id int, text func(from, to int) string) string

// name identifies the mutant. It contains no line numbers, so that it only changes with its function.
func (m *mutant) name() string {
	name := fmt.Sprintf("%s: %s: %s", filepath.Join(filepath.Base(filepath.Dir(m.file)), filepath.Base(m.file)), m.in, m.what)
	if m.again > 0 {
		name += fmt.Sprintf(" (%d)", m.again+1)
	}
	return name
}

// swapped maps operators to their mutants.
var swapped = map[token.Token]string{
	token.LAND: "||", token.LOR: "&&", token.EQL: "!=", token.NEQ: "==",
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">", token.ADD: "-", token.SUB: "+",
}

// logged are calls without effect on behaviour: logs and metrics.
var logged = regexp.MustCompile(`(?i)(^|\.)([a-z]*log|metrics?)\b|\.(Inc|Dec|Observe)$`)

// saysOnly are functions for logs and metrics only.
var saysOnly = map[string]bool{"Describe": true, "Collect": true, "MarshalLog": true, "log": true}

// collector gathers the mutants of one file.
type collector struct {
	file   string
	source string
	base   int
	in     string
	list   []*mutant
	names  map[string]int
	fixed  map[ast.Node]bool // statements that must stay in place, such as a loop's i++
}

// mutantsOf returns the mutants of a file in source order, outer ones first.
func mutantsOf(file string) ([]*mutant, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, file, source, 0)
	if err != nil {
		return nil, err
	}
	c := &collector{file: file, source: string(source), base: set.File(syntax.Pos()).Base(), names: map[string]int{}, fixed: map[ast.Node]bool{}}
	for _, decl := range syntax.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil && !saysOnly[fn.Name.Name] {
			c.in = fn.Name.Name
			ast.Inspect(fn.Body, c.visit)
		}
	}
	slices.SortStableFunc(c.list, byPlace)
	for i, m := range c.list {
		m.order = i
	}
	return c.list, nil
}

// byPlace sorts by position, outer nodes before inner ones.
func byPlace(a, b *mutant) int {
	return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to), cmp.Compare(a.order, b.order))
}

func (c *collector) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok != token.CONST // constants cannot be mutated at run time
	case *ast.CallExpr:
		return !c.logs(n)
	case *ast.ForStmt:
		c.fix(n.Init, n.Post)
	case *ast.SwitchStmt:
		c.fix(n.Init)
	case *ast.CommClause:
		c.fix(n.Comm)
	case *ast.IfStmt:
		c.fix(n.Init)
		if c.onlyLogs(n) {
			return false
		}
		c.add(n.Cond, "negates "+c.text(n.Cond), func(id int, text func(from, to int) string) string {
			return fmt.Sprintf("(mutantOn(%d) != (%s))", id, text(c.span(n.Cond)))
		})
	case *ast.BinaryExpr:
		c.binary(n)
	case *ast.ExprStmt, *ast.IncDecStmt:
		c.remove(n.(ast.Stmt))
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			c.remove(n)
		}
	case *ast.CaseClause:
		if len(n.Body) > 0 && !c.allLog(n.Body) {
			c.without(n.Body[0].Pos(), n.Body[len(n.Body)-1].End(), "empties "+c.label(n))
		}
	case *ast.ReturnStmt:
		for _, r := range n.Results {
			if id, ok := r.(*ast.Ident); ok && (id.Name == "true" || id.Name == "false") {
				c.opposite(id, c.text(n))
			}
		}
	}
	return true
}

// logs reports whether a call only logs or counts.
func (c *collector) logs(call *ast.CallExpr) bool { return logged.MatchString(c.text(call.Fun)) }

// onlyLogs reports whether only logs and metrics depend on the condition.
func (c *collector) onlyLogs(n *ast.IfStmt) bool {
	return n.Else == nil && n.Init == nil && c.allLog(n.Body.List)
}

func (c *collector) allLog(list []ast.Stmt) bool {
	return !slices.ContainsFunc(list, func(s ast.Stmt) bool {
		e, ok := s.(*ast.ExprStmt)
		if !ok {
			return true
		}
		call, ok := e.X.(*ast.CallExpr)
		return !ok || !c.logs(call)
	})
}

func (c *collector) fix(list ...ast.Stmt) {
	for _, s := range list {
		if s != nil {
			c.fixed[s] = true
		}
	}
}

func (c *collector) binary(n *ast.BinaryExpr) {
	op, ok := swapped[n.Op]
	if !ok || n.Op == token.ADD && strings.Contains(c.text(n), `"`) { // strings cannot be subtracted
		return
	}
	c.add(n, fmt.Sprintf("%s instead of %s in %s", op, n.Op, c.text(n)), func(id int, text func(from, to int) string) string {
		x, y := text(c.span(n.X)), text(c.span(n.Y))
		switch n.Op {
		case token.EQL, token.NEQ:
			return fmt.Sprintf("(mutantOn(%d) != (%s %s %s))", id, x, n.Op, y)
		case token.ADD:
			return fmt.Sprintf("mutantSum(%d, %s, %s)", id, x, y)
		case token.SUB:
			return fmt.Sprintf("mutantDifference(%d, %s, %s)", id, x, y)
		}
		return fmt.Sprintf("(mutantOn(%d) && (%s %s %s) || !mutantOn(%d) && (%s %s %s))", id, x, op, y, id, x, n.Op, y)
	})
}

func (c *collector) remove(s ast.Stmt) {
	if e, ok := s.(*ast.ExprStmt); ok {
		if call, ok := e.X.(*ast.CallExpr); ok && c.logs(call) {
			return
		}
	}
	if !c.fixed[s] {
		c.without(s.Pos(), s.End(), "removes "+c.text(s))
	}
}

func (c *collector) without(from, to token.Pos, what string) {
	c.put(int(from)-c.base, int(to)-c.base, what, func(id int, text func(from, to int) string) string {
		return fmt.Sprintf("if !mutantOn(%d) { %s }", id, text(int(from)-c.base, int(to)-c.base))
	})
}

func (c *collector) opposite(value *ast.Ident, statement string) {
	c.add(value, "the opposite of "+statement, func(id int, _ func(from, to int) string) string {
		return fmt.Sprintf("mutantOn(%d) != %s", id, value.Name)
	})
}

func (c *collector) label(n *ast.CaseClause) string {
	if n.List == nil {
		return "default"
	}
	return "case " + c.between(n.List[0].Pos(), n.List[len(n.List)-1].End())
}

func (c *collector) span(n ast.Node) (from, to int) {
	return int(n.Pos()) - c.base, int(n.End()) - c.base
}

func (c *collector) text(n ast.Node) string { return c.between(n.Pos(), n.End()) }

func (c *collector) between(from, to token.Pos) string {
	return strings.Join(strings.Fields(c.source[int(from)-c.base:int(to)-c.base]), " ")
}

func (c *collector) add(n ast.Node, what string, write writer) {
	from, to := c.span(n)
	c.put(from, to, what, write)
}

func (c *collector) put(from, to int, what string, write writer) {
	const most = 120
	if len(what) > most {
		what = what[:most] + "..."
	}
	key := c.in + ": " + what
	c.list = append(c.list, &mutant{file: c.file, from: from, to: to, in: c.in, what: what, again: c.names[key], write: write})
	c.names[key]++
}

// withMutants writes a file with all of the mutants, in the order of mutantsOf.
func withMutants(source string, list []*mutant) string {
	var write func(from, to int, list []*mutant) string
	write = func(from, to int, list []*mutant) string {
		var b strings.Builder
		for at := 0; at < len(list); {
			m := list[at]
			inner := at + 1
			for inner < len(list) && list[inner].from < m.to {
				inner++
			}
			within := list[at+1 : inner]
			b.WriteString(source[from:m.from])
			b.WriteString(m.write(m.id, func(from, to int) string {
				return write(from, to, slices.DeleteFunc(slices.Clone(within), func(i *mutant) bool { return i.from < from || i.to > to }))
			}))
			from, at = m.to, inner
		}
		b.WriteString(source[from:to])
		return b.String()
	}
	return write(0, len(source), list)
}
