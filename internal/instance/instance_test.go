package instance

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func stored(hash string) *v1.Unit {
	return &v1.Unit{Spec: v1.UnitSpec{Hash: hash, DesiredState: v1.Launched}}
}

// plain is an instance that is not announced and has run for an hour.
func plain() Input {
	return Input{Now: now, Hash: "u", MinReady: v1.DefaultMinReady, Unit: stored("u"), Placed: true,
		State: &v1.UnitState{ActiveState: "active", SubState: "running", Hash: "u", DesiredState: v1.Launched, Since: now.Add(-time.Hour)}}
}

// announced is an instance that all routers serve.
func announced() Input {
	in := plain()
	in.SidekickHash, in.Sidekick, in.Endpoint = "s", stored("s"), true
	return in
}

func TestOf(t *testing.T) {
	failing := v1.UnitState{ActiveState: "failed", SubState: "failed", Result: "exit-code", ExitCode: "exited", ExitStatus: 1, Hash: "u", DesiredState: v1.Launched}
	type want struct {
		state          State
		active, serves bool
		after          time.Duration
		why            string // its beginning
	}
	for _, c := range []struct {
		name   string
		of     func() Input
		change func(*Input)
		want   want
	}{
		{"ready", plain, func(*Input) {}, want{Ready, true, true, 0, "ready"}},
		{"ready and announced", announced, func(*Input) {}, want{Ready, true, true, 0, "ready"}},
		{"stopped", announced, func(in *Input) { in.Stopped, in.State.ActiveState = true, "inactive" }, want{Stopped, false, false, 0, "stopped by hand"}},
		{"pending", plain, func(in *Input) { in.Placed, in.State = false, nil }, want{Pending, false, false, 0, "about to be placed"}},
		{"unplaced", plain, func(in *Input) {
			in.Placed, in.State, in.Unplaced = false, nil, &v1.Unplaced{Message: "0 of 2 machines fit"}
		}, want{Unplaced, false, false, 0, "0 of 2 machines fit"}},
		{"instances of the app are about to make room", plain, func(in *Input) {
			in.Placed, in.State, in.Crowded, in.Unplaced = false, nil, true, &v1.Unplaced{Message: "0 of 2 machines fit"}
		}, want{Pending, false, false, 0, "about to be placed where an old instance makes room: 0 of 2"}},
		{"its new file fits nowhere", plain, func(in *Input) {
			in.Hash, in.Unit, in.Unplaced = "v", stored("v"), &v1.Unplaced{Message: "0 of 2 machines fit"}
		}, want{Unplaced, true, true, 0, "0 of 2 machines fit"}},
		{"its machine is away", plain, func(in *Input) { in.Away, in.State = true, nil }, want{MachineAway, false, false, 0, "its machine is not present"}},
		{"not reported", plain, func(in *Input) { in.State = nil }, want{NotReported, false, false, 0, "its machine has not reported it"}},
		{"active for 100 ms", plain, func(in *Input) { in.State.Since = now.Add(-100 * time.Millisecond) }, want{Settling, true, false, 4900 * time.Millisecond, "active for less than 5s"}},
		{"active for 5 s", plain, func(in *Input) { in.State.Since = now.Add(-5 * time.Second) }, want{Ready, true, true, 0, "ready"}},
		{"with a minReady of its own", plain, func(in *Input) { in.MinReady, in.State.Since = time.Minute, now.Add(-5*time.Second) }, want{Settling, true, false, 55 * time.Second, "active for less than 1m0s"}},
		{"the clock there is a little ahead", plain, func(in *Input) { in.State.Since = now.Add(2 * time.Second) }, want{Settling, true, false, 7 * time.Second, "active"}},
		{"hours ahead: since it was touched", plain, func(in *Input) {
			in.State.Since = now.Add(9 * time.Hour)
			in.Unit.Rollout = v1.Rollout{Phase: v1.RolloutUpdating, Since: now.Add(-time.Second)}
		}, want{Settling, true, false, 4 * time.Second, "active"}},
		{"hours ahead, and not touched", plain, func(in *Input) { in.State.Since = now.Add(9 * time.Hour) }, want{Ready, true, true, 0, "ready"}},
		{"started again once, 9 s ago", plain, func(in *Input) { in.State.Restarts, in.State.Since = 1, now.Add(-9*time.Second) }, want{Settling, true, false, time.Second, "active for less than 10s"}},
		{"started again once, long ago", plain, func(in *Input) { in.State.Restarts = 1 }, want{Ready, true, true, 0, "ready"}},
		{"about to be started again", plain, func(in *Input) {
			in.State.ActiveState, in.State.SubState, in.State.Restarts, in.State.Result = "activating", "auto-restart", 1, "exit-code"
		}, want{Restarts, false, false, 0, "activating (auto-restart), result exit-code, restarted once"}},
		{"a restart loop, between two starts", plain, func(in *Input) {
			in.State = &v1.UnitState{ActiveState: "activating", SubState: "auto-restart", Restarts: 9, Result: "exit-code", ExitCode: "exited", ExitStatus: 203, Hash: "u"}
		}, want{RestartLoop, false, false, 0, "in a restart loop: activating (auto-restart), result exit-code, exit status 203 (EXEC: the program cannot be executed), restarted at least 8 times"}},
		{"a restart loop, in a start", plain, func(in *Input) { in.State.Restarts, in.State.Since = 9, now.Add(-6*time.Second) }, want{RestartLoop, true, false, 74 * time.Second, "in a restart loop"}},
		{"a restart loop that is announced", announced, func(in *Input) { in.State.Restarts, in.State.Since = 3, now.Add(-6*time.Second) }, want{RestartLoop, true, false, 34 * time.Second, "in a restart loop"}},
		{"a restart loop that was over long ago", announced, func(in *Input) { in.State.Restarts = 1000 }, want{Ready, true, true, 0, "ready"}},
		{"failed", announced, func(in *Input) { in.State, in.Endpoint = &failing, false }, want{Failed, false, false, 0, "failed, result exit-code, exit status 1"}},
		{"asked for again after it failed", plain, func(in *Input) { in.State, in.Unit.Spec.RequestedAt = &failing, "now" }, want{Starting, false, false, 0, "failed"}},
		{"what failed is about to be replaced", plain, func(in *Input) { in.State, in.Hash, in.Unit = &failing, "v", stored("v") }, want{Outdated, false, false, 0, "about to be replaced; the version before is failed"}},
		{"refused by its machine", plain, func(in *Input) {
			in.State = &v1.UnitState{ActiveState: "inactive", Message: "not taken over: this machine has one of its own"}
		}, want{NotActive, false, false, 0, "not taken over"}},
		{"not started so far", plain, func(in *Input) { in.State = &v1.UnitState{ActiveState: "inactive", SubState: "dead", Hash: "u"} }, want{NotActive, false, false, 0, "inactive (dead)"}},
		{"start-pre hangs", plain, func(in *Input) { in.State.ActiveState, in.State.SubState = "activating", "start-pre" }, want{Starting, false, false, 0, "activating (start-pre)"}},
		{"a oneshot at work", plain, func(in *Input) { in.Oneshot, in.State.ActiveState, in.State.SubState = true, "activating", "start" }, want{Starting, false, false, 0, "activating (start)"}},
		{"a oneshot that is done", plain, func(in *Input) {
			in.Oneshot, in.State = true, &v1.UnitState{ActiveState: "inactive", SubState: "dead", Result: "success", Hash: "u", DesiredState: v1.Launched}
		}, want{Done, false, true, 0, "done: it exited successfully"}},
		{"a oneshot that is done and remains", plain, func(in *Input) { in.Oneshot, in.State.SubState, in.State.Since = true, "exited", now }, want{Done, true, true, 0, "done"}},
		{"a oneshot that failed", plain, func(in *Input) { in.Oneshot, in.State = true, &failing }, want{Failed, false, false, 0, "failed"}},
		{"a server that exited successfully", plain, func(in *Input) {
			in.State = &v1.UnitState{ActiveState: "inactive", SubState: "dead", Result: "success", Hash: "u", DesiredState: v1.Launched}
		}, want{Exited, false, false, 0, "exited successfully and is not restarted"}},
		{"no endpoint", announced, func(in *Input) { in.Endpoint = false }, want{Unannounced, true, false, 0, "active, but not announced"}},
		{"a router is behind", announced, func(in *Input) { in.Behind = []string{"m1", "m2222222222"} }, want{Unrouted, true, true, 0, "announced, but not served yet by the routers on m1, m2222222..."}},
		{"its sidekick is stopped by a person", announced, func(in *Input) { in.SidekickStopped, in.Endpoint = true, false }, want{Ready, true, true, 0, "ready"}},
		{"announced since this version", plain, func(in *Input) { in.SidekickHash = "s" }, want{Outdated, true, true, 0, "about to be replaced"}},
		{"to be replaced", announced, func(in *Input) { in.Hash, in.Unit = "v", stored("v") }, want{Outdated, true, true, 0, "about to be replaced"}},
		{"not written so far", announced, func(in *Input) { in.Hash = "v" }, want{Outdated, true, true, 0, "about to be replaced"}},
		{"withdrawn", announced, func(in *Input) { in.Sidekick.Spec.DesiredState, in.Endpoint = v1.Loaded, false }, want{Withdrawn, true, false, 0, "withdrawn from the routers"}},
		{"withdrawn, to move", announced, func(in *Input) {
			in.Sidekick.Spec.DesiredState, in.Endpoint = v1.Loaded, false
			in.Unit.Rollout = v1.Rollout{Phase: v1.RolloutLeaving, From: "m1"}
		}, want{Moving, true, false, 0, "withdrawn from the routers, about to leave m1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.of()
			c.change(&in)
			p := Of(in)
			require.Equal(t, c.want, want{p.State, p.Active, p.Serves, p.After, c.want.why}, p.Why())
			require.True(t, strings.HasPrefix(p.Why(), c.want.why), p.Why())
		})
	}
}

