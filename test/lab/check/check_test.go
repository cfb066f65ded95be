package check

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

var (
	start = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	web   = "[Service]\nExecStart=/bin/web\n\n[X-Fleet]\nConflicts=web@*.service\nPorts=3000\n"
	other = "[Service]\nExecStart=/bin/other\n\n[X-Fleet]\nPorts=3000\n"
	every = "[Service]\nExecStart=/bin/router\n\n[X-Fleet]\nGlobal=true\n"
)

// at is a moment of a story: seconds after its start.
func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// story is told in lines, one for each thing that happens:
//
//	2.5 place web@1.service m1 web      etcd: placed, with the file of that name
//	2.5 move web@1.service m1 m2 web    in one transaction
//	3 unplace web@1.service m1
//	3 announce web@1 m1                 etcd: with the address of m1
//	3 withdraw web@1
//	4 start web@1.service m1            the journal of m1
//	4 end web@1.service m1
//	5 power m1                          its power is cut
//	6 cut 9                             the network is not whole from 6 to 9
//	9 container box.1 m1 [UNIT]         in the end
//	9 running box@1.service m1          in the end
func story(t *testing.T, text string) Input {
	in := Input{
		Machines: []Machine{{"m1", "id1", "10.0.0.1"}, {"m2", "id2", "10.0.0.2"}, {"m3", "id3", "10.0.0.3"}},
		Limits:   Limits{Overlap: 2 * time.Second, Health: 3 * time.Second, Lease: 40 * time.Second, CatchUp: 35 * time.Second},
		Until:    at(1000),
	}
	texts := map[string]string{"web": web, "other": other, "every": every}
	revision := int64(1)
	for _, text := range texts {
		in.Writes = append(in.Writes, Write{Revision: revision, At: start, Key: keys.UnitFiles().Key(unitfile.Hash(text)), Value: text})
		revision++
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		var seconds, until float64
		_, err := fmt.Sscan(f[0], &seconds)
		require.NoError(t, err, line)
		now := at(seconds)
		write := func(key, value string) {
			in.Writes = append(in.Writes, Write{Revision: revision, At: now, Key: key, Value: value, Deleted: value == ""})
		}
		place := func(unit, machine, file string) {
			value := ""
			if file != "" {
				value = fmt.Sprintf(`{"hash":%q,"desiredState":"launched"}`, unitfile.Hash(texts[file]))
			}
			write(keys.Placements().Key("id"+machine[1:]+"/"+unit), value)
		}
		key := func(instance string) string {
			app, _, _ := strings.Cut(instance, "@")
			return endpointKeys.Key(app + "/" + instance)
		}
		switch f[1] {
		case "place":
			place(f[2], f[3], f[4])
		case "unplace":
			place(f[2], f[3], "")
		case "move":
			place(f[2], f[3], "")
			place(f[2], f[4], f[5])
		case "announce":
			write(key(f[2]), "10.0.0."+f[3][1:]+":3000")
		case "withdraw":
			write(key(f[2]), "")
		case "start":
			in.Entries = append(in.Entries, Entry{now, f[3], f[2], Started})
		case "end":
			in.Entries = append(in.Entries, Entry{now, f[3], f[2], Ended})
		case "power":
			in.Entries = append(in.Entries, Entry{now, f[2], "", PowerCut})
		case "cut":
			_, err := fmt.Sscan(f[2], &until)
			require.NoError(t, err, line)
			in.Cuts = append(in.Cuts, Window{now, at(until)})
		case "container":
			in.Containers = append(in.Containers, Container{f[3], f[2], strings.Join(f[4:], "")})
		case "running":
			in.Running = append(in.Running, Unit{f[3], f[2]})
		default:
			t.Fatalf("unknown: %s", line)
		}
		revision++
	}
	return in
}

// What several stories begin with.
const (
	runs      = "1 place web@1.service m1 web\n 1 start web@1.service m1\n"
	announced = runs + "2 announce web@1 m1\n"
	ended     = announced + "5 end web@1.service m1\n"
	moved     = runs + "2 move web@1.service m1 m2 web\n 3 start web@1.service m2\n"

	movedWhileCut = runs + "2 cut 60\n 5 move web@1.service m1 m2 web\n 6 start web@1.service m2\n"

	// web@2 has started where web@1 stops.
	madeRoom = `
		1 place web@1.service m1 web
		2 start web@1.service m1
		3 move web@1.service m1 m2 web
		4 place web@2.service m1 web
		5 start web@2.service m1
		`
	// etcd has three members, and then two.
	announcedByThree = `
		1 start etcd.service m1
		1 start etcd.service m2
		1 start etcd.service m3
		1 place web@1.service m1 web
		50 start web@1.service m1
		52 announce web@1 m1
		100 end etcd.service m1
		`
)

