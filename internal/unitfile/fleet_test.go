package unitfile

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func fleetOf(t require.TestingT, name, section string) (Fleet, []string) {
	f, err := Parse("[X-Fleet]\n" + section)
	require.NoError(t, err)
	n, err := ParseName(name)
	require.NoError(t, err)
	fleet, problems := ParseFleet(f, n)
	var texts []string
	for _, p := range problems {
		text := p.Error()
		if p.Warning {
			text = "warning: " + text
		}
		texts = append(texts, text)
	}
	return fleet, texts
}

func TestParseFleet(t *testing.T) {
	for _, tc := range []struct {
		name, section string
		want          Fleet
	}{
		{"nothing", "", Fleet{}},
		{"machine", "MachineID=abc\n", Fleet{MachineID: "abc"}},
		{"machine, reset", "MachineID=abc\nMachineID=\nMachineID=def\n", Fleet{MachineID: "def"}},
		{"peers", "MachineOf=b@%i.service c.service\nMachineOf=%p-d.timer\n", Fleet{MachineOf: []string{"b@1.service", "c.service", "a-d.timer"}}},
		{"conflicts", "Conflicts=a@*.service  b.service\nConflicts=\"c*\" \"d?*\"\nConflicts=%p-[0-9].service\n",
			Fleet{Conflicts: []string{"a@*.service", "b.service", "c*", "d?*", "a-[0-9].service"}}},
		{"conflicts, reset", "Conflicts=a\nConflicts=\nConflicts=b*\n", Fleet{Conflicts: []string{"b*"}}},
		{"replaces", "Replaces=old-*.service\n", Fleet{Replaces: []string{"old-*.service"}}},
		{"metadata", "MachineMetadata=\"zone=b\" \"disk=ssd\"\nMachineMetadata=zone=a\nMachineMetadata=zone=b\n",
			Fleet{MachineMetadata: map[string][]string{"zone": {"a", "b"}, "disk": {"ssd"}}}},
		{"metadata with a space and specifiers", "MachineMetadata=place=us east %i\n", Fleet{MachineMetadata: map[string][]string{"place": {"us east 1"}}}},
		{"preferences", "PreferMetadata=\"disk=ssd\" \"zone=b\"\nPreferMetadata=zone=a\n",
			Fleet{PreferMetadata: map[string][]string{"zone": {"a", "b"}, "disk": {"ssd"}}}},
		{"metadata, reset", "MachineMetadata=a=b\nMachineMetadata=\n", Fleet{}},
		{"global with conflicts", "Global=True\nConflicts=b*\nMachineMetadata=a=b\n",
			Fleet{Global: true, Conflicts: []string{"b*"}, MachineMetadata: map[string][]string{"a": {"b"}}}},
		{"not global after all", "Global=yes\nGlobal=false\nMachineOf=b.service\n", Fleet{MachineOf: []string{"b.service"}}},
		{"automatic ports", "AutoPorts=http 3000\nAutoPorts=a-%i http\n", Fleet{AutoPorts: []string{"http", "3000", "a-1"}}},
		{"ports", "Ports=3001 3000\nPorts=3000 40%i\n", Fleet{Ports: []int{401, 3000, 3001}}},
		{"resources", "CPU=0.5\nMemory=128M\nSpreadOver=zone\n", Fleet{CPU: 500, Memory: 128 << 20, SpreadOver: "zone"}},
		{"amounts as in manifests", "CPU=0\nMemory=256Mi\n", Fleet{Memory: 256 << 20}},
		{"the last one wins", "CPU=1\nCPU=250m\nMemory=1\nMemory=\nSpreadOver=a\nSpreadOver=b\n", Fleet{CPU: 250, SpreadOver: "b"}},
		{"percent", "SpreadOver=a%%b\n", Fleet{SpreadOver: "a%b"}},
		{"an image, of docker", "Image=localhost:5000/web:%i\n", Fleet{Image: []string{"docker", "localhost:5000/web:1"}}},
		{"an image, of podman", "Image=podman web\nPull=IfNotPresent\n", Fleet{Image: []string{"podman", "web"}, Pull: PullIfNotPresent}},
		{"what becomes of it on a machine that is cut off", "OnPartition=keep\nOnPartition=stop\n", Fleet{OnPartition: PartitionStop}},
		{"an image, reset", "Image=web\nImage=\n", Fleet{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fleet, problems := fleetOf(t, "a@1.service", tc.section)
			require.Empty(t, problems)
			tc.want.Unit = "a@1.service"
			require.Equal(t, tc.want, fleet)
		})
	}
	for _, yes := range []string{"true", "yes", "1", "on", "t", "YES"} {
		fleet, problems := fleetOf(t, "a.service", "Global="+yes)
		require.Empty(t, problems)
		require.True(t, fleet.Global)
	}
}

