// Package law tests the project's architecture: which package may import which, and where certain things may be written.
package law

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

const (
	module = "github.com/fleet-starter/fleet/"
	top    = "../.."
)

// source is one Go file of the project.
type source struct {
	path    string // relative to the top, with slashes
	imports []string
	syntax  *ast.File
}

// parsed is a cache of the parsed sources.
var parsed []source

func sources(t *testing.T) []source {
	t.Helper()
	if parsed != nil {
		return parsed
	}
	var list []source
	require.NoError(t, filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != top {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		s := source{path: filepath.ToSlash(rel), syntax: syntax}
		for _, spec := range syntax.Imports {
			name, _ := strconv.Unquote(spec.Path.Value)
			s.imports = append(s.imports, name)
		}
		list = append(list, s)
		return err
	}))
	require.NotEmpty(t, list)
	parsed = list
	return list
}

func (s source) isTest() bool     { return strings.HasSuffix(s.path, "_test.go") }
func (s source) dir() string      { return filepath.ToSlash(filepath.Dir(s.path)) }
func (s source) in(d string) bool { return strings.HasPrefix(s.path, d+"/") }

// pure are the packages that a decision may use: no context, no clock, no disk, no network, no client, no logger.
var pure = map[string]bool{
	"bytes": true, "cmp": true, "container/heap": true, "container/list": true, "crypto/sha256": true,
	"encoding/binary": true, "encoding/hex": true, "encoding/json": true, "errors": true, "fmt": true, "hash/fnv": true,
	"hash/maphash": false, "iter": true, "maps": true, "math": true, "math/bits": true, "net/netip": true, "path": true,
	"regexp": true, "slices": true, "sort": true, "strconv": true, "strings": true, "text/template": true, "time": true,
	"unicode": true, "unicode/utf8": true, "embed": true,
	module + "apis/v1": true, module + "apis/quantity": true, module + "internal/unitfile": true, module + "internal/instance": true, module + "internal/generate": true,
	module + "internal/routing": true, module + "internal/canary": true, module + "internal/repository": true,
}

// forbidden matches impure functions of otherwise pure packages.
var forbidden = regexp.MustCompile(`^time\.(Now|Since|Until|After|AfterFunc|Tick|NewTimer|NewTicker|Sleep)$`)

// shell are the schedule controller's files that observe and apply; all others decide.
var shell = []string{"schedule.go", "observe.go", "observe_files.go", "apply.go"}

func TestPlansArePure(t *testing.T) {
	plans := 0
	for _, s := range sources(t) {
		plan := s.in("controllers") && strings.HasPrefix(filepath.Base(s.path), "plan") ||
			s.in("controllers/schedule/index") || s.in("controllers/schedule/rule") ||
			s.dir() == "controllers/schedule" && !slices.Contains(shell, filepath.Base(s.path))
		if s.isTest() || !plan && !s.in("internal/instance") && !s.in("internal/generate") && !s.in("internal/routing") && !s.in("internal/canary") && !s.in("internal/repository") {
			continue
		}
		plans++
		for _, name := range s.imports {
			// A plan may be split into pure packages below its controller.
			own := strings.HasPrefix(name, module+strings.Join(strings.Split(s.dir(), "/")[:2], "/")+"/")
			require.True(t, pure[name] || own, "%s imports %s: a plan is pure, pass what it needs in its input", s.path, name)
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok {
					require.NotRegexp(t, forbidden, x.Name+"."+n.Sel.Name, "%s: Now is an input", s.path)
				}
			case *ast.GoStmt:
				require.Fail(t, "a plan starts no goroutine", s.path)
			}
			return true
		})
	}
	require.GreaterOrEqual(t, plans, 7, "every controller has a plan")
}

