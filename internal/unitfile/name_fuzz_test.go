package unitfile

import (
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Names come from people, from etcd and from other versions, and become names of files, keys and calls of systemd: whatever is accepted is
// safe in each of them, and its parts make up the whole again.
func FuzzParseName(f *testing.F) {
	for _, name := range []string{"example-app@1.service", "example-app@.service", "a.b@c@d.socket", "srv-data.mount", "-.slice", `a\x2db.timer`, "../x.service",
		"@1.service", ".service", "x.scope", "web-api.slice", "a/b.service", "a b.service", "é.service"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			require.Zero(t, n)
			require.NotContains(t, err.Error(), "\n", "one line for people")
			return
		}
		require.False(t, OnceValid(s), "it is valid still")
		require.True(t, HasType(s))
		require.Equal(t, s, n.String())
		require.Equal(t, s, path.Base(s), "a file name of its own directory")
		require.LessOrEqual(t, len(s), maxName)
		require.NotContains(t, s, "%", "no specifier of systemd")
		require.NotEmpty(t, n.Prefix)
		require.Equal(t, s, n.WithoutType()+"."+n.Type)
		require.Equal(t, s, n.Expand("%n"))
		require.Equal(t, n.Prefix+"|"+n.Instance+"|"+n.WithoutType()+"|%", n.Expand("%p|%i|%N|%%"))
		template := n.TemplateName()
		require.Equal(t, strings.Contains(s, "@"), template != "")
		switch {
		case n.Template:
			require.Equal(t, s, template)
		case template != "":
			require.Equal(t, s, n.Prefix+"@"+n.Instance+"."+n.Type)
			of, err := ParseName(template)
			require.NoError(t, err)
			require.True(t, of.Template)
			require.Equal(t, template, of.TemplateName())
		}
	})
}
