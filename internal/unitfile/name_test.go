package unitfile

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseName(t *testing.T) {
	for s, want := range map[string]Name{
		"registry.service":                    {"registry.service", "registry", "", "service", false},
		"example-app@1.service":               {"example-app@1.service", "example-app", "1", "service", false},
		"example-app@.service":                {"example-app@.service", "example-app", "", "service", true},
		"a.b@c@d.e.socket":                    {"a.b@c@d.e.socket", "a.b", "c@d.e", "socket", false},
		`dev-a\x2db.device`:                   {`dev-a\x2db.device`, `dev-a\x2db`, "", "device", false},
		`srv-a\x40b.mount`:                    {`srv-a\x40b.mount`, `srv-a\x40b`, "", "mount", false},
		`srv-\x41.mount`:                      {`srv-\x41.mount`, `srv-\x41`, "", "mount", false},
		`srv\x40.mount`:                       {`srv\x40.mount`, `srv\x40`, "", "mount", false},
		"-.mount":                             {"-.mount", "-", "", "mount", false},
		"-.slice":                             {"-.slice", "-", "", "slice", false},
		"web-api.slice":                       {"web-api.slice", "web-api", "", "slice", false},
		"srv-a..b.swap":                       {"srv-a..b.swap", "srv-a..b", "", "swap", false},
		"--a--.service":                       {"--a--.service", "--a--", "", "service", false},
		"a@@.target":                          {"a@@.target", "a", "@", "target", false},
		"A:_-.timer":                          {"A:_-.timer", "A:_-", "", "timer", false},
		strings.Repeat("a", 247) + ".service": {strings.Repeat("a", 247) + ".service", strings.Repeat("a", 247), "", "service", false},
	} {
		n, err := ParseName(s)
		require.NoError(t, err)
		require.Equal(t, want, n)
		require.Equal(t, s, n.String())
	}
	for _, kind := range unitTypes {
		_, err := ParseName("a." + kind)
		require.NoError(t, err)
		_, err = ParseName("a@1." + kind)
		require.Equal(t, slices.Contains(templateTypes, kind), err == nil, "%s: %v", kind, err)
	}
}

func TestParseNameRefuses(t *testing.T) {
	for s, want := range map[string]string{
		"":                                    "it is empty",
		"a":                                   "no type, add one such as .service",
		"a.":                                  `unknown type ""`,
		"a.unit":                              `unknown type "unit", use one of automount,`,
		".service":                            "nothing before its '@' or type",
		"@1.service":                          "nothing before its '@' or type",
		"a@.mount":                            "templates of type mount are not supported, only of path, service, socket, target, timer",
		"zzdata@vol1.mount":                   `units of type mount have no instances: write an '@' of the path as \x40`,
		"a@1.automount":                       "units of type automount have no instances",
		"a@1.swap":                            "units of type swap have no instances",
		"a@1.slice":                           "units of type slice have no instances: remove the '@'",
		"a@@.slice":                           "units of type slice have no instances",
		"a@1.device":                          "units of type device have no instances",
		"a.snapshot":                          "systemd has no snapshot units since version 228: use one of automount,",
		"a@1.snapshot":                        "systemd has no snapshot units",
		"a.busname":                           "systemd has no busname units since version 232",
		"a.scope":                             "a scope has no unit file",
		"a--b.mount":                          "is not an escaped path: units of type mount are named after their path, such as srv-data.mount for /srv/data (systemd-escape --path)",
		"-a.automount":                        "is not an escaped path",
		"a-.swap":                             "is not an escaped path",
		"a-..-b.mount":                        "is not an escaped path",
		"a-.-b.mount":                         "is not an escaped path",
		`a-\x2e.mount`:                        "is not an escaped path",
		`a\x2.mount`:                          "is not an escaped path",
		`a\x00b.mount`:                        "is not an escaped path",
		`a\xzz.mount`:                         "is not an escaped path",
		`a\n12.mount`:                         "is not an escaped path",
		"a--b.slice":                          "a slice is named after the slices that it is in",
		"-a.slice":                            "a slice is named after the slices that it is in",
		"a-.slice":                            "a slice is named after the slices that it is in",
		"a b.service":                         "character 2 is not one of",
		"../a.service":                        "character 3 is not one of",
		"a\n.service":                         "character 2 is not one of",
		"é.service":                           "character 1 is not one of",
		"a[1].service":                        "character 2 is not one of",
		strings.Repeat("a", 248) + ".service": "256 characters, at most 255 are allowed",
	} {
		_, err := ParseName(s)
		require.ErrorContains(t, err, want)
	}
}

// What earlier versions took is known again, for what they left has to be cleaned; nothing else is.
func TestOnceValid(t *testing.T) {
	for s, want := range map[string]bool{
		"zzdata@vol1.mount": true, "a@1.slice": true, "a.snapshot": true, "a.busname": true, "a.scope": true, "a--b.mount": true, "a@.mount": true,
		"a.service": false, "a@1.service": false, "a@.service": false, "srv-a.mount": false,
		"": false, ".": false, "a": false, ".snapshot": false, "@a.snapshot": false, "a b.snapshot": false, "é.snapshot": false, "snapshot": false,
		".new-123": false, "README.md": false, strings.Repeat("a", 246) + ".snapshot": true, strings.Repeat("a", 247) + ".snapshot": false,
	} {
		require.Equal(t, want, OnceValid(s), "%q", s)
	}
}

func TestTemplateName(t *testing.T) {
	for s, want := range map[string]string{"a@1.service": "a@.service", "a@.service": "a@.service", "a@b@c.timer": "a@.timer", "a.service": ""} {
		n, err := ParseName(s)
		require.NoError(t, err)
		require.Equal(t, want, n.TemplateName())
	}
}

func TestExpand(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"a@1.service", "%n %N %p %i %%", "a@1.service a@1 a 1 %"},
		{"a.service", "%n %N %p %i %%", "a.service a a  %"},
		{"a@.service", "<%i>", "<>"},
		{"a@1.service", "%%i %%%i", "%i %1"},
		{"a@1.service", "%q %é % %", "%q %é % %"},
		{"a@1.service", "plain", "plain"},
		{"a@1.service", "%i", "1"},
		{`a@b\x2dc.service`, "%i", `b\x2dc`},
	} {
		n, err := ParseName(tc.name)
		require.NoError(t, err)
		require.Equal(t, tc.want, n.Expand(tc.in))
	}
}

// TestEscapedPaths: which names stand for a path that is normalized, as systemd escapes it.
func TestEscapedPaths(t *testing.T) {
	for name, want := range map[string]bool{
		"-": true, "a": true, "a-b": true, "": false, "a-": false, "-a": false, "a--b": false,
		"a-.": false, "a-..": false, "a-...": true, ".-a": false, "..": false, ".a": true,
		`a\x2d`: true, `\x2da`: true, `a-\x2e`: false, `a-\x2e\x2e`: false, `a-\x2eb`: true, `a\x2fb`: true, `a\x2f`: false, `a\x2f\x2fb`: false,
		`a\x`: false, `a\x2`: false, `a\`: false, `a\y2d`: false, `a\x00`: false, `a\xzz`: false, `a\x+1`: false,
	} {
		require.Equal(t, want, isEscapedPath(name), name)
	}
}
