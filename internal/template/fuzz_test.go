package template

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzExecute renders the templates of the project, and every function over the tree, with any keys and values below the
// directories that they read: a text or an error, no panic, and no more output than there is input for.
func FuzzExecute(f *testing.F) {
	for _, pair := range [][2]string{{"example-app/example-app@1", "10.0.0.1:3000"}, {"a/b/c", "x"}, {"a//", ""}, {"[/*", "; } server {"},
		{"../x", "\x00"}, {"a\n/b", "{{.}}"}, {"", "{\"a\":[1]}"}, {"%s/%d", "dGV4dA=="}} {
		f.Add(pair[0], pair[1], "other/key", "value")
	}
	apps, err := os.ReadFile("../../manifests/router/apps.tmpl")
	require.NoError(f, err)
	all := `{{range ls "/services/web"}}{{.}}{{end}}{{range lsdir "/services/web"}}{{range gets (printf "/services/web/%s/*" .)}}{{.Key}}={{.Value}} {{base .Key}} {{dir .Key}} {{end}}{{end}}
{{range getvs "/services/*/*"}}{{split . ":"}} {{toUpper .}} {{replace . "a" "b" -1}} {{trimSuffix . "x"}} {{base64Encode .}}{{end}}
{{range sortKVByLength (gets "/services/web/*")}}{{.Key}}{{end}}{{reverse (ls "/")}}{{join (sortByLength (ls "/services")) ","}}{{if exists "/services/web"}}{{getv "/services/web"}}{{end}}{{getv "/none" "default"}}`
	values := `{{range getvs "/services/web/*/*"}}{{json .}}{{jsonArray .}}{{base64Decode .}}{{atoi .}}{{parseBool .}}{{end}}`
	var templates []*Template
	for name, text := range map[string]string{"apps": string(apps), "all": all, "values": values} {
		t, err := NewFor(fixedHost(), name, text)
		require.NoError(f, err)
		templates = append(templates, t)
	}
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string) {
		tree := NewTree(map[string]string{"/services/web/" + key1: value1, "/services/" + key2: value2, key2: value1})
		for _, tmpl := range templates {
			var out strings.Builder
			if err := tmpl.Execute(&out, tree); err != nil {
				require.Contains(t, err.Error(), tmpl.Name())
			}
			require.Less(t, out.Len(), 20_000+100*(len(key1)+len(value1)+len(key2)+len(value2)))
		}
	})
}

// FuzzNew parses any text as a template, and executes it where it has no loop that a person could make endless.
func FuzzNew(f *testing.F) {
	for _, text := range []string{`{{getv "/a"}}`, `{{range gets "/*"}}{{.Key}}{{end}}`, `{{template "x"}}{{define "x"}}{{end}}`, `{{`, `{{div 1 0}}`,
		`{{map "a" 1 2}}`, `{{reverse 1}}`, `{{gets "["}}`, `{{json "{"}}`, `{{getenv "X" "y"}}`, `{{index (ls "/") 9}}`, `{{slice "abc" 2 1}}`, `{{datetime}}`} {
		f.Add(text)
	}
	tree := NewTree(map[string]string{"/a": "1", "/b/c": "2"})
	f.Fuzz(func(t *testing.T, text string) {
		tmpl, err := NewFor(fixedHost(), "fuzz", text)
		if err != nil {
			require.Contains(t, err.Error(), "fuzz")
			return
		}
		if strings.Contains(text, "define") || strings.Contains(text, "block") || strings.Contains(text, "seq") || strings.Contains(text, "range") || strings.Contains(text, "lookup") {
			return // it may go on for as long as it says
		}
		_ = tmpl.Execute(io.Discard, tree)
	})
}

// fixedHost is a machine that is the same every time.
func fixedHost() Host {
	return Host{
		Now: func() time.Time { return time.Unix(0, 0) }, LookupEnv: func(string) (string, bool) { return "", false },
		FileExists: func(string) bool { return false }, Hostname: func() (string, error) { return "host", nil },
	}
}