// TestParseFleetOfTheOriginal: what the original takes for something is taken for the same, with a warning at most.
func TestParseFleetOfTheOriginal(t *testing.T) {
	for _, tc := range []struct {
		section string
		want    Fleet
	}{
		{"Global=maybe\nMachineOf=b.service\n", Fleet{MachineOf: []string{"b.service"}}},
		{"Global=true\nGlobal=maybe\n", Fleet{}},
		{"X-ConditionMachineBootID=boot\n", Fleet{MachineID: "boot"}},
		{"X-ConditionMachineBootID=boot\nX-ConditionMachineID=id\n", Fleet{MachineID: "id"}},
		{"X-ConditionMachineID=old\nMachineID=new\nMachineID=other\n", Fleet{MachineID: "new"}},
		{"MachineID=new\nX-ConditionMachineID=old\n", Fleet{MachineID: "new"}},
		{"X-ConditionMachineOf=b.service\nX-ConditionMachineMetadata=\"a=b\" \"c=d\"\n",
			Fleet{MachineOf: []string{"b.service"}, MachineMetadata: map[string][]string{"a": {"b"}, "c": {"d"}}}},
		{"X-Conflicts=c*\nUnheardOf=1\n", Fleet{Conflicts: []string{"c*"}}},
	} {
		fleet, problems := fleetOf(t, "a@1.service", tc.section)
		for _, p := range problems {
			require.True(t, strings.HasPrefix(p, "warning: "), p)
		}
		tc.want.Unit = "a@1.service"
		require.Equal(t, tc.want, fleet, tc.section)
	}
}

