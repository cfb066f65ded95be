package schedule

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/cache"
)

// Each of a hundred units of one file that are written brings the file along: only a change of what it says is one.
func TestFilesThatAreWrittenAgain(t *testing.T) {
	file := func(text string, err error) *cache.Object[string] {
		return &cache.Object[string]{Value: text, Err: err}
	}
	unreadable := errors.New("not text")
	for _, tc := range []struct {
		what     string
		old, new *cache.Object[string]
		again    bool
	}{
		{"new", nil, file("a", nil), false},
		{"deleted", file("a", nil), nil, false},
		{"the same", file("a", nil), file("a", nil), true},
		{"another text", file("a", nil), file("b", nil), false},
		{"unreadable now", file("", nil), file("", unreadable), false},
		{"readable again", file("", unreadable), file("", nil), false},
	} {
		require.Equal(t, tc.again, rewritten(cache.Event[string]{Old: tc.old, New: tc.new}), tc.what)
	}
}
