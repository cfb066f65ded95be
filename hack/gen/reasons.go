package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// section is a section of the page: the packages it covers, and where people meet their reasons.
type section struct {
	title, intro string
	dirs         []string // with their subdirectories
}

var sections = []section{
	{"Placement", "Why the schedule controller places, moves or removes a unit, and what keeps one off a machine. They are in `fleetctl events " +
		"--for unit/NAME`, in `fleetctl describe unit NAME`, in the values of `unplaced/`, and in the leader's log (`Placing unit`).",
		[]string{"controllers/schedule"}},
	{"Roll-outs and manifests", "What the app controller does with an App and its units. They are in `fleetctl events --for app/NAME` and in the leader's log.",
		[]string{"controllers/app"}},
	{"Conditions of an App", "In `fleetctl describe app NAME` and in `.status.conditions` of `fleetctl get app NAME -o yaml`. `Scheduled` may also have the " +
		"reason of a placement that was refused.",
		[]string{"controllers/status", "internal/instance", "apis/v1"}},
	{"Units on their machine", "What fleetd does with a unit of its machine. They are in that fleetd's log; `Failed`, `Restarting`, `NotStarted`, `Recovered`, " +
		"`LeftAlone`, `TakenOver`, `PullFailed`, `ContainerLeftOver` and `ContainerNotPlaced` are events of the unit, too.",
		[]string{"controllers/node"}},
	{"Routers", "Why a router leaves something out, in `refused` of `/fleet/routers/<machine>`, in the App's condition `Routed` and in events; and why it acts, in its log.",
		[]string{"controllers/route", "internal/nginx"}},
	{"Announcers", "In the log of a sidekick: `fleetctl logs NAME-discovery@1`.", []string{"controllers/announce"}},
	{"Sources", "What the source controller does with a commit of a Git repository, and why one is not applied. They are in `fleetctl describe source NAME`, in " +
		"`fleetctl events --for source/NAME` and in the leader's log. An App has events of what a commit changes, too, also " +
		"when `fleetctl apply --from-git` stores it: they name the commit, its author and its subject.", []string{"controllers/source", "internal/git"}},
	{"Garbage collection", "Why an unreferenced key is deleted. They are in the leader's log and, where a person wrote the key, in an event of `key/...`.",
		[]string{"controllers/collect"}},
	{"Keys and caches", "In events of `key/...`: keys that are ignored, and changes that etcd's watch lost.", []string{"internal/cache"}},
	{"Machines", "In events of `machine/ID`.", []string{"internal/daemon"}},
	{"Answers of the API", "In `reason` of the answer to a write, and of every error, with the HTTP status first.", []string{"internal/api"}},
}

const reasonsIntro = `# Reasons and events

<!-- Generated from the constants of the code by hack/update-generated.sh. Do not edit: the explanations are their comments. -->

Every decision has a reason: one constant word, for programs and for this page, and a message for people.

| to see | run |
|---|---|
| what happened to an app and to its units | ` + "`fleetctl events --for app/NAME`" + ` |
| why a unit is not placed or does not run | ` + "`fleetctl describe unit NAME`" + ` |
| what a reason means, and what to do | ` + "`fleetctl explain REASON`" + ` |
| why a unit is where it is, or nowhere | ` + "`fleetctl explain UNIT`" + ` |
| what a machine's fleetd does, and why | ` + "`journalctl -u fleetd`" + ` |

An event is kept for some hours. A repeated event is one event with a count.
`

// reason is a constant that explains a decision.
type reason struct {
	value, text string
	dir         string
	at          token.Position
}

// reasonsOf collects every reason in the code and generates the page. A reason without an explanation, one without a section,
// and a literal instead of a constant are errors.
func reasonsOf(top string) (page []byte, reasons []explainedReason, err error) {
	r := reasonReader{top: top, files: token.NewFileSet(), consts: map[string]*reason{}}
	for _, dir := range []string{"apis", "cmd", "controllers", "internal"} {
		if err := filepath.WalkDir(filepath.Join(top, dir), r.visit); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
	}
	for _, f := range r.parsed {
		r.read(f)
	}
	for _, f := range r.parsed {
		r.check(f)
	}
	return r.page()
}

