package index

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNatural(t *testing.T) {
	sorted := []string{"a.service", "a1b.service", "a1b2.service", "a2.service", "a10.service", "app", "app@1.service", "app@02.service", "app@2.service", "app@10.service", "b"}
	list := slices.Clone(sorted)
	slices.Reverse(list)
	slices.SortFunc(list, Natural)
	require.Equal(t, sorted, list)
}