// Each row: files below dir, except tests, must not import packages with one of the prefixes.
func TestImports(t *testing.T) {
	etcd := "go.etcd.io/etcd"
	for _, law := range []struct {
		dir, why string
		not      []string
		except   []string
	}{
		{"apis", "types do not depend on the machinery", []string{module + "controllers", module + "cmd", module + "internal/store", module + "internal/cache", etcd}, nil},
		{"internal", "packages do not depend on their users", []string{module + "controllers", module + "cmd"}, []string{"internal/daemon/", "internal/forecast/"}}, // a forecast runs the very controllers
		{"controllers", "etcd is reached through internal/store", []string{etcd, module + "cmd", module + "internal/api", module + "internal/daemon"}, nil},
		{"internal/controller", "the loop does not depend on etcd", []string{etcd, module + "internal/store", module + "internal/cache"}, nil},
		{"internal/unitfile", "unit files are text", []string{module + "internal", module + "controllers", "github.com/coreos"}, nil},
		{"internal/cache", "caches work with any store", []string{etcd, "github.com/coreos"}, nil},
		{"internal/leader", "elections work with any store", []string{etcd}, nil},
		{"cmd/fleetctl", "fleetctl only uses HTTP", []string{etcd, module + "internal/store", module + "internal/systemd", module + "controllers"}, nil},
		{"internal/cli", "fleetctl shows what fleetd reports, and decides nothing itself", []string{module + "controllers", module + "internal/instance",
			module + "internal/generate", module + "internal/keyspace", module + "internal/store", module + "internal/cluster"}, nil},
		// Before anything is sent, lookup.go finds the local file for a name and compares it with the cluster's.
		{"internal/cli", "fleetd parses unit files (?file=true)", []string{module + "internal/unitfile"}, []string{"internal/cli/lookup.go"}},
		{"cmd/fleetctl", "fleetctl's commands are in internal/cli", []string{module + "internal/instance", module + "internal/unitfile"}, nil},
		{"internal/api/wire", "types do not depend on the machinery", []string{module + "internal", module + "controllers"}, nil},
		{"cmd/example-app", "the example has no dependencies", []string{"github.com", "k8s.io", "sigs.k8s.io", etcd}, nil},
	} {
		for _, s := range sources(t) {
			if s.isTest() || !s.in(law.dir) || excepted(s.path, law.except) {
				continue
			}
			for _, name := range s.imports {
				for _, not := range law.not {
					require.False(t, strings.HasPrefix(name, not), "%s imports %s: %s", s.path, name, law.why)
				}
			}
		}
	}
}

func excepted(path string, except []string) bool {
	for _, e := range except {
		if strings.HasPrefix(path, e) {
			return true
		}
	}
	return false
}

// reasonWord matches a controller's reason, such as RolloutStalled. A single word is too ambiguous.
var reasonWord = regexp.MustCompile(`^([A-Z][a-z]+){2,}$`)

// The reason of a controller's decision is a constant in its package. fleetctl and the API, which must not import that
// package, do not repeat it as a literal: reasons that they act on are in apis/v1.
func TestReasonsAreDefinedOnce(t *testing.T) {
	reasons := map[string]bool{}
	for _, s := range sources(t) {
		if s.in("controllers") && !s.isTest() {
			for _, value := range reasonsIn(s.syntax) {
				reasons[value] = reasonWord.MatchString(value)
			}
		}
	}
	require.True(t, reasons["RolloutStalled"])
	for _, option := range []string{"MachineOf", "MachineMetadata"} { // also fields of the manifest, which describe shows
		delete(reasons, option)
	}
	delete(reasons, "UnitFile") // also a kind
	for _, s := range sources(t) {
		if !s.in("internal/cli") && !s.in("internal/api") || s.isTest() {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				require.False(t, reasons[unquoted(lit)], "%s repeats %s, a reason of a controller: move it to apis/v1, or let fleetd report what it means", s.path, lit.Value)
			}
			return true
		})
	}
}

// reasonsIn returns the constants whose names begin with Reason, or that are in a group of which the comment says that they are reasons.
func reasonsIn(syntax *ast.File) (reasons []string) {
	group := false
	ast.Inspect(syntax, func(n ast.Node) bool {
		if decl, ok := n.(*ast.GenDecl); ok {
			group = decl.Tok == token.CONST && strings.HasPrefix(decl.Doc.Text(), "The reasons of ")
		}
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, value := range spec.Values {
			lit, ok := value.(*ast.BasicLit)
			if ok && i < len(spec.Names) && (group || strings.HasPrefix(spec.Names[i].Name, "Reason")) {
				reasons = append(reasons, unquoted(lit))
			}
		}
		return true
	})
	return reasons
}

