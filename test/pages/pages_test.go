package pages

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBlocks(t *testing.T) {
	const page = "# Page\n\nOn each machine,\nwith its name:\n\n```\nset -e\n\n  true\n```\n\n1. Then:\n\n   ```console\n   $ ls\n     a\n   ```\n```\nfalse\n```\n"
	require.Equal(t, []Block{
		{Line: 7, Before: "On each machine, with its name:", Lines: []string{"set -e", "", "  true"}},
		{Line: 15, Language: "console", Before: "1. Then:", Lines: []string{"$ ls", "  a"}},
		{Line: 19, Lines: []string{"false"}},
	}, Blocks(Lines(page)))
	require.Equal(t, "set -e\n\n  true\n", Blocks(Lines(page))[0].Text())
}
