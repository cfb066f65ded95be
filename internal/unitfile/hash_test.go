package unitfile

import (
	"crypto/sha1"
	"encoding/hex"
	"io"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/stretchr/testify/require"
)

func TestHashOf(t *testing.T) {
	const hash = "9a271f2a916b0b6ee6cecb2426f0b3206ef074578be55d9bc94f6f3fe3ab86aa" // sha256sum of "0\n"
	require.Equal(t, hash, Hash("0\n"))
	require.Equal(t, hash, HashOf("0\n", ""))
	require.Equal(t, hash, HashOf("0\n", "another"), "the text that the unit has itself counts")
	require.Equal(t, "named", HashOf("", "named"))
}

// TestFleetHash: it is that of the original, which hashes what its parser makes of the file. A file without sections has no options
// there, and those of [Unit] here.
func TestFleetHash(t *testing.T) {
	original := func(text string) string {
		options, err := unit.DeserializeOptions(strings.NewReader(text))
		require.NoError(t, err)
		plain, err := io.ReadAll(unit.Serialize(options))
		require.NoError(t, err)
		sum := sha1.Sum(plain)
		return hex.EncodeToString(sum[:])
	}
	for _, text := range []string{
		"",
		"[Service]\nExecStart=/bin/true\n",
		"# a comment\n[Unit]\nDescription = spaces \n\n\n[Service]\nExecStart=/bin/true",
		"[Service]\nExecStart=\nExecStart=/bin/a=b\n[X-Fleet]\nGlobal=true\n[Service]\nRestart=always\n; more\n",
	} {
		require.Equal(t, original(text), FleetHash(text), text)
	}
	require.Equal(t, original("[Unit]\nDescription=x\nAfter=y\n"), FleetHash("Description=x\n# hidden\nAfter=y\n"))
	require.NotEqual(t, FleetHash("[broken\n"), FleetHash("[broken too\n"))
}

func TestLineAt(t *testing.T) {
	for offset, want := range []int{0: 1, 1: 1, 2: 2, 3: 2, 4: 3, 5: 3} {
		require.Equal(t, want, lineAt("a\nb\nc", offset), "offset %d", offset)
	}
	require.Equal(t, 1, lineAt("", 0))
}