// optionNames matches the options of [X-Fleet] that are placement rules: the fields of unitfile.Fleet. Global= is not one: it
// says how often a unit is placed. Nor are Image= and Pull=: what they name is pulled where the unit is placed.
func optionNames() *regexp.Regexp {
	var anywhere, first []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[unitfile.Fleet]()) {
		if name := f.Name; !slices.Contains([]string{"Unit", "Global", "Image", "Pull", "OnPartition"}, name) {
			anywhere = append(anywhere, name)
			first = append(first, strings.ToLower(name[:1])+name[1:], strings.ToLower(name))
		}
	}
	return regexp.MustCompile("(?:" + strings.Join(anywhere, "|") + ")|^(?:" + strings.Join(first, "|") + ")")
}

// sharedFiles are the files of controllers/schedule/rule that implement no option. All others implement one option, or
// options that belong together; list.go lists them.
var sharedFiles = []string{"closed.go", "patterns.go", "rule.go", "search.go", "survey.go", "words.go"}

// An option is implemented in its file below controllers/schedule/rule, and nowhere else in the scheduler.
func TestOneFilePerRule(t *testing.T) {
	names, rules := optionNames(), 0
	for _, s := range sources(t) {
		if !s.in("controllers/schedule") || s.in("controllers/schedule/scheduletest") || s.isTest() {
			continue
		}
		var named []string
		note := func(text string) {
			if names.MatchString(text) {
				named = append(named, text)
			}
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.Ident:
				note(n.Name)
			case *ast.BasicLit:
				if n.Kind == token.STRING && !strings.HasPrefix(n.Value, `"github.com/`) {
					note(n.Value)
				}
			}
			return true
		})
		if s.dir() == "controllers/schedule/rule" && !slices.Contains(sharedFiles, filepath.Base(s.path)) {
			rules++
			require.NotEmpty(t, named, "%s mentions no option", s.path)
			continue
		}
		require.Empty(t, named, "%s mentions an option: move that to a file of controllers/schedule/rule", s.path)
	}
	require.Greater(t, rules, 5)
}

// A word that one part writes and another one acts on is the same constant in both.
func TestWordsAreShared(t *testing.T) {
	require.Equal(t, v1.ReasonMachineOf, rule.ReasonMachineOf)
	require.Equal(t, v1.ReasonPending, string(instance.Pending))
}

// maxMethods is the maximum number of methods of a type of the API, to keep one type from knowing everything.
const maxMethods = 20

// The API is split by task: reading, writing, the original fleet's API, logs. Each has its type with its dependencies.
func TestAPITypesAreSmall(t *testing.T) {
	methods := map[string]int{}
	for _, s := range sources(t) {
		if !s.in("internal/api") || s.isTest() {
			continue
		}
		for _, d := range s.syntax.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				methods[s.dir()+"."+receiver(f)]++
			}
		}
	}
	require.Contains(t, methods, "internal/api.Server")
	for name, n := range methods {
		require.LessOrEqual(t, n, maxMethods, "%s has %d methods: split it by task", name, n)
	}
}