func TestFinal(t *testing.T) {
	for state, final := range map[State]bool{Stopped: true, RestartLoop: true, Failed: true, Exited: true,
		Restarts: false, Starting: false, Settling: false, Unplaced: false, Outdated: false, Ready: false, Done: false} {
		require.Equal(t, final, state.Final(), state)
	}
}

// TestUnits: units of all types, as reported by systemd.
func TestUnits(t *testing.T) {
	for _, c := range []struct {
		name  string
		state *v1.UnitState
		want  Activity
		up    bool
	}{
		{"nothing is said", nil, Unreported, false},
		{"a service", &v1.UnitState{ActiveState: "active", SubState: "running"}, Active, true},
		{"a timer", &v1.UnitState{ActiveState: "active", SubState: "waiting"}, Active, true},
		{"a socket", &v1.UnitState{ActiveState: "active", SubState: "listening"}, Active, true},
		{"a target", &v1.UnitState{ActiveState: "active", SubState: "active"}, Active, true},
		{"reloading", &v1.UnitState{ActiveState: "reloading", SubState: "reload"}, Active, true},
		{"starting", &v1.UnitState{ActiveState: "activating", SubState: "start"}, Activating, true},
		{"starting again", &v1.UnitState{ActiveState: "activating", SubState: "auto-restart"}, Restarting, true},
		{"starting again, of systemd 254", &v1.UnitState{ActiveState: "activating", SubState: "auto-restart-queued"}, Restarting, true},
		{"stopping", &v1.UnitState{ActiveState: "deactivating", SubState: "stop-sigterm"}, Stopping, true},
		{"failed", &v1.UnitState{ActiveState: "failed", SubState: "failed"}, Failing, false},
		{"never started", &v1.UnitState{ActiveState: "inactive", DesiredState: v1.Launched}, Inactive, false},
		{"a oneshot that is done", &v1.UnitState{ActiveState: "inactive", Result: "success", DesiredState: v1.Launched}, Ended, false},
		{"stopped", &v1.UnitState{ActiveState: "inactive", Result: "success", DesiredState: v1.Loaded}, Inactive, false},
	} {
		require.Equal(t, c.want, ActivityOf(c.state), c.name)
		require.Equal(t, c.up, Up(c.state), c.name)
		require.Equal(t, c.want == Active, IsActive(c.state), c.name)
	}
}