func TestParseFleetProblems(t *testing.T) {
	for _, tc := range []struct {
		name, section string
		want          []string
	}{
		{"all at once, in order", "Foo=1\nPorts=0 x\nCPU=%q\nGlobal=maybe\n", []string{
			"warning: line 2: [X-Fleet] Foo: unknown option, has no effect: remove it, or write one of AutoPorts, Conflicts, CPU, Global, Image, MachineID, MachineMetadata, MachineOf, Memory, OnPartition, Ports, PreferMetadata, Pull, Replaces, SpreadOver",
			`line 3: [X-Fleet] Ports: port "0": write numbers from 1 to 65535, separated by white space`,
			`line 3: [X-Fleet] Ports: port "x": write numbers from 1 to 65535, separated by white space`,
			`line 4: [X-Fleet] CPU: "%q": unknown specifier "%q": fleet knows %n, %N, %p, %i and %%`,
			`line 4: [X-Fleet] CPU: "%q" is not an amount of CPU (not a plain number): write cores such as 2 or 0.5, or millicores such as 500m`,
			`warning: line 5: [X-Fleet] Global: "maybe" is neither true nor false, and taken as false`}},
		{"names of automatic ports", "AutoPorts=http HTTP a_b -x\n", []string{
			`line 2: [X-Fleet] AutoPorts: port name "HTTP": write names such as http, with lowercase letters, digits and -, separated by white space`,
			`line 2: [X-Fleet] AutoPorts: port name "a_b": write names such as http, with lowercase letters, digits and -, separated by white space`,
			`line 2: [X-Fleet] AutoPorts: port name "-x": write names such as http, with lowercase letters, digits and -, separated by white space`}},
		{"in order, those of the file and those of the unit", "CPU=x\nMachineOf=b\nMemory=x\n", []string{
			`line 2: [X-Fleet] CPU: "x" is not an amount of CPU (not a plain number): write cores such as 2 or 0.5, or millicores such as 500m`,
			`line 3: [X-Fleet] MachineOf: unit name "b": no type, add one such as .service`,
			`line 4: [X-Fleet] Memory: "x" is not an amount of memory (not a plain number): write bytes, or a number with K, M, G or T (powers of 1024) such as 256M`}},
		{"misspelt", "conflicts=a\nx-conditionmachineid=b\nX-ConditionMachineBootID=c\n", []string{
			"warning: line 2: [X-Fleet] conflicts: unknown option, has no effect: write Conflicts=",
			"warning: line 3: [X-Fleet] x-conditionmachineid: unknown option, has no effect: write MachineID=",
			"warning: line 4: [X-Fleet] X-ConditionMachineBootID: boot IDs are not known, the value is compared with machine IDs: write MachineID="}},
		{"spellings of a machine's ID", "X-ConditionMachineBootID=a\nX-ConditionMachineID=b\nMachineID=c\nX-ConditionMachineID=d\n", []string{
			"warning: line 2: [X-Fleet] X-ConditionMachineBootID: boot IDs are not known, the value is compared with machine IDs: write MachineID=",
			"warning: line 2: [X-Fleet] X-ConditionMachineBootID: ignored: X-ConditionMachineID= (line 3) wins: remove it",
			"warning: line 3: [X-Fleet] X-ConditionMachineID: deprecated spelling: write MachineID=",
			"warning: line 3: [X-Fleet] X-ConditionMachineID: ignored: MachineID= (line 4) wins: remove it",
			"warning: line 5: [X-Fleet] X-ConditionMachineID: deprecated spelling: write MachineID=",
			"warning: line 5: [X-Fleet] X-ConditionMachineID: ignored: MachineID= (line 4) wins: remove it"}},
		{"lone percent", "SpreadOver=a%\n", []string{`line 2: [X-Fleet] SpreadOver: "a%": a single % at the end: write %%`}},
		{"broken globs", "Conflicts=[ b*\nConflicts=%p[\n", []string{
			`line 2: [X-Fleet] Conflicts: glob "[" is invalid: close every '[' and do not end with '\'`,
			`line 3: [X-Fleet] Conflicts: glob "a[" is invalid: close every '[' and do not end with '\'`}},
		{"open quote", "Conflicts=\"ab*\n", []string{`line 2: [X-Fleet] Conflicts: a quote is not closed in "\"ab*"`}},
		{"machine IDs", "MachineID=a b\nMachineID=c\nMachineID=d\n", []string{
			`line 2: [X-Fleet] MachineID: "a b" is not one machine ID: a unit can be on one machine only`,
			"warning: line 4: [X-Fleet] MachineID: ignored: the first one (line 3) wins: remove it"}},
		{"metadata", "MachineMetadata=a\nMachineMetadata=a=b c=d\nMachineMetadata=\"=b\" \"a=\" \"c=d\"\n", []string{
			`line 2: [X-Fleet] MachineMetadata: "a" is not key=value: write several pairs as "a=b" "c=d"`,
			`line 3: [X-Fleet] MachineMetadata: "a=b c=d" is not key=value: write several pairs as "a=b" "c=d"`,
			`line 4: [X-Fleet] MachineMetadata: "=b" is not key=value: write several pairs as "a=b" "c=d"`,
			`line 4: [X-Fleet] MachineMetadata: "a=" is not key=value: write several pairs as "a=b" "c=d"`}},
		{"peers", "MachineOf=b c@.service %n\n", []string{
			`line 2: [X-Fleet] MachineOf: unit name "b": no type, add one such as .service`,
			"line 2: [X-Fleet] MachineOf: c@.service is a template and never on a machine: name an instance, such as c@%i.service",
			"line 2: [X-Fleet] MachineOf: names the unit itself: name another unit"}},
		{"peers in conflict", "MachineOf=b@%i.service\nConflicts=b@*.service\n", []string{
			"line 2: [X-Fleet] MachineOf: b@1.service cannot be on the same machine: Conflicts=b@*.service matches it: remove one of the two"}},
		{"peers replaced", "MachineOf=b.service\nReplaces=%p.service b*\n", []string{
			"line 2: [X-Fleet] MachineOf: b.service cannot be on the same machine: Replaces=b* matches it: remove one of the two"}},
		{"resources", "CPU=0.0001\nMemory=1X\nSpreadOver=a=b\n", []string{
			`line 2: [X-Fleet] CPU: "0.0001" is not an amount of CPU (finer than one millicore): write cores such as 2 or 0.5, or millicores such as 500m`,
			`line 3: [X-Fleet] Memory: "1X" is not an amount of memory (unknown suffix "X"): write bytes, or a number with K, M, G or T (powers of 1024) such as 256M`,
			`line 4: [X-Fleet] SpreadOver: "a=b" is not a metadata key: write one key, such as zone`}},
		{"images", "Image=a b\nImage=c\nPull=Often\n", []string{
			`line 2: [X-Fleet] Image: "a b c" is not an image: write its name, such as localhost:5000/web:1, or docker or podman and its name`,
			`line 4: [X-Fleet] Pull: "Often" is neither Always nor IfNotPresent`}},
		{"what becomes of it on a machine that is cut off", "OnPartition=kill\n", []string{
			`line 2: [X-Fleet] OnPartition: "kill" is neither keep nor stop`}},
		{"an option of the runtime", "Image=docker --all-tags\n", []string{
			`line 2: [X-Fleet] Image: "docker --all-tags" is not an image: write its name, such as localhost:5000/web:1, or docker or podman and its name`}},
		{"preferences of a global unit", "Global=1\nPreferMetadata=disk=ssd\n", []string{
			"warning: line 3: [X-Fleet] PreferMetadata: without effect: a global unit is on every machine anyway"}},
		{"spread of a global unit", "Global=1\nSpreadOver=zone\n", []string{
			"warning: line 3: [X-Fleet] SpreadOver: without effect: a global unit is on every machine anyway"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, problems := fleetOf(t, "a@1.service", tc.section)
			require.Equal(t, tc.want, problems)
		})
	}
}