// receiver is the name of a method's receiver type.
func receiver(f *ast.FuncDecl) string {
	at := f.Recv.List[0].Type
	for {
		switch x := at.(type) {
		case *ast.StarExpr:
			at = x.X
		case *ast.IndexExpr:
			at = x.X
		case *ast.IndexListExpr:
			at = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// Controllers never call each other: they communicate only through stored state.
func TestControllersDoNotImportEachOther(t *testing.T) {
	for _, s := range sources(t) {
		if !s.in("controllers") || s.isTest() {
			continue
		}
		own := strings.SplitN(s.path, "/", 3)[1]
		for _, name := range s.imports {
			other, ok := strings.CutPrefix(name, module+"controllers/")
			if ok {
				require.Equal(t, own, strings.Split(other, "/")[0], "%s imports %s", s.path, name)
			}
		}
	}
}

// rowsOfEtcd are the names of keyspace's rows.
const rowsOfEtcd = `apps|units|unitfiles|revisions|applies|machines|machineconfig|overrides|rollouts|sources|sourcestatus|sourcewishes|placements|preparations|unplaced|states|status|routers|routes|events|leaders`

var (
	// spelt matches an etcd path, or a part of one: no blanks, and a row's name before a slash or at its end.
	spelt = regexp.MustCompile(`^/?([\w%.-]+/)*(` + rowsOfEtcd + `)(/[\w%./-]*)?$|^/services(/[\w%./-]*)?$`)
	// whole matches a path with a usual root, which no path of HTTP or files has.
	whole = regexp.MustCompile(`^/fleet/(` + rowsOfEtcd + `)(/|$)|^/services(/|$)`)
	// slashed distinguishes a path from a word.
	slashed = regexp.MustCompile(`/`)
)

// otherPaths are the packages with HTTP and file paths: there only whole etcd paths are found.
var otherPaths = []string{"internal/api/", "internal/cli/", "internal/dev/", "internal/nginx/", "cmd/fleet-dev/", "hack/gen/", "hack/packages/", "test/"}

// Every etcd path is written in internal/keyspace, and nowhere else: not as a whole, not in a format, not concatenated. The
// default announce prefix is part of the manifest.
func TestPathsAreWrittenOnce(t *testing.T) {
	found := map[string]int{}
	for _, s := range sources(t) {
		if s.isTest() || s.in("internal/keyspace") {
			continue
		}
		for _, path := range pathsIn(s.syntax) {
			if !excepted(s.path, otherPaths) || whole.MatchString(path) {
				found[s.path+": "+path]++
			}
		}
	}
	require.Equal(t, map[string]int{"apis/v1/app.go: /services/web": 1}, found, "an etcd path outside of internal/keyspace")
}

// All rows of keyspace are known to this test.
func TestRowsAreKnown(t *testing.T) {
	row := regexp.MustCompile(`^/([a-z]+)/$`)
	rows := map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() || !s.in("internal/keyspace") {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if name := row.FindStringSubmatch(unquoted(lit)); name != nil {
					rows[name[1]] = true
				}
			}
			return true
		})
	}
	require.Equal(t, strings.Split(rowsOfEtcd, "|"), slices.SortedFunc(maps.Keys(rows), func(a, b string) int {
		return cmp.Compare(strings.Index("|"+rowsOfEtcd+"|", "|"+a+"|"), strings.Index("|"+rowsOfEtcd+"|", "|"+b+"|"))
	}))
}

func unquoted(lit *ast.BasicLit) string {
	value, _ := strconv.Unquote(lit.Value)
	return value
}

// pathsIn returns the etcd paths in a file, and literals that become one by concatenation.
func pathsIn(syntax *ast.File) []string {
	var paths []string
	constants := constantsOf(syntax)
	text := func(n ast.Expr) string {
		switch n := n.(type) {
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				return unquoted(n)
			}
		case *ast.Ident:
			return constants[n.Name]
		}
		return ""
	}
	parts := func(exprs ...ast.Expr) { // a word is part of a path if it is joined to something
		for _, e := range exprs {
			if value := text(e); !slashed.MatchString(value) && spelt.MatchString(value) {
				paths = append(paths, value)
			}
		}
	}
	ast.Inspect(syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if value := text(n); slashed.MatchString(value) && spelt.MatchString(value) {
				paths = append(paths, value)
			}
		case *ast.BinaryExpr:
			if n.Op == token.ADD {
				parts(n.X, n.Y)
			}
		case *ast.CallExpr:
			parts(joined(n, text)...)
		}
		return true
	})
	return paths
}

// joined returns the arguments that a call joins to a path: those of Join, of a format with slashes, of a print with one.
func joined(call *ast.CallExpr, text func(ast.Expr) string) []ast.Expr {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return nil
	}
	of, _ := f.X.(*ast.Ident)
	switch {
	case of == nil:
	case f.Sel.Name == "Join" && (of.Name == "path" || of.Name == "keyspace"):
		return call.Args
	case f.Sel.Name == "Join" && of.Name == "strings" && len(call.Args) == 2 && text(call.Args[1]) == "/":
		if list, ok := call.Args[0].(*ast.CompositeLit); ok {
			return list.Elts
		}
	case of.Name == "fmt":
		if slices.ContainsFunc(call.Args, func(e ast.Expr) bool { return noBlanks.MatchString(text(e)) }) {
			return call.Args
		}
	}
	return nil
}