func TestOutcome(t *testing.T) {
	for want, s := range map[string]*v1.UnitState{
		"": nil,
		"result exit-code, exit status 203 (EXEC: the program cannot be executed)": {Result: "exit-code", ExitCode: "exited", ExitStatus: 203},
		"result oom-kill, killed by signal 9":                                      {Result: "oom-kill", ExitCode: "killed", ExitStatus: 9},
		"result timeout":                                                           {Result: "timeout"},
	} {
		require.Equal(t, want, Outcome(s))
	}
	require.Empty(t, Outcome(&v1.UnitState{Result: "success", ExitCode: "exited"}))
}

// TestRestartsAreCountedRoughly: a million restarts do not change the status a million times.
func TestRestartsAreCountedRoughly(t *testing.T) {
	texts := map[string]bool{}
	for n := range 1_000_000 {
		texts[restarts(n+1)] = true
	}
	require.Less(t, len(texts), 25)
	require.Equal(t, "restarted 3 times", restarts(3))
	require.Equal(t, "restarted at least 4 times", restarts(7))
	require.Equal(t, "restarted at least 8 times", restarts(8))
}

func TestMatches(t *testing.T) {
	rules := &v1.PlacementRules{MachineMetadata: map[string]v1.StringList{"zone": {"a", "b"}, "disk": {"ssd"}}}
	require.True(t, Matches(nil, nil))
	require.True(t, Matches(&v1.PlacementRules{}, nil))
	require.True(t, Matches(rules, map[string]string{"zone": "b", "disk": "ssd", "more": "x"}))
	require.False(t, Matches(rules, map[string]string{"zone": "c", "disk": "ssd"}))
	require.False(t, Matches(rules, map[string]string{"zone": "a"}))
}

