package v1

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestVersionRange: which tag a range chooses, in whatever order the server lists them.
func TestVersionRange(t *testing.T) {
	tags := []string{"v1.0.0", "1.2.0", "v1.10.1", "v1.9.3", "1.11.0-rc.1", "v2.0.0", "2.1.0-beta", "v0.3.1", "0.3.0", "20261129.0.0", "2026.11.29-1", "latest", "release/1.12.0",
		"v1.12", "1", "vv1.13.0", "1.10.1+build", "1.14.00", "v1." + strings.Repeat("9", 300) + ".0"}
	for text, want := range map[string]string{
		">=1.2 <2":          "v1.10.1",
		">=1.2, <2":         "v1.10.1",
		"1.x":               "v1.10.1",
		"~1.9":              "v1.9.3",
		"^1.2":              "v1.10.1",
		"^0.3":              "v0.3.1",
		"1.2.0":             "1.2.0",
		"1.2":               "1.2.0",
		"=1.2.0":            "1.2.0",
		"~1.9 || ^0.3":      "v1.9.3",
		"1.0.0 - 1.9":       "v1.9.3",
		"<1.0.0":            "v0.3.1",
		"*":                 "20261129.0.0",
		">=1.2 <10":         "v2.0.0", // prereleases only if the range asks for them
		">=1.2.0-0 <2":      "1.11.0-rc.1",
		">=1.2.0-0 <3.0.0":  "2.1.0-beta",
		"1.11.0-rc.1":       "1.11.0-rc.1",
		">=3 <2000":         "",
		"!=1.2.0 >1.1 <1.3": "",
	} {
		within, err := ParseVersionRange(text)
		require.NoError(t, err, text)
		require.Equal(t, want, within.Highest(tags), text)
		backwards := slices.Clone(tags)
		slices.Reverse(backwards)
		require.Equal(t, want, within.Highest(backwards), text)
		require.Empty(t, within.Highest(nil))
	}
	for _, text := range []string{"", " ", "latest", ">=", "1.2.3.4", "v", "||", ">1 || ", "1; rm", strings.Repeat("1.x || ", 30) + "1.x"} {
		_, err := ParseVersionRange(text)
		require.ErrorContains(t, err, "is not a range of versions: write one such as", "%q", text)
		require.Less(t, len(err.Error()), 200)
	}
}