// TestParseFleetOfTemplate: what waits for %i is not judged, all else is.
func TestParseFleetOfTemplate(t *testing.T) {
	fleet, problems := fleetOf(t, "a@.service", "MachineOf=%p-%i.x a@%i.service\nPorts=%i\nMachineMetadata=a=%i\n")
	require.Empty(t, problems)
	require.Equal(t, []string{"a-.x", "a@.service"}, fleet.MachineOf)
	_, problems = fleetOf(t, "a@.service", "MachineOf=b\nPorts=%i x\nConflicts=[\n")
	require.Equal(t, []string{
		`line 2: [X-Fleet] MachineOf: unit name "b": no type, add one such as .service`,
		`line 4: [X-Fleet] Conflicts: glob "[" is invalid: close every '[' and do not end with '\'`}, problems)
	_, problems = fleetOf(t, "a@x.service", "Ports=%i\n")
	require.Len(t, problems, 1)
}

// TestOptionsThatDependOnTheName: one template serves all of its instances, whichever option it is that tells them apart.
func TestOptionsThatDependOnTheName(t *testing.T) {
	for option, field := range map[string]func(Fleet) any{
		"MachineID=%i":            func(f Fleet) any { return f.MachineID },
		"MachineOf=%i.service":    func(f Fleet) any { return strings.TrimSuffix(f.MachineOf[0], ".service") },
		"Conflicts=%i":            func(f Fleet) any { return f.Conflicts[0] },
		"Replaces=%i":             func(f Fleet) any { return f.Replaces[0] },
		"AutoPorts=a%i":           func(f Fleet) any { return strings.TrimPrefix(f.AutoPorts[0], "a") },
		"Ports=%i":                func(f Fleet) any { return fmt.Sprint(f.Ports[0]) },
		"CPU=%i":                  func(f Fleet) any { return fmt.Sprint(f.CPU / 1000) },
		"Memory=%i":               func(f Fleet) any { return fmt.Sprint(f.Memory) },
		"MachineMetadata=zone=%i": func(f Fleet) any { return f.MachineMetadata["zone"][0] },
		"PreferMetadata=zone=%i":  func(f Fleet) any { return f.PreferMetadata["zone"][0] },
		"Image=%i":                func(f Fleet) any { return f.Image[1] },
		"SpreadOver=%i":           func(f Fleet) any { return f.SpreadOver },
	} {
		file, err := Parse("[X-Fleet]\n" + option + "\n")
		require.NoError(t, err)
		template := ParseFleetTemplate(file)
		for _, instance := range []string{"7", "12"} {
			n, err := ParseName("a@" + instance + ".service")
			require.NoError(t, err)
			f, problems := template.Resolve(n)
			require.Empty(t, Errors(problems), option)
			require.Equal(t, instance, field(f), option)
		}
	}
}

