// Package law holds the import law of the house: which part may know of which other.
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
	path    string // from the top, with slashes
	imports []string
	syntax  *ast.File
}

// parsed are the sources, once they have been read.
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
		syntax, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
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

// pure is what a decision may be made of: no context, no clock, no disk, no network, no client, no logger.
var pure = map[string]bool{
	"bytes": true, "cmp": true, "container/heap": true, "container/list": true, "crypto/sha256": true,
	"encoding/binary": true, "encoding/hex": true, "encoding/json": true, "errors": true, "fmt": true, "hash/fnv": true,
	"hash/maphash": false, "iter": true, "maps": true, "math": true, "math/bits": true, "net/netip": true, "path": true,
	"regexp": true, "slices": true, "sort": true, "strconv": true, "strings": true, "text/template": true, "time": true,
	"unicode": true, "unicode/utf8": true, "embed": true,
	module + "apis/v1": true, module + "apis/quantity": true, module + "internal/unitfile": true, module + "internal/instance": true, module + "internal/generate": true,
	module + "internal/routing": true,
}

// forbidden calls of packages that are pure otherwise.
var forbidden = regexp.MustCompile(`^time\.(Now|Since|Until|After|AfterFunc|Tick|NewTimer|NewTicker|Sleep)$`)

// shell are the files of the schedule controller that observe and apply; all others decide.
var shell = []string{"schedule.go", "observe.go", "observe_files.go", "apply.go"}

func TestPlansArePure(t *testing.T) {
	plans := 0
	for _, s := range sources(t) {
		plan := s.in("controllers") && strings.HasPrefix(filepath.Base(s.path), "plan") ||
			s.in("controllers/schedule/index") || s.in("controllers/schedule/rule") ||
			s.dir() == "controllers/schedule" && !slices.Contains(shell, filepath.Base(s.path))
		if s.isTest() || !plan && !s.in("internal/instance") && !s.in("internal/generate") && !s.in("internal/routing") {
			continue
		}
		plans++
		for _, name := range s.imports {
			// A plan may be split over pure packages of its own, below its controller.
			own := strings.HasPrefix(name, module+strings.Join(strings.Split(s.dir(), "/")[:2], "/")+"/")
			require.True(t, pure[name] || own, "%s imports %s: a plan is pure, what it needs is in its input", s.path, name)
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

// Each row: files below dir (tests apart) must not import what begins with one of the prefixes.
func TestWhoMayKnowWhom(t *testing.T) {
	etcd := "go.etcd.io/etcd"
	for _, law := range []struct {
		dir, why string
		not      []string
		except   []string
	}{
		{"apis", "types know nothing of the machinery", []string{module + "controllers", module + "cmd", module + "internal/store", module + "internal/cache", etcd}, nil},
		{"internal", "the parts do not know who uses them", []string{module + "controllers", module + "cmd"}, []string{"internal/daemon/"}},
		{"controllers", "etcd is reached through internal/store", []string{etcd, module + "cmd", module + "internal/api", module + "internal/daemon"}, nil},
		{"internal/controller", "the loop has no etcd in it", []string{etcd, module + "internal/store", module + "internal/cache"}, nil},
		{"internal/unitfile", "unit files are text", []string{module + "internal", module + "controllers", "github.com/coreos"}, nil},
		{"internal/cache", "caches read a store, whichever", []string{etcd, "github.com/coreos"}, nil},
		{"internal/leader", "elections run on a store, whichever", []string{etcd}, nil},
		{"cmd/fleetctl", "fleetctl speaks HTTP only", []string{etcd, module + "internal/store", module + "internal/systemd", module + "controllers"}, nil},
		{"internal/cli", "fleetctl tells what fleetd says, and decides nothing itself", []string{module + "controllers", module + "internal/instance",
			module + "internal/generate", module + "internal/keyspace", module + "internal/store", module + "internal/cluster"}, nil},
		// Which file here is meant by a name, and whether it says what the cluster has, is asked before anything is sent.
		{"internal/cli", "what a unit's file says fleetd tells (?file=true)", []string{module + "internal/unitfile"}, []string{"internal/cli/lookup.go"}},
		{"cmd/fleetctl", "fleetctl's commands are in internal/cli", []string{module + "internal/instance", module + "internal/unitfile"}, nil},
		{"internal/api/wire", "types know nothing of the machinery", []string{module + "internal", module + "controllers"}, nil},
		{"cmd/example-app", "the example depends on nothing", []string{"github.com", "k8s.io", "sigs.k8s.io", etcd}, nil},
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

// reasonWord is a reason as controllers write it: RolloutStalled. One of a single word may mean anything.
var reasonWord = regexp.MustCompile(`^([A-Z][a-z]+){2,}$`)

// What a controller decides has a name in its package. fleetctl and the API, which may not know that package, spell none of these
// names themselves: what they act on is in apis/v1.
func TestReasonsAreSpeltOnce(t *testing.T) {
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
				require.False(t, reasons[unquoted(lit)], "%s spells %s, which a controller decides: have it in apis/v1, or have fleetd say what it means", s.path, lit.Value)
			}
			return true
		})
	}
}

// reasonsIn are the constants of the type Reason, or with a name that begins with it.
func reasonsIn(syntax *ast.File) (reasons []string) {
	ast.Inspect(syntax, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		of, _ := spec.Type.(*ast.Ident)
		for i, value := range spec.Values {
			lit, ok := value.(*ast.BasicLit)
			if ok && i < len(spec.Names) && (of != nil && of.Name == "Reason" || strings.HasPrefix(spec.Names[i].Name, "Reason")) {
				reasons = append(reasons, unquoted(lit))
			}
		}
		return true
	})
	return reasons
}

