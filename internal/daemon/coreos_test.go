package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProvideCoreOS(t *testing.T) {
	const ours = "COREOS_PRIVATE_IPV4=10.0.0.1\nCOREOS_PUBLIC_IPV4=10.0.0.1\n"
	for name, tc := range map[string]struct{ before, after string }{
		"an empty file":                  {"", ours},
		"other lines":                    {"PATH=/bin\n# a comment", "PATH=/bin\n# a comment\n" + ours},
		"a former address":               {"COREOS_PUBLIC_IPV4=10.0.0.9\nA=b\n", "COREOS_PUBLIC_IPV4=10.0.0.1\nA=b\nCOREOS_PRIVATE_IPV4=10.0.0.1\n"},
		"the same address":               {ours, ours},
		"a variable with a similar name": {"COREOS_PRIVATE_IPV4_OLD=x\n", "COREOS_PRIVATE_IPV4_OLD=x\n" + ours},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "environment")
			require.NoError(t, os.WriteFile(file, []byte(tc.before), 0o644))
			first, err := os.Stat(file)
			require.NoError(t, err)
			require.NoError(t, provideCoreOS(file, "10.0.0.1"))
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, tc.after, string(text))
			second, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, tc.before == tc.after, os.SameFile(first, second), "what is right already is not written")
		})
	}
	missing := filepath.Join(t.TempDir(), "environment")
	require.NoError(t, provideCoreOS(missing, "10.0.0.1"))
	text, err := os.ReadFile(missing)
	require.NoError(t, err)
	require.Equal(t, ours, string(text))
	require.NoError(t, provideCoreOS("", "10.0.0.1"))
}
