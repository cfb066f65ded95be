package v1

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrefixes(t *testing.T) {
	for _, prefix := range []string{DefaultAnnouncePrefix, "/a", "/a.b/_c-d", "/..."} {
		require.True(t, IsPrefix(prefix), prefix)
	}
	for _, prefix := range []string{"", "/", "a", "/a/", "//a", "/a//b", "/a/../b", "/a/.", "/..", "/a b", "/a*", "/a\n"} {
		require.False(t, IsPrefix(prefix), "%q", prefix)
	}
}