// optionNames are the options of [X-Fleet] that are rules of placement: the fields of unitfile.Fleet. Global= is none: it says how
// often a unit is placed.
func optionNames() *regexp.Regexp {
	var anywhere, first []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[unitfile.Fleet]()) {
		if name := f.Name; name != "Unit" && name != "Global" {
			anywhere = append(anywhere, name)
			first = append(first, strings.ToLower(name[:1])+name[1:], strings.ToLower(name))
		}
	}
	return regexp.MustCompile("(?:" + strings.Join(anywhere, "|") + ")|^(?:" + strings.Join(first, "|") + ")")
}

// sharedFiles are those of controllers/schedule/rule that are about no option: all others are one option each, or options that
// belong together; list.go is the list of them.
var sharedFiles = []string{"closed.go", "patterns.go", "rule.go", "search.go", "survey.go", "words.go"}

// What an option means is said in its file below controllers/schedule/rule, and nowhere else in the scheduler.
func TestARuleIsAFile(t *testing.T) {
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
			require.NotEmpty(t, named, "%s names no option", s.path)
			continue
		}
		require.Empty(t, named, "%s names an option: what it means belongs into a file of controllers/schedule/rule", s.path)
	}
	require.Greater(t, rules, 5)
}

// A word that one part writes and another one acts on is the same in both.
func TestWordsAreShared(t *testing.T) {
	require.Equal(t, v1.ReasonMachineOf, rule.ReasonMachineOf)
	require.Equal(t, v1.ReasonPending, string(instance.Pending))
}

// maxMethods is how many methods a type of the API may have: one that has more knows everything.
const maxMethods = 20

// The API is made of rooms: reading, writing, the original fleet's words, logs. Each is a type with what it needs.
func TestTheAPIHasRooms(t *testing.T) {
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
		require.LessOrEqual(t, n, maxMethods, "%s has %d methods: make a type of each thing that it does", name, n)
	}
}

// receiver is the name of the type that a method has.
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

// Controllers never call each other: they meet in stored state only.
func TestControllersDoNotKnowEachOther(t *testing.T) {
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
const rowsOfEtcd = `apps|units|unitfiles|revisions|machines|machineconfig|overrides|placements|unplaced|states|status|routers|routes|events|leaders`

var (
	// spelt is a text, or a part of one, that is an etcd path: it has no blanks, and a row's name before a slash or at its end.
	spelt = regexp.MustCompile(`^/?([\w%.-]+/)*(` + rowsOfEtcd + `)(/[\w%./-]*)?$|^/services(/[\w%./-]*)?$`)
	// whole is one that begins with a usual root, which no path of HTTP or of files does.
	whole = regexp.MustCompile(`^/fleet/(` + rowsOfEtcd + `)(/|$)|^/services(/|$)`)
	// slashed tells a path from a word.
	slashed = regexp.MustCompile(`/`)
)

// otherPaths are where paths are those of HTTP or of files: an etcd path is found there when it is whole.
var otherPaths = []string{"internal/api/", "internal/cli/", "internal/dev/", "internal/nginx/", "cmd/fleet-dev/", "hack/gen/", "hack/packages/", "test/"}

// Every path of etcd is spelt in internal/keyspace, and nowhere else: not whole, not in a format, not put together of parts.
// Where endpoints are announced is a default of the manifest's.
func TestPathsAreSpeltOnce(t *testing.T) {
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

// A row that keyspace gets is a row that the law knows.
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

// pathsIn returns what is an etcd path, or becomes one when it is put together with something.
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
	parts := func(exprs ...ast.Expr) { // a word is a part of a path where it is joined to something
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

// joined returns what a call puts together to a path: the arguments of Join, of a format with slashes, of a print with one.
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

// noBlanks is a format, or a part, that looks like a path: "%s/%s".
var noBlanks = regexp.MustCompile(`^[\w%.-]*/[\w%./-]*$`)

// constantsOf are the texts that a file has a name for.
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

// What the law finds, and what it leaves alone.
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

// What a program links is what its users run: fleetctl has no etcd in it, and what runs as root on every machine no etcd server.
func TestProgramsLinkOnlyWhatTheyNeed(t *testing.T) {
	for program, not := range map[string][]string{
		"fleetctl":    {"go.etcd.io/etcd", "github.com/coreos/go-systemd"},
		"fleetd":      {"go.etcd.io/etcd/server", "go.etcd.io/bbolt", "go.etcd.io/raft"},
		"announcer":   {"go.etcd.io/etcd/server", "github.com/prometheus", "github.com/spf13/cobra", "k8s.io"},
		"router":      {"go.etcd.io/etcd/server"},
		"example-app": {"github.com/", "k8s.io/", "go.etcd.io/"},
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