func TestParseFleetDeprecated(t *testing.T) {
	fleet, problems := fleetOf(t, "a.service", "X-ConditionMachineOf=b.service\nX-Conflicts=c*\nX-ConditionMachineMetadata=d=e\n")
	require.Equal(t, Fleet{Unit: "a.service", MachineOf: []string{"b.service"}, Conflicts: []string{"c*"},
		MachineMetadata: map[string][]string{"d": {"e"}}}, fleet)
	require.Equal(t, []string{
		"warning: line 2: [X-Fleet] X-ConditionMachineOf: deprecated spelling: write MachineOf=",
		"warning: line 3: [X-Fleet] X-Conflicts: deprecated spelling: write Conflicts=",
		"warning: line 4: [X-Fleet] X-ConditionMachineMetadata: deprecated spelling: write MachineMetadata="}, problems)
	fleet, problems = fleetOf(t, "a.service", "X-ConditionMachineID=b\n")
	require.Equal(t, "b", fleet.MachineID)
	require.Len(t, problems, 1)
}

func TestFleetExclusions(t *testing.T) {
	lines := map[string]string{"MachineID": "MachineID=x", "MachineOf": "MachineOf=b.service", "Conflicts": "Conflicts=c*",
		"Global": "Global=true", "Replaces": "Replaces=d*", "MachineMetadata": "MachineMetadata=a=b", "Ports": "Ports=1"}
	excluded := map[string]bool{}
	for _, pair := range []string{"MachineID MachineOf", "MachineID Conflicts", "MachineID Global", "MachineID Replaces",
		"Global MachineOf", "Global Replaces", "Replaces Conflicts"} {
		a, b, _ := strings.Cut(pair, " ")
		excluded[a+" "+b], excluded[b+" "+a] = true, true
	}
	for a, first := range lines {
		for b, second := range lines {
			if a == b {
				continue
			}
			_, problems := fleetOf(t, "a.service", first+"\n"+second+"\n")
			if !excluded[a+" "+b] {
				require.Empty(t, problems)
				continue
			}
			require.Equal(t, []string{fmt.Sprintf("line 3: [X-Fleet] %s: cannot be combined with %s= (line 2): remove one of the two", b, a)}, problems)
		}
	}
}

func TestConflictsWith(t *testing.T) {
	fleet, problems := fleetOf(t, `a@x\x2d1.service`, "Conflicts=b.service a@*.service c@%i.service\n")
	require.Empty(t, problems)
	for name, want := range map[string]string{
		"b.service": "b.service", "a@2.service": "a@*.service", "a@.service": "a@*.service",
		`a@x\x2d1.service`: "",                  // itself
		`c@x\x2d1.service`: `c@x\\x2d1.service`, // what a specifier stands for is no pattern
		"cc.service":       "",
	} {
		glob, ok := fleet.ConflictsWith(name)
		require.Equal(t, want, glob)
		require.Equal(t, want != "", ok)
	}
	fleet, _ = fleetOf(t, `a@\x2d1.service`, "Conflicts=%i.service\n")
	require.Equal(t, []string{`\\x2d1.service`}, fleet.Conflicts)
}

