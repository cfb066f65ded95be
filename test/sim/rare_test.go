package sim

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rehearse runs a plan of these steps after applying an app, web, and returns what happened. It fails on any violation.
func rehearse(t *testing.T, machines int, steps ...step) transcript {
	t.Helper()
	return rehearseWith(t, Plan{Seed: 1, Machines: machines, Steps: steps})
}

func rehearseWith(t *testing.T, p Plan) transcript {
	t.Helper()
	p.Steps = append([]step{{At: time.Second, Do: "apply", A: 0, B: 2, C: 4}}, p.Steps...)
	o := Run(t, p, disks(t)())
	told := transcript{leave(t, "sim-"+strings.ReplaceAll(t.Name(), "/", "-")+".txt", o.Transcript), o.Transcript}
	require.Nil(t, o.Violation, "the transcript is in %s", told.file)
	return told
}

// transcript is what happened, in a file: it is too long for a message.
type transcript struct{ file, text string }

// says requires lines that match, in this order.
func (told transcript) says(t *testing.T, lines ...string) {
	t.Helper()
	rest := told.text
	for _, line := range lines {
		at := regexp.MustCompile(`(?m)` + line).FindStringIndex(rest)
		require.NotNil(t, at, "%s does not say %q (of %q)", told.file, line, lines)
		rest = rest[at[1]:]
	}
}

func (told transcript) saysNot(t *testing.T, line string) {
	t.Helper()
	require.Empty(t, regexp.MustCompile(`(?m)^.*`+line+`.*$`).FindString(told.text), "in %s", told.file)
}

// A fleetd that is cut off alone is missed, while its machine's units stay announced and routed.
func TestFleetdCutOffAlone(t *testing.T) {
	told := rehearse(t, 3,
		step{At: 40 * time.Second, Do: "cut off one", A: 1, B: 0, C: 0},
		step{At: 75 * time.Second, Do: "reconnect one", A: 1})
	told.says(t, `fleetd alone is cut off`, `etcd +r\d+ deletes machines/m2$`, `fleetd alone is connected`, `m2 +r\d+ puts machines/m2`)
	told.saysNot(t, `etcd +r\d+ deletes routers/m2$`)
}

// A router that is cut off alone is missed, its machine is not.
func TestRouterCutOffAlone(t *testing.T) {
	told := rehearse(t, 3,
		step{At: 40 * time.Second, Do: "cut off one", A: 2, B: 1, C: 0},
		step{At: 75 * time.Second, Do: "reconnect one", A: 2})
	told.says(t, `router alone is cut off`, `etcd +r\d+ deletes routers/m3$`, `router alone is connected`, `m3/router.service r\d+ puts routers/m3`)
	told.saysNot(t, `deletes machines/m3$`)
}

// before returns what happened before that step.
func (told transcript) before(do string) transcript {
	text, _, _ := strings.Cut(told.text, " step           "+do+" (")
	return transcript{told.file, text}
}

// With freeze_timeout, the units of most machines move after that time, and not before.
func TestFreezeTimeoutPasses(t *testing.T) {
	steps := []step{
		{At: 2 * time.Second, Do: "apply", A: 1, B: 4, C: 8},
		{At: 2 * time.Second, Do: "apply", A: 2, B: 4, C: 4},
		{At: 40 * time.Second, Do: "power off many"},
		{At: 160 * time.Second, Do: "power on many"},
	}
	frozen := rehearseWith(t, Plan{Seed: 1, Machines: 5, Steps: steps})
	frozen.says(t, `schedule: Placing unit action=FreezeMoves`)
	frozen.before("power on many").saysNot(t, `reason=MachineGone`)
	thawed := rehearseWith(t, Plan{Seed: 1, Machines: 5, FreezeTimeout: 40 * time.Second, Steps: steps})
	thawed.before("power on many").says(t, `action=FreezeMoves`, `reason=MachineGone`, `action=UnfreezeMoves`)
}