func TestProblems(t *testing.T) {
	for _, c := range []struct{ name, story, want string }{
		{"nothing", "", ""},
		{"two instances on two machines", `
			1 place web@1.service m1 web
			1 place web@2.service m2 web
			2 start web@1.service m1
			2 start web@2.service m2
			3 announce web@1 m1`, ""},

		{"placed although they conflict", `
			1 place web@1.service m1 web
			2 place web@2.service m1 web`, "12:00:02.000 web@1.service and web@2.service are placed on m1: web@1.service has Conflicts=web@*.service"},
		{"placed although they have one port", `
			1 place a.service m1 other
			2 place web@2.service m1 web`, "12:00:02.000 a.service and web@2.service are placed on m1: both have Ports=3000"},
		{"one makes room for the other", `
			1 place web@1.service m1 web
			2 move web@1.service m1 m2 web
			3 place web@2.service m1 web`, ""},
		{"placed twice", `
			1 place web@1.service m1 web
			2 place web@1.service m2 web`, "12:00:02.000 web@1.service is placed on m1 and on m2"},
		{"global is everywhere", `
			1 place router.service m1 every
			1 place router.service m2 every
			2 start router.service m1
			2 start router.service m2`, ""},

		{"two that conflict ran on a machine", madeRoom + `
			8 end web@1.service m1`, "12:00:05.000 web@1.service and web@2.service ran on m1 for 3.0 s: web@1.service has Conflicts=web@*.service"},
		{"the one stops while the other starts", madeRoom + `
			6.9 end web@1.service m1`, ""},

		{"two copies", moved + `
			9 end web@1.service m1`, "12:00:03.000 web@1.service ran on m1 and on m2 for 6.0 s"},
		{"two copies, and neither ends", moved, "12:00:03.000 web@1.service ran on m1 and on m2 for 997.0 s"},
		{"two copies while the network is cut", movedWhileCut + `
			90 end web@1.service m1`, ""},
		{"two copies long after it is healed", movedWhileCut + `
			99 end web@1.service m1`, "12:01:35.000 web@1.service ran on m1 and on m2 for 4.0 s"},
		{"the one that lost its power runs no more", runs + `
			2 power m1
			5 move web@1.service m1 m2 web
			6 start web@1.service m2`, ""},
		{"started again without an end", runs + `
			2 start web@1.service m1
			3 end web@1.service m1
			4 move web@1.service m1 m2 web
			5 start web@1.service m2`, ""},
		{"a copy that fleet did not place", runs + `
			3 start web@1.service m2
			9 end web@1.service m2`, "12:00:03.000 web@1.service ran on m1 and on m2 for 6.0 s"},
		{"what fleet did not place at all", `
			1 start docker.service m1
			1 start docker.service m2`, ""},

		{"announced without an instance", ended + `
			8.5 withdraw web@1`, "12:00:05.000 /services/web/web/web@1 = 10.0.0.1:3000 was announced for 3.5 s while web@1.service did not run on m1"},
		{"withdrawn in time", ended + `
			7.5 withdraw web@1`, ""},
		{"runs again in time", ended + `
			6 start web@1.service m1`, ""},
		{"never withdrawn", ended, "12:00:05.000 /services/web/web/web@1 = 10.0.0.1:3000 was announced for 995.0 s while web@1.service did not run on m1"},
		{"announced at a machine where it never ran", runs + `
			2 place web@1.service m2 web
			2 unplace web@1.service m1
			2 announce web@1 m2
			9 withdraw web@1`, "12:00:02.000 /services/web/web/web@1 = 10.0.0.2:3000 was announced for 7.0 s while web@1.service did not run on m2\n" +
			"12:00:02.000 web@1.service is placed on m1 and on m2"},
		{"after a power cut its lease ends", announced + `
			5 power m1
			35 withdraw web@1`, ""},
		{"after a power cut of another machine it does not have to", announced + `
			4 power m2
			5 end web@1.service m1
			35 withdraw web@1`, "12:00:05.000 /services/web/web/web@1 = 10.0.0.1:3000 was announced for 30.0 s while web@1.service did not run on m1"},
		{"longer than the lease", announced + `
			5 power m1
			50 withdraw web@1`, "12:00:45.000 /services/web/web/web@1 = 10.0.0.1:3000 was announced for 5.0 s while web@1.service did not run on m1"},
		{"no etcd, no withdrawal", announcedByThree + `
			101 end etcd.service m2
			102 end web@1.service m1
			160 start etcd.service m2
			190 withdraw web@1`, ""},
		{"one member less is no excuse", announcedByThree + `
			102 end web@1.service m1
			160 start etcd.service m1
			190 withdraw web@1`, "12:01:42.000 /services/web/web/web@1 = 10.0.0.1:3000 was announced for 88.0 s while web@1.service did not run on m1"},
		{"a script's endpoint", `
			2 announce script@1 m1`, ""},

		{"a container of a unit", `
			9 container box.1 m1 box@1.service
			9 running box@1.service m1`, ""},
		{"a container of a unit of another machine", `
			9 container box.1 m1 box@1.service
			9 running box@1.service m2`, "12:16:40.000 no unit accounts for the container box.1 on m1 (fleet.unit=box@1.service)"},
		{"a container that is not fleet's", `
			9 container stray m1
			9 running box@1.service m1`, "12:16:40.000 no unit accounts for the container stray on m1 (fleet.unit=)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var found []string
			for _, p := range Problems(story(t, c.story)) {
				found = append(found, p.String())
			}
			require.Equal(t, c.want, strings.Join(found, "\n"))
		})
	}
}

func TestWithout(t *testing.T) {
	w := func(from, to float64) Window { return Window{at(from), at(to)} }
	require.Equal(t, w(0, 9), without(w(0, 9), nil))
	require.Equal(t, w(4, 9), without(w(0, 9), []Window{w(2, 4)}))
	require.Equal(t, w(0, 5), without(w(0, 9), []Window{w(7, 8), w(5, 6)}))
	require.Equal(t, w(5, 9), without(w(0, 9), []Window{w(1, 5), w(2, 3)}), "one within another")
	require.Equal(t, w(8, 9), without(w(0, 9), []Window{w(-5, 8), w(9, 12)}))
	require.Zero(t, without(w(0, 9), []Window{w(-1, 5), w(5, 10)}))
	require.Zero(t, without(w(9, 0), nil), "no overlap")
}
