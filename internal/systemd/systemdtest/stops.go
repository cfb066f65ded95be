package systemdtest

import (
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// stubborn is a service whose process ignores the stop signal: systemd kills it after its timeout.
func stubborn(more ...string) []string {
	return append([]string{"[Service]", "ExecStart=/bin/sleep infinity", "KillSignal=SIGWINCH", "TimeoutStopSec=500ms"}, more...)
}

func (b *bench) awaitStopping(name string) systemd.UnitState {
	b.Helper()
	return b.await(name, "stopping", func(s systemd.UnitState) bool { return s.ActiveState == "deactivating" })
}

var stops = map[string]func(*bench){
	"a process that does not stop is killed": func(b *bench) {
		b.link("a.service", stubborn("Restart=always")...)
		b.start("a.service")
		before, pid := b.awaitActive("a.service", "active"), b.inspect("a.service").MainPID
		b.stop("a.service")
		state := b.awaitStopping("a.service")
		require.Equal(b, []any{"stop-sigterm", "stop", pid, before.InvocationID},
			[]any{state.SubState, state.Job, b.inspect("a.service").MainPID, state.InvocationID})
		state = b.awaitActive("a.service", "failed")
		require.Equal(b, []any{"timeout", "killed", 9, 0, "done"},
			[]any{state.Result, state.Exit.Code, state.Exit.Status, b.inspect("a.service").MainPID, state.JobResult}, "it is not started again")
	},
	"a start of what stops waits for it": func(b *bench) {
		b.link("a.service", stubborn("TimeoutStopSec=1h")...)
		b.link("other.service", sleeper...)
		b.start("a.service")
		before := b.awaitActive("a.service", "active")
		b.stop("a.service")
		b.awaitStopping("a.service")
		b.start("a.service")
		b.start("other.service")
		b.awaitActive("other.service", "active")
		state := b.state("a.service")
		require.Equal(b, []string{"deactivating", "start"}, []string{state.ActiveState, state.Job})
		require.NoError(b, b.Kill("a.service"))
		require.Equal(b, "success", b.awaitNew("a.service", before.InvocationID).Result)
	},
	"a restart of what does not stop": func(b *bench) {
		b.link("a.service", stubborn()...)
		b.start("a.service")
		before := b.awaitActive("a.service", "active")
		require.NoError(b, b.Restart(b.ctx, "a.service"))
		require.Equal(b, "restart", b.awaitStopping("a.service").Job)
		require.Equal(b, "success", b.awaitNew("a.service", before.InvocationID).Result)
	},
	"a process that is killed while it stops": func(b *bench) {
		b.link("a.service", stubborn("Restart=always", "TimeoutStopSec=1h")...)
		b.start("a.service")
		b.awaitActive("a.service", "active")
		b.stop("a.service")
		b.awaitStopping("a.service")
		require.NoError(b, b.Kill("a.service"))
		state := b.awaitActive("a.service", "failed")
		require.Equal(b, []any{"signal", "killed", 9}, []any{state.Result, state.Exit.Code, state.Exit.Status})
	},
	"ExecStop= takes its time": func(b *bench) {
		b.link("a.service", "[Service]", "ExecStart=/bin/sleep infinity", "ExecStop=/bin/sleep 0.3", "Restart=always")
		b.start("a.service")
		b.awaitActive("a.service", "active")
		pid := b.inspect("a.service").MainPID
		b.stop("a.service")
		state := b.awaitStopping("a.service")
		require.Equal(b, []any{"stop", pid}, []any{state.SubState, b.inspect("a.service").MainPID})
		require.Equal(b, "done", b.awaitActive("a.service", "inactive").JobResult)
	},
	"what is ordered after a slow one stops before it": func(b *bench) {
		b.link("app@1.service", service([]string{"Wants=disc@%i.service"}, "ExecStart=/bin/sleep infinity")...)
		b.link("disc@1.service", service([]string{"BindsTo=app@%i.service", "After=app@%i.service"}, stubborn()[1:]...)...)
		b.start("app@1.service")
		b.awaitActive("app@1.service", "active")
		b.awaitActive("disc@1.service", "active")
		b.stop("app@1.service")
		b.awaitStopping("disc@1.service")
		state := b.state("app@1.service")
		require.Equal(b, []string{"active", "stop"}, []string{state.ActiveState, state.Job})
		b.awaitActive("app@1.service", "inactive")
		require.Equal(b, "timeout", b.awaitActive("disc@1.service", "failed").Result)
	},
}