// explainedReason is a reason as fleetctl explain shows it.
type explainedReason struct {
	Reason string `json:"reason"`
	Where  string `json:"where"` // the section's title
	Means  string `json:"means"`
	Do     string `json:"do,omitempty"`
}

type sourceFile struct {
	dir, path string
	syntax    *ast.File
}

type reasonReader struct {
	top    string
	files  *token.FileSet
	parsed []sourceFile
	consts map[string]*reason // every string constant, by directory and name: "apis/v1.ReasonPending"
	found  []*reason
	wrong  []error
}

func (r *reasonReader) visit(path string, entry fs.DirEntry, err error) error {
	if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
		return err
	}
	syntax, err := parser.ParseFile(r.files, path, nil, parser.ParseComments)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(r.top, filepath.Dir(path))
	r.parsed = append(r.parsed, sourceFile{filepath.ToSlash(rel), path, syntax})
	return err
}

var (
	reasonName = regexp.MustCompile(`^[Rr]eason[A-Z]`)
	saysWhy    = regexp.MustCompile(`(?i)\breasons?\b|^why\b`)
)

// read finds the constants of a file that are reasons: by their name, their type, or the comment of their group.
func (r *reasonReader) read(f sourceFile) {
	types := r.typesThatSayWhy(f.dir)
	prefix := eventPrefix(f.syntax)
	for _, decl := range f.syntax.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			s := spec.(*ast.ValueSpec)
			if len(s.Names) != 1 || len(s.Values) != 1 {
				continue
			}
			name := s.Names[0].Name
			typ, _ := s.Type.(*ast.Ident)
			is := reasonName.MatchString(name) || typ != nil && types[typ.Name] || saysWhy.MatchString(group.Doc.Text()) && group.Lparen.IsValid()
			c := &reason{dir: f.dir, at: r.files.Position(s.Pos())}
			switch v := s.Values[0].(type) {
			case *ast.BasicLit:
				if v.Kind != token.STRING {
					continue
				}
				c.value, _ = strconv.Unquote(v.Value)
				c.value = prefix + c.value
			case *ast.Ident:
				c.value = "=" + f.dir + "." + v.Name
			case *ast.SelectorExpr:
				if c.value = "=" + r.imported(f.syntax, v); c.value == "=" {
					continue
				}
			default:
				continue
			}
			if c.text = explanation(s, group, name); strings.ContainsAny(c.value, "%/ ") && !strings.HasPrefix(c.value, "=") {
				is = false // a format or a sentence
			}
			r.consts[f.dir+"."+name] = c
			if is {
				r.found = append(r.found, c)
			}
		}
	}
}

// typesThatSayWhy are the types of a package whose comment mentions reasons.
func (r *reasonReader) typesThatSayWhy(dir string) map[string]bool {
	types := map[string]bool{}
	for _, f := range r.parsed {
		for _, decl := range f.syntax.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.TYPE || f.dir != dir {
				continue
			}
			for _, spec := range group.Specs {
				t := spec.(*ast.TypeSpec)
				if base, ok := t.Type.(*ast.Ident); ok && base.Name == "string" && saysWhy.MatchString(group.Doc.Text()+t.Doc.Text()) {
					types[t.Name.Name] = true
				}
			}
		}
	}
	return types
}

// imported returns the directory and the name of another package's constant.
func (r *reasonReader) imported(file *ast.File, s *ast.SelectorExpr) string {
	pkg, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		if dir, ours := strings.CutPrefix(path, module); ours && filepath.Base(dir) == pkg.Name {
			return dir + "." + s.Sel.Name
		}
	}
	return ""
}

const module = "github.com/fleet-starter/fleet/"

// explanation is the comment beside a constant, or above it, without the constant's name.
func explanation(s *ast.ValueSpec, group *ast.GenDecl, name string) string {
	text := cmp.Or(plain(s.Comment.Text()), plain(s.Doc.Text()))
	if text == "" && !group.Lparen.IsValid() {
		text = plain(group.Doc.Text())
	}
	return withoutName(strings.TrimPrefix(text, name+": "), name)
}