// A machine returns with another address, and another one gets its old address: routers follow.
func TestAddressesChangeHands(t *testing.T) {
	told := rehearse(t, 3,
		step{At: 40 * time.Second, Do: "readdress", A: 0, B: 1, C: 0},
		step{At: 80 * time.Second, Do: "power on", A: 0})
	told.says(t, `m3 +r\d+ puts machines/m3 .*"address":"10.0.0.1"`, `nginx serves .*=10.0.0.1:3000`, `m1 +r\d+ puts machines/m1 .*"address":"10.0.1.1"`)
}

// Metadata changed while fleetd runs moves units that no longer match, as soon as they fit elsewhere; metadata changed while it is down is published when it
// starts.
func TestMetadataReloaded(t *testing.T) {
	told := rehearse(t, 3,
		step{At: 2 * time.Second, Do: "apply", A: 1, B: 2, C: 0}, // zone=a: m1 and m3
		step{At: 40 * time.Second, Do: "reload", A: 2, B: 1},
		step{At: 50 * time.Second, Do: "power off", A: 1},
		step{At: 51 * time.Second, Do: "reload", A: 1, B: 0},
		step{At: 60 * time.Second, Do: "power on", A: 1})
	told.says(t, `m3 +its metadata is changed to map.zone:b.`, `m3 +presence: Putting presence .*reason=Changed`, `m3 +r\d+ puts machines/m3 .*"zone":"b"`,
		`stays on m3 for now \(m3 has no metadata zone=a\)`, `m2 +its metadata is changed to map.zone:a.`, `m2 +r\d+ puts machines/m2 .*"zone":"a"`,
		`action=Update unit=api@1.service machine=m3 .*reason=MachineMetadata .*: it moves when its app has let it go`, `action=Move unit=api@1.service machine=m2 from=m3`)
	told.saysNot(t, `action=Unplace`)
}

// A hundred units come and go at once, on twelve machines.
func TestBurst(t *testing.T) {
	told := rehearse(t, 12, step{At: 20 * time.Second, Do: "burst"}, step{At: 60 * time.Second, Do: "burst over", B: 3, C: 1})
	told.says(t, `puts units/crowd@100.service`, `puts placements/m\d+/crowd@100.service`, `systemd started crowd@100.service`, `deletes placements/m\d+/crowd@100.service`,
		`crowd@100.service was stopped`)
	told.says(t, `m12 +systemd started crowd@\d+.service`)
}

// A clock that is a fifth too fast is soon minutes ahead, and so are the times written by its machine, the leader.
func TestClocksDrift(t *testing.T) {
	told := rehearse(t, 1,
		step{At: 2 * time.Second, Do: "drift", A: 0, B: 5},
		step{At: 100 * time.Second, Do: "apply", A: 0, B: 2, C: 5}, // at 2 + 98 * 1.2 s
		step{At: 150 * time.Second, Do: "right clock", A: 0})
	told.says(t, `its clock gains 200000 millionths`, `"since":"2000-01-01T00:01:59\.`, `its clock is set right: it was 29.6s ahead`)
}

// While the disk or /run is full the machine keeps running what it has, and catches up when there is room.
func TestDisksFull(t *testing.T) {
	told := rehearse(t, 3,
		step{At: 40 * time.Second, Do: "disk full", A: 1, B: 1}, // /run
		step{At: 41 * time.Second, Do: "apply", A: 0, B: 2, C: 5},
		step{At: 60 * time.Second, Do: "disk room", A: 1},
		step{At: 70 * time.Second, Do: "disk full", A: 1, B: 4}, // the disk
		step{At: 71 * time.Second, Do: "apply", A: 0, B: 2, C: 6},
		step{At: 100 * time.Second, Do: "disk room", A: 1})
	told.says(t, `/run is full: true`, `run/units/web@2.service: no space left on device`, `its disk is full: false, /run is full: false`, `m2 +systemd started web@2.service`,
		`its disk is full: true`, `copy of the placements: write .*/state/placements.json: no space left on device`, `m2 +systemd started web@2.service`, `its disk is full: false`)
}

