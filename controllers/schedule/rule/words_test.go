package rule

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFirstOf(t *testing.T) {
	list := []string{"a", "b", "c", "d", "e"}
	require.Equal(t, "a, b, c and 2 more", firstOf(list, 5))
	require.Equal(t, "a, b, c", firstOf(list[:3], 3))
	require.Equal(t, "a, b and 7 more", firstOf(list[:2], 9))
}