func TestErrors(t *testing.T) {
	require.Empty(t, Errors([]Problem{{Line: 1, Warning: true}}))
	require.Equal(t, []Problem{{Line: 2}}, Errors([]Problem{{Line: 1, Warning: true}, {Line: 2}}))
}

func TestGlob(t *testing.T) {
	for pattern, want := range map[string]Glob{
		"a.service":             {Prefix: "a.service", Exact: true},
		"example-app@*.service": {Prefix: "example-app@", Template: "example-app@.service"},
		"a@*.mount":             {Prefix: "a@"},
		"a@*.service*":          {Prefix: "a@"},
		"a*@.service":           {Prefix: "a"},
		"a@b@*.service":         {Prefix: "a@b@"},
		"a@1*.service":          {Prefix: "a@1"},
		"a*":                    {Prefix: "a"},
		"a@*":                   {Prefix: "a@"},
		"*.service":             {},
		`a\*b?c`:                {Prefix: "a*b"},
		"a[bc]*":                {Prefix: "a"},
		"a*b*c":                 {Prefix: "a"},
		"":                      {Exact: true},
	} {
		g, err := ParseGlob(pattern)
		require.NoError(t, err)
		require.Equal(t, pattern, g.Pattern)
		require.Equal(t, want, Glob{Prefix: g.Prefix, Exact: g.Exact, Template: g.Template}, "%q", pattern)
	}
	_, err := ParseGlob("a[")
	require.Error(t, err)
}

func TestGlobMatch(t *testing.T) {
	for pattern, names := range map[string]map[string]bool{
		"a.service":   {"a.service": true, "a.services": false, "b.service": false},
		"a@*.service": {"a@1.service": true, "a@.service": true, "a@1.timer": false, "a@b/c.service": false, "a@/.service": false, "b@1.service": false},
		"a?c":         {"abc": true, "abd": false, "ac": false, "bbc": false},
		"*[0-9]*":     {"a1b": true, "ab": false},
	} {
		g, err := ParseGlob(pattern)
		require.NoError(t, err)
		for name, want := range names {
			require.Equal(t, want, g.Match(name), "%s %s", pattern, name)
		}
	}
}

// TestGlobIsPathMatch: the classification never disagrees with path.Match.
func TestGlobIsPathMatch(t *testing.T) {
	pattern := rapid.StringOfN(rapid.SampledFrom([]rune(`aab@@*?[]\-^./`)), 0, 8, -1)
	name := rapid.StringOfN(rapid.SampledFrom([]rune(`aab@@*\-./`)), 0, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		p, n := pattern.Draw(t, "pattern"), name.Draw(t, "name")
		for _, suffix := range []string{"", ".service"} {
			p, n := p+suffix, n+suffix
			want, err := path.Match(p, n)
			g, globErr := ParseGlob(p)
			require.Equal(t, err != nil, globErr != nil)
			require.Equal(t, want, err == nil && g.Match(n))
			if u, err := ParseName(n); err == nil && g.Template != "" {
				require.Equal(t, want, u.TemplateName() == g.Template)
			}
			if want {
				require.True(t, strings.HasPrefix(n, g.Prefix))
			}
		}
	})
}