// Damaged files are read again from etcd, or adopted from what runs: nothing restarts.
func TestFilesAreCorrupt(t *testing.T) {
	for seed := range uint64(12) {
		told := rehearse(t, 3,
			step{At: 40 * time.Second, Do: "corrupt", A: 1, B: seed},
			step{At: 60 * time.Second, Do: "corrupt", A: 1, B: seed + 100})
		told.says(t, `m2 +(run|state)/\S+ is (empty|cut|garbage|gone)`)
	}
}

// Without the connection to systemd nothing is done, and all of it when the connection is back.
func TestBusLost(t *testing.T) {
	told := rehearse(t, 3,
		step{At: 40 * time.Second, Do: "bus lost", A: 1},
		step{At: 41 * time.Second, Do: "apply", A: 0, B: 2, C: 5},
		step{At: 80 * time.Second, Do: "bus back", A: 1})
	told.says(t, `the connection to systemd is lost`, `m2 +node: .*systemd: look up: the connection was lost`, `is connected to systemd again`, `m2 +systemd started web@2.service`)
	lost, back := strings.Index(told.text, "connection to systemd is lost"), strings.Index(told.text, "connected to systemd again")
	require.NotRegexp(t, `m2 +node: Acting on unit action=(stop|start|restart|link|reload)`, told.text[lost:back])
}

// A start whose answer is lost with the connection was executed: it is not repeated.
func TestBusLostInTheMiddle(t *testing.T) {
	done := 0
	for which := range uint64(8) {
		told := rehearse(t, 3,
			step{At: 40 * time.Second, Do: "bus lost", A: 1, B: 1 + 2*which},
			step{At: 41 * time.Second, Do: "apply", A: 0, B: 2, C: 5},
			step{At: 80 * time.Second, Do: "bus back", A: 1})
		done += strings.Count(told.text, "was done, and the answer is lost")
	}
	require.Positive(t, done)
}

// Upgrading all fleetds one by one replaces no instance, even if an app is scaled meanwhile; changes are written by the
// leader's version.
func TestUpgrade(t *testing.T) {
	p := Plan{Seed: 1, Machines: 3, OldFleetd: true, Steps: []step{
		{At: 2 * time.Second, Do: "apply", A: 1, B: 1, C: 6},
		{At: 60 * time.Second, Do: "apply", A: 1, B: 2, C: 6},  // one more, while an old one leads
		{At: 160 * time.Second, Do: "apply", A: 1, B: 3, C: 6}, // and a new one
	}}
	p.Steps = slices.Insert(p.Steps, 1, upgrades(3, 40*time.Second, func() time.Duration { return 50 * time.Second })...)
	slices.SortStableFunc(p.Steps, func(a, b step) int { return int(a.At - b.At) })
	told := rehearseWith(t, p)
	told.says(t, `m1 +fleetd is upgraded`, `systemd started api@2.service`, `m2 +fleetd is upgraded`, `m3 +fleetd is upgraded`, `systemd started api@3.service`)
	_, upgraded, _ := strings.Cut(told.text, "fleetd is upgraded")
	require.NotRegexp(t, `systemd started (web@[12]|api@1).service`, upgraded)
	before, _, _ := strings.Cut(told.text, "fleetd is upgraded")
	files := regexp.MustCompile(`puts unitfiles/([0-9a-f]+)`)
	require.Len(t, files.FindAllString(before, -1), 5)
	require.Empty(t, files.FindAllString(upgraded, -1), "the handwriting stays while the spec does")
}

// etcd is restored to before an app was changed and another one was created: the cluster follows.
func TestEtcdRestored(t *testing.T) {
	for name, c := range map[string]uint64{"with --bump-revision": 1, "without": 0} {
		t.Run(name, func(t *testing.T) {
			told := rehearse(t, 3,
				step{At: 60 * time.Second, Do: "apply", A: 0, B: 3, C: 5},
				step{At: 62 * time.Second, Do: "apply", A: 1, B: 2, C: 6},
				step{At: 90 * time.Second, Do: "lose etcd"},
				step{At: 95 * time.Second, Do: "restore etcd", B: 39, C: c})
			told.says(t, `systemd started api@2.service`, `etcd is restored as it was 40s before it was lost`, `api@2.service was stopped`)
			told.saysNot(t, `VIOLATION`)
		})
	}
}
