package unitfile

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHashOf(t *testing.T) {
	const hash = "9a271f2a916b0b6ee6cecb2426f0b3206ef074578be55d9bc94f6f3fe3ab86aa" // sha256sum of "0\n"
	require.Equal(t, hash, Hash("0\n"))
	require.Equal(t, hash, HashOf("0\n", ""))
	require.Equal(t, hash, HashOf("0\n", "another"), "the text that the unit has itself counts")
	require.Equal(t, "named", HashOf("", "named"))
}

func TestLineAt(t *testing.T) {
	for offset, want := range []int{0: 1, 1: 1, 2: 2, 3: 2, 4: 3, 5: 3} {
		require.Equal(t, want, lineAt("a\nb\nc", offset), "offset %d", offset)
	}
	require.Equal(t, 1, lineAt("", 0))
}
