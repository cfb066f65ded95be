package systemdtest

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/systemd"
)

var basics = map[string]func(*bench){
	"unknown unit": func(b *bench) {
		state := b.state("nothing.service")
		require.Equal(b, systemd.UnitState{Name: "nothing.service", LoadState: "not-found", ActiveState: "inactive", SubState: "dead"}, state)
		require.ErrorIs(b, b.Start(b.ctx, "nothing.service"), systemd.ErrNoSuchUnit)
		require.ErrorIs(b, b.Restart(b.ctx, "nothing.service"), systemd.ErrNoSuchUnit)
		require.NoError(b, b.Stop(b.ctx, "nothing.service"))
		require.NoError(b, b.ResetFailed(b.ctx, "nothing.service"))
		require.NoError(b, b.Unlink(b.ctx, "nothing.service"))
		b.link("known.service", sleeper...)
		require.NoError(b, b.Unlink(b.ctx, "nothing.service", "known.service"))
		require.Equal(b, "not-found", b.state("known.service").LoadState)
		require.NoError(b, b.Unlink(b.ctx))
		require.NoError(b, b.Link(b.ctx))
		states, err := b.States(b.ctx, nil)
		require.NoError(b, err)
		require.Empty(b, states)
	},
	"link, start, stop, unlink": func(b *bench) {
		b.link("a@1.service", sleeper...)
		b.link("a@1.service", sleeper...)
		state := b.state("a@1.service")
		require.Equal(b, systemd.UnitState{Name: "a@1.service", LoadState: "loaded", ActiveState: "inactive", SubState: "dead"}, state)
		require.Equal(b, "a@1.service", filepath.Base(b.inspect("a@1.service").FragmentPath))

		b.start("a@1.service")
		state = b.awaitActive("a@1.service", "active")
		require.Equal(b, "running", state.SubState)
		require.Equal(b, "done", state.JobResult)
		require.Equal(b, "success", state.Result)
		require.NotZero(b, b.inspect("a@1.service").MainPID)
		require.Len(b, state.InvocationID, 32)
		require.False(b, state.Since.IsZero())
		require.Equal(b, time.UTC, state.Since.Location())

		b.start("a@1.service")
		require.Equal(b, state.InvocationID, b.awaitActive("a@1.service", "active").InvocationID, "what is active stays as it is")

		b.stop("a@1.service")
		state = b.awaitActive("a@1.service", "inactive")
		require.Equal(b, systemd.UnitState{Name: "a@1.service", LoadState: "loaded", ActiveState: "inactive", SubState: "dead",
			JobResult: "done"}, state)
		b.stop("a@1.service")
		require.NoError(b, b.Unlink(b.ctx, "a@1.service"))
		b.await("a@1.service", "forgotten", func(s systemd.UnitState) bool { return s.LoadState == "not-found" })
	},
	"states in the order of the names": func(b *bench) {
		b.link("a.service", sleeper...)
		b.link("b.service", sleeper...)
		b.start("b.service")
		b.awaitActive("b.service", "active")
		states, err := b.States(b.ctx, []string{"b.service", "none.service", "a.service"})
		require.NoError(b, err)
		require.Equal(b, []string{"active", "inactive", "inactive"}, []string{states[0].ActiveState, states[1].ActiveState, states[2].ActiveState})
		require.Equal(b, []string{"loaded", "not-found", "loaded"}, []string{states[0].LoadState, states[1].LoadState, states[2].LoadState})
	},
	"restart": func(b *bench) {
		b.link("a.service", sleeper...)
		require.NoError(b, b.Restart(b.ctx, "a.service"))
		first, pid := b.awaitActive("a.service", "active"), b.inspect("a.service").MainPID
		require.NoError(b, b.Restart(b.ctx, "a.service"))
		b.awaitNew("a.service", first.InvocationID)
		require.NotEqual(b, pid, b.inspect("a.service").MainPID)
	},
	"a changed file needs a reload and a restart": func(b *bench) {
		b.link("a.service", sleeper...)
		b.link("same.service", sleeper...)
		b.start("a.service")
		b.start("same.service")
		before, same := b.awaitActive("a.service", "active"), b.awaitActive("same.service", "active")
		require.False(b, b.inspect("a.service").NeedReload)
		// systemd compares modification times: let the clock tick.
		time.Sleep(10 * time.Millisecond)
		b.link("a.service", "[Service]", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/true")
		state := b.state("a.service")
		require.True(b, b.inspect("a.service").NeedReload)
		require.Equal(b, before.InvocationID, state.InvocationID)
		require.False(b, b.inspect("same.service").NeedReload)

		require.NoError(b, b.Reload(b.ctx))
		state = b.state("a.service")
		require.False(b, b.inspect("a.service").NeedReload)
		require.Equal(b, before.InvocationID, state.InvocationID, "a reload touches nothing that runs")
		require.NoError(b, b.Restart(b.ctx, "a.service"))
		require.Equal(b, "exited", b.awaitNew("a.service", before.InvocationID).SubState, "the new file is in force")
		require.Equal(b, same.InvocationID, b.state("same.service").InvocationID)
	},
	"an inactive unit's changed file needs no reload": func(b *bench) {
		b.link("a.service", sleeper...)
		b.start("a.service")
		b.awaitActive("a.service", "active")
		b.stop("a.service")
		b.awaitActive("a.service", "inactive")
		b.link("a.service", "[Service]", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/true")
		require.False(b, b.inspect("a.service").NeedReload)
		b.start("a.service")
		require.Equal(b, "exited", b.awaitActive("a.service", "active").SubState)
	},
	"unlinked while it runs": func(b *bench) {
		b.link("a.service", sleeper...)
		b.start("a.service")
		before := b.awaitActive("a.service", "active")
		require.NoError(b, b.Unlink(b.ctx, "a.service"))
		state := b.state("a.service")
		require.Equal(b, "active", state.ActiveState)
		require.Equal(b, before.InvocationID, state.InvocationID)
		b.stop("a.service")
		b.await("a.service", "forgotten", func(s systemd.UnitState) bool { return s.LoadState == "not-found" })
	},
	"what was linked is not foreign": func(b *bench) {
		for _, name := range []string{"idle.service", "runs.service", "lost.service", "unlinked.service"} {
			b.link(name, sleeper...)
		}
		for _, name := range []string{"runs.service", "lost.service", "unlinked.service"} {
			b.start(name)
			b.awaitActive(name, "active")
		}
		require.NoError(b, os.Remove(filepath.Join(b.dir, "lost.service")))
		require.NoError(b, b.Unlink(b.ctx, "unlinked.service"))
		foreign, err := b.Foreign(b.ctx, []string{"idle.service", "runs.service", "lost.service", "unlinked.service", "none.service"})
		require.NoError(b, err)
		require.Empty(b, foreign)
		require.Equal(b, "active", b.state("unlinked.service").ActiveState)
	},
	"deadlines hold": func(b *bench) {
		ctx, cancel := context.WithCancel(b.ctx)
		cancel()
		require.ErrorIs(b, b.Start(ctx, "a.service"), context.Canceled)
		require.ErrorIs(b, b.Reload(ctx), context.Canceled)
		_, err := b.States(ctx, []string{"a.service"})
		require.ErrorIs(b, err, context.Canceled)
	},
}