func TestTrouble(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	failed := func(s v1.UnitState) *v1.UnitState {
		s.Since = at
		return &s
	}
	for name, tc := range map[string]struct {
		state *v1.UnitState
		now   time.Time
		want  string
	}{
		"not reported": {nil, at, ""},
		"it runs":      {failed(v1.UnitState{ActiveState: "active", SubState: "running", Restarts: 2}), at, ""},
		"a message":    {failed(v1.UnitState{ActiveState: "inactive", Message: "waits for a"}), at, "waits for a"},
		"failed": {failed(v1.UnitState{ActiveState: "failed", SubState: "failed", Result: "oom-kill", ExitCode: "killed", ExitStatus: 9}), at,
			"failed, result oom-kill, killed by signal 9, since 2026-01-02T03:04:05Z"},
		"its last words": {failed(v1.UnitState{ActiveState: "failed", SubState: "failed", Output: "listening\ncontainer exited with 137, OOMKilled"}), at,
			"failed, since 2026-01-02T03:04:05Z: container exited with 137, OOMKilled"},
		"many last words": {failed(v1.UnitState{ActiveState: "failed", Output: strings.Repeat("é", 150)}), at,
			"failed, since 2026-01-02T03:04:05Z: " + strings.Repeat("é", 100) + "..."},
		"a loop, with a message": {failed(v1.UnitState{ActiveState: "activating", SubState: "auto-restart", Message: "its ExecStartPre= failed", Restarts: 2}), at,
			"its ExecStartPre= failed, restarted 2 times, since 2026-01-02T03:04:05Z"},
		"a loop, while it runs": {failed(v1.UnitState{ActiveState: "active", SubState: "running", Restarts: 3}), at.Add(time.Second),
			"in a restart loop: active (running), restarted 3 times, since 2026-01-02T03:04:05Z"},
		"it was a loop": {failed(v1.UnitState{ActiveState: "active", SubState: "running", Restarts: 3}), at.Add(time.Hour), ""},
	} {
		require.Equal(t, tc.want, Trouble(tc.state, tc.now), name)
	}
}
