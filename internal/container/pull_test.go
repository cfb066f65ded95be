package container

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// docker is a machine whose docker is a script. Its words are those of docker 20.10.
func docker(t *testing.T, script string) Runtimes {
	r, _ := client(t, script)
	return Runtimes{r}
}

var web = unitfile.Image{Runtime: "docker", Name: "localhost:5000/web:2"}

func TestPull(t *testing.T) {
	r := docker(t, `[ "$*" = "pull localhost:5000/web:2" ] || exit 9
echo "2: Pulling from web"
echo "2c01: Already exists"
echo "9b1a: Pulling fs layer"
echo "9b1a: Verifying Checksum"
echo "9b1a: Download complete"
echo "9b1a: Pull complete"
echo "Digest: sha256:77"
`)
	var progress []string
	require.NoError(t, r.Pull(t.Context(), web, func(p string) { progress = append(progress, p) }))
	require.Equal(t, []string{"1 of 1 layers", "1 of 2 layers", "2 of 2 layers"}, progress)
}

func TestFailuresAreInTheRuntimesWords(t *testing.T) {
	for _, tc := range []struct{ script, want string }{
		{"echo 'Error response from daemon: manifest for localhost:5000/web:2 not found: manifest unknown: manifest unknown' >&2; exit 1",
			"Error response from daemon: manifest for localhost:5000/web:2 not found: manifest unknown: manifest unknown"},
		{"echo 'Trying to pull localhost:5000/web:2...' >&2; echo 'Error: connection refused' >&2; echo >&2; exit 125", "Error: connection refused"},
		{"exit 3", "exit status 3"},
		{"head -c 1000 /dev/zero | tr '\\0' x >&2; exit 1", strings.Repeat("x", 300) + "..."},
	} {
		r := docker(t, tc.script)
		require.EqualError(t, r.Pull(t.Context(), web, func(string) {}), tc.want)
		require.False(t, r.Present(t.Context(), web))
	}
	none := Runtimes{{Name: "docker", Path: filepath.Join(t.TempDir(), "docker")}}
	require.EqualError(t, none.Pull(t.Context(), web, func(string) {}), "this machine has no "+none[0].Path)
}

func TestPresent(t *testing.T) {
	require.True(t, docker(t, `[ "$1 $2 $5" = "image inspect localhost:5000/web:2" ]`).Present(t.Context(), web))
}

// A pull that hangs ends when it is given up.
func TestPullThatHangs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	require.Error(t, docker(t, "exec sleep 60").Pull(ctx, web, func(string) {}))
	require.Less(t, time.Since(begun), 4*time.Second)
}
