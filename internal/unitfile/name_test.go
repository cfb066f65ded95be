package unitfile

import (
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
		"a@b.mount":                           {"a@b.mount", "a", "b", "mount", false},
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
	}
	require.Len(t, unitTypes, 13)
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
