package cache

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCodecThatPanics: the value counts as unreadable.
func TestCodecThatPanics(t *testing.T) {
	c := Collection[int]{} // a row without a codec
	value, err := c.decode([]byte("{}"))
	require.ErrorContains(t, err, "decoding panicked: ")
	require.Zero(t, value)
}
