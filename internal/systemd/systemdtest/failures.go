package systemdtest

import (
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/systemd"
)

var failures = map[string]func(*bench){
	"a process that fails": func(b *bench) {
		b.link("a.service", "[Service]", "ExecStart=/bin/false")
		b.start("a.service")
		state := b.awaitActive("a.service", "failed")
		require.Equal(b, "failed", state.SubState)
		require.Equal(b, "exit-code", state.Result)
		require.Equal(b, []any{"exited", 1, ""}, []any{state.Exit.Code, state.Exit.Status, state.Exit.Command})
		require.False(b, state.Exit.Started.IsZero())
		require.Zero(b, state.Restarts)
		require.Zero(b, b.inspect("a.service").MainPID)
		require.Len(b, state.InvocationID, 32)

		require.NoError(b, b.ResetFailed(b.ctx, "a.service"))
		require.Equal(b, "inactive", b.state("a.service").ActiveState)
		b.start("a.service")
		again := b.awaitActive("a.service", "failed")
		require.NotEqual(b, state.InvocationID, again.InvocationID)
		b.stop("a.service")
		require.NoError(b, b.Unlink(b.ctx, "a.service"))
		state = b.state("a.service")
		require.Equal(b, "failed", state.ActiveState, "a failed unit is remembered")
		require.NoError(b, b.ResetFailed(b.ctx, "a.service"))
		b.await("a.service", "forgotten", func(s systemd.UnitState) bool { return s.LoadState == "not-found" })
	},
	"a process that is killed": func(b *bench) {
		b.link("a.service", sleeper...)
		b.start("a.service")
		b.awaitActive("a.service", "active")
		require.NoError(b, b.Kill("a.service"))
		state := b.awaitActive("a.service", "failed")
		require.Equal(b, []any{"signal", "killed", 9}, []any{state.Result, state.Exit.Code, state.Exit.Status})
		b.start("a.service")
		require.Zero(b, b.awaitActive("a.service", "active").Exit.Code, "it runs")
	},
	"a process that ends": func(b *bench) {
		b.link("a.service", "[Service]", "ExecStart=/bin/true", "Restart=on-failure")
		b.start("a.service")
		require.Equal(b, "dead", b.awaitActive("a.service", "inactive").SubState)
	},
	"Restart=": func(b *bench) {
		for _, policy := range []string{"always", "on-failure"} {
			name := policy + ".service"
			b.link(name, append(sleeper, "Restart="+policy, "RestartSec=50ms")...)
			b.start(name)
			before, pid := b.awaitActive(name, "active"), b.inspect(name).MainPID
			require.NoError(b, b.Kill(name))
			after := b.awaitNew(name, before.InvocationID)
			require.NotEqual(b, pid, b.inspect(name).MainPID)
			require.Equal(b, "success", after.Result)
			require.Equal(b, []int{0, 1}, []int{before.Restarts, after.Restarts})
			require.Zero(b, after.Exit.Code)
			require.NoError(b, b.Kill(name))
			again := b.awaitNew(name, after.InvocationID)
			require.Equal(b, 2, again.Restarts)
			require.NoError(b, b.Restart(b.ctx, name))
			require.Zero(b, b.awaitNew(name, again.InvocationID).Restarts, "on request it begins anew")
			b.stop(name)
			b.awaitActive(name, "inactive")
		}
	},
	"auto-restart can be seen and stopped": func(b *bench) {
		b.link("a.service", append(sleeper, "Restart=always", "RestartSec=1h")...)
		b.start("a.service")
		b.awaitActive("a.service", "active")
		require.NoError(b, b.Kill("a.service"))
		state := b.awaitActive("a.service", "activating")
		require.Equal(b, "auto-restart", state.SubState)
		require.Equal(b, "signal", state.Result)
		require.Equal(b, []any{"killed", 9}, []any{state.Exit.Code, state.Exit.Status})
		b.stop("a.service")
		b.awaitActive("a.service", "inactive")
	},
	"the start limit": func(b *bench) {
		b.link("a.service", service([]string{"StartLimitBurst=3", "StartLimitIntervalSec=60"}, "ExecStart=/bin/false", "Restart=always", "RestartSec=10ms")...)
		b.start("a.service")
		require.Equal(b, "exit-code", b.awaitActive("a.service", "failed").Result)
		b.start("a.service")
		state := b.await("a.service", "refused", func(s systemd.UnitState) bool { return s.Job == "" && s.JobResult == "failed" })
		require.Equal(b, "failed", state.ActiveState)
		require.NoError(b, b.ResetFailed(b.ctx, "a.service"))
		b.link("a.service", sleeper...)
		require.NoError(b, b.Reload(b.ctx))
		b.start("a.service")
		b.awaitActive("a.service", "active")
	},
	"Type=oneshot": func(b *bench) {
		b.link("slow.service", "[Service]", "Type=oneshot", "ExecStart=/bin/sleep 1h")
		b.start("slow.service")
		state := b.await("slow.service", "starting", func(s systemd.UnitState) bool { return s.ActiveState == "activating" })
		require.Equal(b, "start", state.Job)
		b.stop("slow.service")
		require.Equal(b, "signal", b.awaitActive("slow.service", "failed").Result, "SIGTERM is no clean end of a oneshot")

		b.link("good.service", "[Service]", "Type=oneshot", "ExecStart=/bin/true")
		b.start("good.service")
		b.await("good.service", "done", func(s systemd.UnitState) bool { return s.ActiveState == "inactive" && s.JobResult == "done" })
		b.link("good.service", "[Service]", "Type=oneshot", "ExecStart=/bin/sleep 1h")
		require.NoError(b, b.Reload(b.ctx))
		b.start("good.service")
		require.Empty(b, b.state("good.service").JobResult, "that was another job")
		b.stop("good.service")

		b.link("bad.service", "[Service]", "Type=oneshot", "ExecStart=/bin/false")
		b.start("bad.service")
		state = b.awaitActive("bad.service", "failed")
		require.Equal(b, "failed", state.JobResult)
		require.Equal(b, "exit-code", state.Result)
	},
	"a Condition...= that is not met": func(b *bench) {
		there := b.write("there", "")
		b.link("skipped.service", service([]string{"ConditionPathExists=" + b.dir + "/none"}, "ExecStart=/bin/sleep infinity")...)
		b.link("negated.service", service([]string{"ConditionPathExists=!" + there}, "ExecStart=/bin/sleep infinity")...)
		b.link("met.service", service([]string{"ConditionPathExists=" + there, "ConditionPathExists=!" + b.dir + "/none"}, "ExecStart=/bin/sleep infinity")...)
		for _, name := range []string{"skipped.service", "negated.service"} {
			b.start(name)
			state := b.await(name, "skipped", func(s systemd.UnitState) bool { return s.Job == "" && s.JobResult != "" })
			require.Equal(b, []string{"inactive", "skipped"}, []string{state.ActiveState, state.JobResult})
		}
		b.start("met.service")
		require.Equal(b, "done", b.awaitActive("met.service", "active").JobResult)
		b.write("none", "")
		b.start("skipped.service")
		require.Equal(b, "done", b.awaitActive("skipped.service", "active").JobResult)
	},
	"an Assert...= that is not met": func(b *bench) {
		b.link("a.service", service([]string{"AssertPathExists=" + b.dir + "/none"}, "ExecStart=/bin/sleep infinity")...)
		b.start("a.service")
		state := b.await("a.service", "refused", func(s systemd.UnitState) bool { return s.Job == "" && s.JobResult != "" })
		require.Equal(b, []string{"inactive", "assert"}, []string{state.ActiveState, state.JobResult})
	},
	"a job that another call replaces": func(b *bench) {
		b.link("first.service", "[Service]", "Type=oneshot", "ExecStart=/bin/sleep 1h")
		b.link("second.service", service([]string{"After=first.service"}, "ExecStart=/bin/sleep infinity")...)
		b.start("first.service")
		b.await("first.service", "starting", func(s systemd.UnitState) bool { return s.ActiveState == "activating" })
		b.start("second.service")
		require.Equal(b, "start", b.state("second.service").Job)
		b.stop("second.service")
		b.await("second.service", "stopped", func(s systemd.UnitState) bool { return s.Job == "" && s.JobResult == "done" })
	},
	"a file without a program": func(b *bench) {
		b.link("bad.service", "[Service]", "Type=simple")
		b.link("good.service", sleeper...)
		require.ErrorIs(b, b.Start(b.ctx, "bad.service"), systemd.ErrBadUnit)
		require.Equal(b, "bad-setting", b.state("bad.service").LoadState)
		b.start("good.service")
		b.awaitActive("good.service", "active")
	},
	"names that no unit can have": func(b *bench) {
		bad := []string{"data@vol1.mount", "a@1.slice", "a.snapshot", "a@1.busname", "a@.service", "@a.service", "a"}
		b.link("good.service", sleeper...)
		b.start("good.service")
		b.awaitActive("good.service", "active")
		names := append(append([]string{"good.service"}, bad...), "none.service", "good.service")
		states, err := b.States(b.ctx, names)
		require.NoError(b, err)
		for i, state := range states {
			switch name := names[i]; name {
			case "good.service":
				require.NoError(b, state.Err)
				require.Equal(b, "active", state.ActiveState)
			case "none.service":
				require.NoError(b, state.Err)
				require.Equal(b, "not-found", state.LoadState)
			default:
				require.ErrorIs(b, state.Err, systemd.ErrBadUnit, name)
				require.ErrorContains(b, state.Err, name)
				require.Equal(b, systemd.UnitState{Name: name, Err: state.Err}, state)
				require.ErrorIs(b, b.Start(b.ctx, name), systemd.ErrBadUnit, name)
				require.ErrorIs(b, b.Restart(b.ctx, name), systemd.ErrBadUnit, name)
				require.ErrorIs(b, b.Stop(b.ctx, name), systemd.ErrBadUnit, name)
			}
		}
		foreign, err := b.Foreign(b.ctx, names)
		require.NoError(b, err)
		require.Empty(b, foreign)

		// systemd rejects a link only by its type, and the whole call with it.
		other := b.write("other.service", sleeper...)
		require.ErrorIs(b, b.Link(b.ctx, b.write("a.snapshot", sleeper...), other), systemd.ErrBadUnit)
		require.NoError(b, b.Link(b.ctx, b.write("data@vol1.mount", "[Mount]"), other))
		require.NoError(b, b.Unlink(b.ctx, append(bad, "other.service")...))
		require.Equal(b, "not-found", b.state("other.service").LoadState)
		require.Equal(b, "active", b.state("good.service").ActiveState)
	},
}