// eventPrefix is the prefix of the file's reasons in events: "Cache"+d.Reason.
func eventPrefix(file *ast.File) (prefix string) {
	eachRecord(file, func(reason ast.Expr) {
		if sum, ok := reason.(*ast.BinaryExpr); ok {
			if lit, ok := sum.X.(*ast.BasicLit); ok {
				prefix, _ = strconv.Unquote(lit.Value)
			}
		}
	})
	return prefix
}

// eachRecord finds the reasons of the events recorded in a file: Record(kind, name, type, reason, message).
func eachRecord(file *ast.File, f func(reason ast.Expr)) {
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) == 5 {
			if fn, ok := call.Fun.(*ast.SelectorExpr); ok && strings.EqualFold(fn.Sel.Name, "record") {
				f(call.Args[3])
			}
		}
		return true
	})
}

// check requires each reason to be a constant: a literal has no explanation.
func (r *reasonReader) check(f sourceFile) {
	literal := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING && lit.Value != `""` {
			r.wrong = append(r.wrong, fmt.Errorf("%s: the reason %s is a literal: make it a constant, and explain it in a comment",
				r.files.Position(lit.Pos()), lit.Value))
		}
	}
	eachRecord(f.syntax, literal)
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			if key, ok := pair.Key.(*ast.Ident); ok && key.Name == "Reason" {
				literal(pair.Value)
			}
		}
		return true
	})
}

// page writes the sections, each reason once.
func (r *reasonReader) page() (page []byte, all []explainedReason, err error) {
	out := bytes.NewBufferString(reasonsIntro)
	lists := make([]map[string]*reason, len(sections))
	for _, c := range r.found {
		of, text := c, c.text
		for strings.HasPrefix(of.value, "=") && r.consts[of.value[1:]] != nil {
			of = r.consts[of.value[1:]]
			text = cmp.Or(text, of.text)
		}
		n := slices.IndexFunc(sections, func(s section) bool {
			return slices.ContainsFunc(s.dirs, func(dir string) bool { return c.dir == dir || strings.HasPrefix(c.dir, dir+"/") })
		})
		if n < 0 {
			r.wrong = append(r.wrong, fmt.Errorf("%s: reasons of %s have no section: add one to hack/gen/reasons.go", c.at, c.dir))
			continue
		}
		if lists[n] == nil {
			lists[n] = map[string]*reason{}
		}
		if had := lists[n][of.value]; had == nil || len(had.text) < len(text) {
			lists[n][of.value] = &reason{value: of.value, text: text, at: c.at}
		}
	}
	for n, s := range sections {
		if len(lists[n]) == 0 {
			continue
		}
		var rows []*reason
		heading, advised := "| reason | means |\n|---|---|\n", false
		for _, c := range lists[n] {
			rows = append(rows, c)
			advised = advised || advice[s.title][c.value] != ""
		}
		if advised {
			heading = "| reason | means | what to do |\n|---|---|---|\n"
		}
		fmt.Fprintf(out, "\n## %s\n\n%s\n\n%s", s.title, s.intro, heading)
		slices.SortFunc(rows, func(a, b *reason) int { return cmp.Compare(a.value, b.value) })
		for _, c := range rows {
			if c.text == "" {
				r.wrong = append(r.wrong, fmt.Errorf("%s: the reason %q has no explanation: add a comment, it is published in docs/reasons.md", c.at, c.value))
				continue
			}
			e := explainedReason{Reason: c.value, Where: s.title, Means: sentence(c.text), Do: advice[s.title][c.value]}
			all = append(all, e)
			fmt.Fprintf(out, "| `%s` | %s |", c.value, escape(e.Means))
			if advised {
				fmt.Fprintf(out, " %s |", escape(e.Do))
			}
			fmt.Fprintln(out)
		}
	}
	return out.Bytes(), all, errors.Join(r.wrong...)
}

// sentence capitalizes the first letter and adds a full stop.
func sentence(text string) string {
	first := []rune(text)
	if word, _, _ := strings.Cut(text, " "); !strings.Contains(word, "=") && !slices.Contains([]string{"fleetd", "systemd", "nginx", "etcd", "etcd's"}, word) {
		first[0] = unicode.ToUpper(first[0])
	}
	return strings.TrimSuffix(string(first), ".") + "."
}
