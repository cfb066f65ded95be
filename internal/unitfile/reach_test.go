package unitfile

import (
	"path"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMatchesNames(t *testing.T) {
	for pattern, want := range map[string]bool{
		"x.service": true, "example-app@*.service": true, "*": true, "?*": true, "*.*": true, "md*": true, "*@[12].service": true, "a.s*": true,
		"[a-c]?.mount": true, `a\*b*`: false, `a\.timer`: true, "*[^a]": true, "*.service*": true, "*e": true, "*.[a-z]*": true, "?.t[i]mer": true,
		"a.[r-t]ervice": true, "a.[^r-t]ervice": false,
		"md": false, "x.service,": false, "x.service,y.service": false, "*.service,*": false, ".service": false, "*.servce": false, "x.scope": false, "a--b.slice": false, "a@1.mount": false,
		"": false, "a b.service": false, "é*": false, "é*.service": false, "a*é.service": false, "*z": false, "*[!]": false, "[^a-z]": false, "x.servic": false, "*.Service": false, "a/*.service": false, "?": false,
	} {
		g, err := ParseGlob(pattern)
		require.NoError(t, err, pattern)
		require.Equal(t, want, g.MatchesNames(), pattern)
	}
}

// A glob that matches a unit's name matches names; one that does not, matches none of those that it could be made for.
func TestMatchesNamesIsPathMatch(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "b", "@", ".", ".service", ".socket", "service", "*", "?", "[ab]", "[^a]", "[a-z]", `\a`, "-", ","})
	parts := rapid.SliceOfN(piece, 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		pattern := ""
		for _, p := range parts.Draw(t, "pattern") {
			pattern += p
		}
		g, err := ParseGlob(pattern)
		if err != nil {
			t.Skip()
		}
		found := false
		for _, before := range []string{"a", "b", "ab", "a@b", "a.b", "b-a", "aa", "a.service", "b.socket"} {
			for _, unitType := range unitTypes {
				ok, _ := path.Match(pattern, before+"."+unitType)
				found = found || ok
			}
		}
		if found {
			require.True(t, g.MatchesNames(), pattern)
		}
	})
}

func TestConflictsThatMatchNoUnitWarn(t *testing.T) {
	file, err := Parse("[X-Fleet]\nConflicts=x.service, md\nConflicts=%p@*.service %i é*\n")
	require.NoError(t, err)
	name, err := ParseName("web@1.service")
	require.NoError(t, err)
	fleet, problems := ParseFleet(file, name)
	require.Empty(t, Errors(problems))
	var texts []string
	for _, p := range problems {
		texts = append(texts, p.String())
	}
	require.Equal(t, []string{
		`line 2: [X-Fleet] Conflicts: "x.service," matches no unit, because no unit can have such a name: several are separated by white space, not by commas`,
		`line 2: [X-Fleet] Conflicts: "md" matches no unit, because no unit can have such a name: write its type, too, such as md.service`,
		`line 3: [X-Fleet] Conflicts: "1" matches no unit, because no unit can have such a name: write its type, too, such as 1.service`,
		`line 3: [X-Fleet] Conflicts: "é*" matches no unit, because no unit can have such a name: write one such as example-app@*.service`,
	}, texts)
	require.Equal(t, []string{"x.service,", "md", "web@*.service", "1", "é*"}, fleet.Conflicts)
}