// checkFleet holds for every section: nothing panics, problems are in order, resolving at once and in two steps agree.
func checkFleet(t require.TestingT, section, instance string) {
	f, err := Parse("[X-Fleet]\n" + section)
	if err != nil {
		return
	}
	n, err := ParseName("a@" + instance + ".service")
	if err != nil {
		return
	}
	template := ParseFleetTemplate(f)
	other, _ := ParseName("b@2.service")
	template.Resolve(other) // must leave no trace
	fleet, problems := template.Resolve(n)
	again, problemsAgain := ParseFleet(f, n)
	require.Equal(t, again, fleet)
	require.Equal(t, problemsAgain, problems)
	last := 0
	for _, p := range problems {
		require.True(t, p.Line >= last && p.Line > 1, "%v", p)
		require.NotEmpty(t, p.Msg)
		require.NotEmpty(t, p.Option)
		last = p.Line
	}
	if len(Errors(problems)) > 0 || n.Template {
		return
	}
	for _, g := range append(fleet.Conflicts, fleet.Replaces...) {
		_, err := path.Match(g, "x")
		require.NoError(t, err)
	}
	for _, p := range fleet.Ports {
		require.True(t, 1 <= p && p <= 65535)
	}
	for _, p := range fleet.MachineOf {
		_, err := ParseName(p)
		require.NoError(t, err)
		_, conflict := fleet.ConflictsWith(p)
		require.False(t, conflict)
	}
	_, self := fleet.ConflictsWith(n.Full)
	require.False(t, self)
	require.True(t, fleet.CPU >= 0 && fleet.Memory >= 0)
}

func TestFleetProperties(t *testing.T) {
	piece := rapid.SampledFrom([]string{"MachineID=", "MachineOf=", "Conflicts=", "Replaces=", "MachineMetadata=", "Global=", "Ports=", "AutoPorts=",
		"CPU=", "Memory=", "SpreadOver=", "X-", "\n", "\n", "\n", " ", "\"", "%i", "%n", "%p", "%%", "%", "a=b", "a@1.service", "b@%i.service",
		"*", "[", "]", "-", "\\", "1", "3000", "true", "m", "G", "."})
	rapid.Check(t, func(t *rapid.T) {
		section := strings.Join(rapid.SliceOfN(piece, 0, 25).Draw(t, "pieces"), "")
		checkFleet(t, section, rapid.SampledFrom([]string{"", "1", `x\x2d`, "-", "@"}).Draw(t, "instance"))
	})
}

func FuzzParseFleet(f *testing.F) {
	f.Add("Conflicts=example-app@*.service\nPorts=3000 30%i\nCPU=0.5\nMemory=128M\n", "1")
	f.Add("MachineOf=example-app@%i.service\nX-ConditionMachineMetadata=\"a=b\" \"a=c\"\n", `a\x2db`)
	f.Add("Global=true\nReplaces=[%i]\nMachineID=%\n", "-")
	f.Fuzz(func(t *testing.T, section, instance string) { checkFleet(t, section, instance) })
}

func BenchmarkResolve(b *testing.B) {
	n, err := ParseName("example-app-discovery@17.service")
	require.NoError(b, err)
	for _, bm := range []struct{ name, section string }{
		{"conflicts", "Conflicts=example-app@*.service\nPorts=3000\nMachineMetadata=zone=a\nCPU=500m\n"},
		{"machineOf", "MachineOf=example-app@%i.service\n"},
	} {
		f, err := Parse("[X-Fleet]\n" + bm.section)
		require.NoError(b, err)
		template := ParseFleetTemplate(f)
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, problems := template.Resolve(n); len(problems) > 0 {
					b.Fatal(problems)
				}
			}
		})
	}
}

func BenchmarkParseFleet(b *testing.B) {
	f, err := Parse(seedFiles(b)["example-app@.service"])
	require.NoError(b, err)
	n, err := ParseName("example-app@1.service")
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		ParseFleet(f, n)
	}
}

func TestPulls(t *testing.T) {
	for section, want := range map[string]Image{
		"":                                    {},
		"Pull=Always\n":                       {},
		"Image=web\n":                         {Runtime: "docker", Name: "web", Always: true},
		"Image=podman web\nPull=Always\n":     {Runtime: "podman", Name: "web", Always: true},
		"Image=docker web\nPull=IfNotPresent": {Runtime: "docker", Name: "web"},
	} {
		fleet, problems := fleetOf(t, "a@1.service", section)
		require.Empty(t, problems)
		require.Equal(t, want, fleet.Pulls(), section)
	}
}