// noBlanks matches a format, or a part of one, that looks like a path: "%s/%s".
var noBlanks = regexp.MustCompile(`^[\w%.-]*/[\w%./-]*$`)

// constantsOf returns a file's string constants, by name.
func constantsOf(syntax *ast.File) map[string]string {
	texts := map[string]string{}
	ast.Inspect(syntax, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, value := range spec.Values {
			if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.STRING && i < len(spec.Names) {
				texts[spec.Names[i].Name] = unquoted(lit)
			}
		}
		return true
	})
	return texts
}

// What the test finds, and what it ignores.
func TestPathsIn(t *testing.T) {
	for _, c := range []struct {
		code string
		want []string
	}{
		{`"/fleet/apps/" + name`, []string{"/fleet/apps/"}},
		{`"apps/" + name`, []string{"apps/"}},
		{`root + "/units/"`, []string{"/units/"}},
		{`root + "/states"`, []string{"/states"}},
		{`root + "/" + "machines" + "/" + id`, []string{"machines"}},
		{`fmt.Sprintf("%s/placements/%s/%s", root, machine, unit)`, []string{"%s/placements/%s/%s"}},
		{`path.Join(root, "routers", id)`, []string{"routers"}},
		{`"/fleet/unitfiles/0123"`, []string{"/fleet/unitfiles/0123"}},
		{`fmt.Sprintf("%s/%s/%s", root, "units", name)`, []string{"units"}},
		{`fmt.Sprint(root, "/", "states")`, []string{"states"}},
		{`strings.Join([]string{root, "events", name}, "/")`, []string{"events"}},
		{`root + row; const row = "status"`, []string{"status"}},
		{`keyspace.Join(row, name); const row = "routes"`, []string{"routes"}},
		{`"/services/web/" + app`, []string{"/services/web/"}},
		{`path.Join(root, row); var row = "leaders"`, []string{"leaders"}},
		{`fmt.Sprintf("%d %s", n, "units")`, nil},
		{`fmt.Sprintf("%d of %s/%s", n, "units", name)`, nil},
		{`filepath.Join(dir, "units")`, nil},
		{`"the key is not placements/<machine>/<unit>: nothing reads it"`, nil},
		{`client.Path("apps", name)`, nil},
		{`[]string{"apps", "units"}`, nil},
		{`"fleet/updated-at"`, nil},
	} {
		syntax, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nvar _ = "+c.code, 0)
		require.NoError(t, err)
		require.Equal(t, c.want, pathsIn(syntax), c.code)
	}
}

// Programs link only what their users need: fleetctl no etcd, and what runs as root on every machine no etcd server.
func TestProgramsLinkOnlyWhatTheyNeed(t *testing.T) {
	for program, not := range map[string][]string{
		"fleetctl":        {"go.etcd.io/etcd", "github.com/coreos/go-systemd", "sigs.k8s.io/kustomize"},
		"fleetd":          {"go.etcd.io/etcd/server", "go.etcd.io/bbolt", "go.etcd.io/raft", "sigs.k8s.io/kustomize"},
		"fleet-kustomize": {"go.etcd.io", "google.golang.org/grpc", "k8s.io/client-go"},
		"announcer":       {"go.etcd.io/etcd/server", "github.com/prometheus", "github.com/spf13/cobra", "k8s.io"},
		"router":          {"go.etcd.io/etcd/server"},
		"example-app":     {"github.com/", "k8s.io/", "go.etcd.io/"},
	} {
		out, err := exec.Command("go", "list", "-deps", module+"cmd/"+program).CombinedOutput()
		require.NoError(t, err, string(out))
		for dep := range strings.Lines(string(out)) {
			dep = strings.TrimSpace(dep)
			for _, n := range not {
				require.False(t, strings.HasPrefix(dep, n) && !strings.HasPrefix(dep, module), "%s links %s", program, dep)
			}
		}
	}
}
