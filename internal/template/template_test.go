package template

import (
	"bytes"
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files")

var services = map[string]string{
	"/services/web/example-app/example-app@1": "100.73.38.124:3000",
	"/services/web/example-app/example-app@2": "100.73.4.95:3000",
}

func render(t *testing.T, text string, keys map[string]string) string {
	t.Helper()
	out, err := tryRender(text, keys)
	require.NoError(t, err)
	return out
}

func tryRender(text string, keys map[string]string) (string, error) {
	tmpl, err := NewFor(testHost, "t", text)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = tmpl.Execute(&b, NewTree(keys))
	return b.String(), err
}

// lines is text without its blank lines and trailing blanks: what the seed's
// README shows was tidied by hand.
func lines(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		if l = strings.TrimRight(l, " \n"); l != "" {
			out = append(out, l)
		}
	}
	return out
}

func TestSeedTemplateRendersVerbatim(t *testing.T) {
	text, err := os.ReadFile("testdata/seed/apps.tmpl")
	require.NoError(t, err)
	two := map[string]string{"/services/web/other/other@1": "100.73.4.95:4000"}
	for k, v := range services {
		two[k] = v
	}
	for name, keys := range map[string]map[string]string{"none": nil, "one-app": services, "two-apps": two} {
		t.Run(name, func(t *testing.T) {
			got := render(t, string(text), keys)
			golden := filepath.Join("testdata/seed", name+".golden")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

func TestSeedTemplateYieldsWhatTheSeedShows(t *testing.T) {
	text, err := os.ReadFile("testdata/seed/apps.tmpl")
	require.NoError(t, err)
	tests := map[string]struct{ domain, drop string }{
		"shown-two.conf": {domain: "your_domain_name"},
		"shown-one.conf": {domain: "captainkaption", drop: "/services/web/example-app/example-app@1"},
	}
	for file, tc := range tests {
		t.Run(file, func(t *testing.T) {
			keys := map[string]string{}
			for k, v := range services {
				if k != tc.drop {
					keys[k] = v
				}
			}
			got := lines(render(t, strings.ReplaceAll(string(text), "<<YOUR_DOMAIN_NAME>>", tc.domain), keys))
			shown, err := os.ReadFile(filepath.Join("testdata/seed", file))
			require.NoError(t, err)
			want := lines(string(shown))
			require.Greater(t, len(got), len(want))
			require.Equal(t, want, got[:len(want)])
		})
	}
}

type fakeResolver struct{}

func (fakeResolver) LookupIP(name string) ([]net.IP, error) {
	if name != "some.host" {
		return nil, errors.New("no such host")
	}
	return []net.IP{net.ParseIP("10.0.0.2"), net.ParseIP("fd00::1"), net.ParseIP("10.0.0.1")}, nil
}

func (fakeResolver) LookupSRV(service, proto, name string) ([]*net.SRV, error) {
	return []*net.SRV{{Target: "b." + name, Port: 2}, {Target: "a." + name, Port: 1}}, nil
}

func (fakeResolver) InterfaceIPs(name string) ([]net.IP, error) {
	if name != "eth0" {
		return nil, errors.New("no such interface")
	}
	return []net.IP{net.ParseIP("fd00::7"), net.ParseIP("10.0.0.7")}, nil
}

var testHost = Host{
	Now: func() time.Time { return time.Date(2015, 1, 23, 13, 34, 56, 0, time.UTC) },
	LookupEnv: func(name string) (string, bool) {
		v, ok := map[string]string{"HOST_IP": "10.1.1.1", "EMPTY": ""}[name]
		return v, ok
	},
	FileExists: func(path string) bool { return path == "/there" },
	Hostname:   func() (string, error) { return "web1", nil },
	Resolver:   fakeResolver{},
}

var keys = map[string]string{
	"/key":             "value",
	"/json":            `{"Id":"host1","animals":[{"type":"dog"},{"type":"cat"}]}`,
	"/array":           `["a","b"]`,
	"/s/b/x":           "2",
	"/s/b/y":           "1",
	"/s/a":             "3",
	"/s/b-c/deep/down": "4",
	"unrooted":         "5",
}

func TestFunctions(t *testing.T) {
	tests := []struct{ text, want string }{
		{`{{with get "/key"}}{{.Key}}={{.Value}}{{end}}`, "/key=value"},
		{`{{getv "/key"}} {{getv "/none" "default"}} {{getv "/key" "default"}}`, "value default value"},
		{`{{exists "/key"}} {{exists "/none"}} {{exists "/s"}}`, "true false false"},
		{`{{getv "/unrooted"}}`, "5"},
		{`{{range gets "/s/*"}}{{.Key}} {{end}}`, "/s/a "},
		{`{{range gets "/s/*/*"}}{{.Key}}={{.Value}} {{end}}`, "/s/b/x=2 /s/b/y=1 "},
		{`{{range gets "/s/b/[x-z]"}}{{.Value}}{{end}}`, "21"},
		{`{{len (gets "/none/*")}}{{len (getvs "/none/*")}}{{len (ls "/none")}}{{len (lsdir "/none")}}`, "0000"},
		{`{{getvs "/s/b/*"}}`, "[1 2]"},
		{`{{ls "/s"}} {{ls "/s/"}} {{lsdir "/s"}} {{ls "/key"}}`, "[a b b-c] [a b b-c] [b b-c] [key]"},
		{`{{ls "/"}}`, "[array json key s unrooted]"},
		{`{{base "/a/b"}} {{dir "/a/b"}}`, "b /a"},
		{`{{$u := split "host:80" ":"}}{{index $u 1}}`, "80"},
		{`{{join (getvs "/s/b/*") ","}}`, "1,2"},
		{`{{toUpper "a"}}{{toLower "B"}} {{contains "abc" "b"}} {{replace "a-b-c" "-" "_" -1}} {{trimSuffix "a.com" ".com"}}`, "Ab true a_b_c a"},
		{`{{$d := json (getv "/json")}}{{$d.Id}} {{(index $d.animals 1).type}}`, "host1 cat"},
		{`{{range jsonArray (getv "/array")}}{{.}};{{end}}`, "a;b;"},
		{`{{$m := map "name" "x" "port" 9200}}{{index $m "name"}} {{$m.port}}`, "x 9200"},
		{`{{base64Encode "Value"}} {{base64Decode "VmFsdWU="}}`, "VmFsdWU= Value"},
		{`{{if parseBool "true"}}yes{{end}} {{add (atoi "2") 1}} {{sub 2 1}} {{mul 2 3}} {{div 7 2}} {{mod 7 2}}`, "yes 3 1 6 3 1"},
		{`{{seq 1 3}} {{seq 3 1}}`, "[1 2 3] []"},
		{`{{len (seq 1 65536)}} {{len (seq -1 65534)}}`, "65536 65536"},
		{`{{reverse (getvs "/s/b/*")}} {{range reverse (gets "/s/b/*")}}{{.Key}} {{end}}`, "[2 1] /s/b/y /s/b/x "},
		{`{{sortByLength (split "ccc,a,bb" ",")}} {{range sortKVByLength (gets "/*")}}{{base .Key}} {{end}}`, "[a bb ccc] key json array unrooted "},
		{`{{getenv "HOST_IP"}} {{getenv "NONE"}} {{getenv "NONE" "127.0.0.1"}} [{{getenv "EMPTY" "x"}}] [{{getenv "EMPTY"}}] {{getenv "HOST_IP" "x"}}`, "10.1.1.1  127.0.0.1 [x] [] 10.1.1.1"},
		{`{{datetime.Format "Jan 2, 2006 at 3:04pm (MST)"}}`, "Jan 23, 2015 at 1:34pm (UTC)"},
		{`{{fileExists "/there"}} {{fileExists "/gone"}} {{hostname}}`, "true false web1"},
		{`{{lookupIP "some.host"}} {{lookupIPV4 "some.host"}} {{lookupIPV6 "some.host"}} {{lookupIP "none"}}`, "[10.0.0.1 10.0.0.2 fd00::1] [10.0.0.1 10.0.0.2] [fd00::1] []"},
		{`{{range lookupSRV "mail" "tcp" "x"}}{{.Target}}:{{.Port}} {{end}}`, "a.x:1 b.x:2 "},
		{`{{lookupIfaceIPV4 "eth0"}} {{lookupIfaceIPV6 "eth0"}}`, "10.0.0.7 fd00::7"},
	}
	for _, tc := range tests {
		t.Run(tc.text, func(t *testing.T) {
			require.Equal(t, tc.want, render(t, tc.text, keys))
		})
	}
}

func TestErrorsNameTemplateAndLine(t *testing.T) {
	tests := []struct{ text, want string }{
		{"a\n{{getv \"/none\"}}", `template: t:2:2: executing "t" at <getv "/none">: error calling getv: key does not exist: /none`},
		{`{{get "/none"}}`, "key does not exist: /none"},
		{`{{gets "/s/["}}`, "syntax error in pattern"},
		{`{{gett "/s"}}`, `template: t:1: function "gett" not defined`},
		{`{{range}}`, "template: t:1"},
		{`{{json "nope"}}`, "error calling json"},
		{`{{div 1 0}}`, "division by zero"},
		{`{{mod 1 0}}`, "division by zero"},
		{`{{map "a"}}`, "pairs"},
		{`{{map 1 2}}`, "not a string"},
		{`{{reverse 1}}`, "reverse takes"},
		{`{{seq 0 65536}}`, "seq 0 65536 is longer than 65536"},
		{`{{seq -9223372036854775808 9223372036854775807}}`, "longer than"},
		{`{{base64Decode "%"}}`, "illegal base64"},
		{`{{lookupIfaceIPV4 "none"}}`, "no such interface"},
	}
	for _, tc := range tests {
		t.Run(tc.text, func(t *testing.T) {
			_, err := tryRender(tc.text, keys)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestOneTemplateManyTrees(t *testing.T) {
	tmpl, err := New("t", `{{getv "/k" "none"}}`)
	require.NoError(t, err)
	require.Equal(t, "t", tmpl.Name())
	for _, want := range []string{"a", "b"} {
		var b bytes.Buffer
		require.NoError(t, tmpl.Execute(&b, NewTree(map[string]string{"/k": want})))
		require.Equal(t, want, b.String())
	}
}
