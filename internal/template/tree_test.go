package template

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The tree answers from runs of sorted keys; here it is held against the plain
// definition of each function over the whole map.
func TestTreeAgreesWithTheDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`(/[ab.-]{1,2}){1,4}`)
		m := rapid.MapOf(key, rapid.StringMatching(`[0-9]`)).Draw(t, "keys")
		tree := NewTree(m)
		dir := key.Draw(t, "dir")
		pattern := rapid.StringMatching(`(/([ab.-]{1,2}|\*|[ab]\*|\?|\[ab\])){1,4}`).Draw(t, "pattern")

		var ls, lsdir, matches []string
		for k := range m {
			if rest, below := strings.CutPrefix(k, dir+"/"); below {
				name, _, isDir := strings.Cut(rest, "/")
				ls = append(ls, name)
				if isDir {
					lsdir = append(lsdir, name)
				}
			} else if k == dir {
				ls = append(ls, path.Base(k))
			}
			if ok, err := path.Match(pattern, k); err == nil && ok {
				matches = append(matches, k)
			}
		}
		require.Equal(t, sortedSet(ls), tree.List(dir))
		require.Equal(t, sortedSet(lsdir), tree.ListDir(dir))
		pairs, err := tree.GetAll(pattern)
		require.NoError(t, err)
		got := []string{}
		for _, kv := range pairs {
			require.Equal(t, m[kv.Key], kv.Value)
			got = append(got, kv.Key)
		}
		require.Equal(t, sortedSet(matches), got)
	})
}

func sortedSet(s []string) []string {
	out := append([]string{}, s...)
	slices.Sort(out)
	return slices.Compact(out)
}

// TestListOfAKeyWithKeysBelow: a key that is a directory, too, is listed by its own name, once, and in order.
func TestListOfAKeyWithKeysBelow(t *testing.T) {
	tree := NewTree(map[string]string{"/a/m": "1", "/a/m/z": "2", "/a/m/b": "3", "/a/m/m": "4", "/a/m/d/x": "5", "/a//n": "7", "/": "8"})
	require.Equal(t, []string{"b", "d", "m", "z"}, tree.List("/a/m"))
	require.Equal(t, []string{"d"}, tree.ListDir("/a/m"))
	require.Equal(t, []string{"m"}, tree.List("/a"), "a name is never empty")
	require.Equal(t, []string{"m"}, tree.ListDir("/a"))
	require.Equal(t, []string{"n"}, tree.List("/a/"+"/"), "below the empty one")
	require.Equal(t, []string{"/", "a"}, tree.List("/"))
	require.Equal(t, []string{"x"}, NewTree(map[string]string{"/p/x": ""}).List("/p/x"))
	require.Equal(t, []string{"b", "x"}, NewTree(map[string]string{"/p/x": "", "/p/x/b": ""}).List("/p/x"))
}
