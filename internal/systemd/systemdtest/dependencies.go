package systemdtest

import (
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// pair links an app and its sidekick as the generated units have them.
func (b *bench) pair() {
	b.link("app@1.service", service([]string{"Wants=disc@%i.service"}, "ExecStart=/bin/sleep infinity", "Restart=always", "RestartSec=50ms")...)
	b.link("disc@1.service", service([]string{"BindsTo=app@%i.service", "After=app@%i.service"}, "ExecStart=/bin/sleep infinity")...)
}

var dependencies = map[string]func(*bench){
	"a sidekick comes and goes with its target": func(b *bench) {
		b.pair()
		b.start("app@1.service")
		app, disc := b.awaitActive("app@1.service", "active"), b.awaitActive("disc@1.service", "active")

		require.NoError(b, b.Kill("app@1.service"))
		app = b.awaitNew("app@1.service", app.InvocationID)
		disc = b.awaitNew("disc@1.service", disc.InvocationID)

		require.NoError(b, b.Restart(b.ctx, "app@1.service"))
		app = b.awaitNew("app@1.service", app.InvocationID)
		disc = b.awaitNew("disc@1.service", disc.InvocationID)

		require.NoError(b, b.Kill("disc@1.service"))
		b.awaitActive("disc@1.service", "failed")
		require.Equal(b, app.InvocationID, b.state("app@1.service").InvocationID, "the target does not follow its sidekick")

		b.stop("app@1.service")
		b.awaitActive("app@1.service", "inactive")
		b.start("app@1.service")
		b.awaitActive("disc@1.service", "active")
		b.stop("app@1.service")
		b.awaitActive("app@1.service", "inactive")
		b.awaitActive("disc@1.service", "inactive")
	},
	"[Install] takes effect with Enable and a reload": func(b *bench) {
		bound := []string{"BindsTo=hello.service", "After=hello.service"}
		b.link("hello.service", sleeper...)
		side := b.write("side.service", append(service(bound, "ExecStart=/bin/sleep infinity"), "[Install]", "WantedBy=hello.service")...)
		require.NoError(b, b.Link(b.ctx, side))
		require.Equal(b, "inactive", b.state("hello.service").ActiveState)
		require.NoError(b, b.Enable(b.ctx, side))
		require.NoError(b, b.Enable(b.ctx, side), "again")
		require.NoError(b, b.Enable(b.ctx))
		require.NoError(b, b.Reload(b.ctx))
		b.start("hello.service")
		b.awaitActive("side.service", "active")
		b.stop("hello.service")
		b.awaitActive("side.service", "inactive")

		b.write("side.service", service(bound, "ExecStart=/bin/sleep infinity")...)
		require.NoError(b, b.Enable(b.ctx, side), "now it has no such section")
		require.NoError(b, b.Reload(b.ctx))
		b.start("hello.service")
		b.awaitActive("hello.service", "active")
		require.Equal(b, "inactive", b.state("side.service").ActiveState)
		require.Equal(b, "loaded", b.state("side.service").LoadState, "it is still linked")
		b.stop("hello.service")
		b.awaitActive("hello.service", "inactive")

		b.write("side.service", append(service(bound, "ExecStart=/bin/sleep infinity"), "[Install]", "WantedBy=hello.service")...)
		require.NoError(b, b.Enable(b.ctx, side))
		require.NoError(b, b.Unlink(b.ctx, "side.service"))
		require.NoError(b, b.Reload(b.ctx))
		b.start("hello.service")
		b.awaitActive("hello.service", "active")
		require.Equal(b, "not-found", b.state("side.service").LoadState)
	},
	"starting a sidekick starts its target": func(b *bench) {
		b.pair()
		b.start("disc@1.service")
		b.awaitActive("disc@1.service", "active")
		require.Equal(b, "active", b.state("app@1.service").ActiveState)
	},
	"a stopped sidekick stays so": func(b *bench) {
		b.pair()
		b.start("app@1.service")
		b.awaitActive("app@1.service", "active")
		b.awaitActive("disc@1.service", "active")
		b.stop("disc@1.service")
		b.awaitActive("disc@1.service", "inactive")
		b.start("app@1.service")
		b.await("app@1.service", "asked", func(s systemd.UnitState) bool { return s.ActiveState == "active" && s.Job == "" })
		b.awaitActive("disc@1.service", "active") // a start of the target wants it again, even of an active one
	},
	"BindsTo= a target that ends": func(b *bench) {
		b.link("target.service", "[Service]", "ExecStart=/bin/sleep infinity")
		b.link("bound.service", service([]string{"BindsTo=target.service", "After=target.service"}, "ExecStart=/bin/sleep infinity")...)
		b.link("requiring.service", service([]string{"Requires=target.service", "After=target.service"}, "ExecStart=/bin/sleep infinity")...)
		b.start("bound.service")
		b.start("requiring.service")
		b.awaitActive("bound.service", "active")
		b.awaitActive("requiring.service", "active")
		require.NoError(b, b.Kill("target.service"))
		b.awaitActive("target.service", "failed")
		b.awaitActive("bound.service", "inactive")
		require.Equal(b, "active", b.state("requiring.service").ActiveState, "Requires= is no BindsTo=")
		b.start("target.service")
		b.awaitActive("target.service", "active")
		b.stop("target.service")
		b.awaitActive("requiring.service", "inactive")
	},
	"Requires= something that fails": func(b *bench) {
		b.link("needed.service", "[Service]", "Type=oneshot", "ExecStart=/bin/false")
		b.link("a.service", service([]string{"Requires=needed.service", "After=needed.service"}, "ExecStart=/bin/sleep infinity")...)
		b.state("needed.service") // from now on its jobs are followed
		b.start("a.service")
		state := b.await("a.service", "refused", func(s systemd.UnitState) bool { return s.Job == "" && s.JobResult != "" })
		require.Equal(b, "inactive", state.ActiveState)
		require.Equal(b, "dependency", state.JobResult)
		require.Equal(b, "failed", b.awaitActive("needed.service", "failed").JobResult)
	},
	"Requires= something that is missing": func(b *bench) {
		b.link("a.service", service([]string{"Requires=missing.service"}, "ExecStart=/bin/sleep infinity")...)
		require.ErrorIs(b, b.Start(b.ctx, "a.service"), systemd.ErrNoSuchUnit)
		b.link("b.service", service([]string{"Wants=missing.service"}, "ExecStart=/bin/sleep infinity")...)
		b.start("b.service")
		b.awaitActive("b.service", "active")
	},
	"PartOf=": func(b *bench) {
		b.link("whole.service", "[Service]", "ExecStart=/bin/sleep infinity")
		b.link("part.service", service([]string{"PartOf=whole.service", "After=whole.service"}, "ExecStart=/bin/sleep infinity")...)
		b.start("whole.service")
		b.start("part.service")
		whole, part := b.awaitActive("whole.service", "active"), b.awaitActive("part.service", "active")
		require.NoError(b, b.Restart(b.ctx, "whole.service"))
		b.awaitNew("whole.service", whole.InvocationID)
		part = b.awaitNew("part.service", part.InvocationID)
		require.NoError(b, b.Kill("whole.service"))
		b.awaitActive("whole.service", "failed")
		require.Equal(b, part.InvocationID, b.state("part.service").InvocationID, "only jobs are passed on")
		b.start("whole.service")
		b.awaitActive("whole.service", "active")
		b.stop("whole.service")
		b.awaitActive("part.service", "inactive")
		b.start("whole.service")
		b.awaitActive("whole.service", "active")
		require.Equal(b, "inactive", b.state("part.service").ActiveState, "a start is not")
	},
	"After= orders": func(b *bench) {
		b.link("first.service", "[Service]", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/sleep 1h")
		b.link("second.service", service([]string{"Wants=first.service", "After=first.service"}, "ExecStart=/bin/sleep infinity")...)
		b.start("second.service")
		b.await("first.service", "starting", func(s systemd.UnitState) bool { return s.ActiveState == "activating" })
		state := b.state("second.service")
		require.Equal(b, "inactive", state.ActiveState)
		require.Equal(b, "start", state.Job)
		require.NoError(b, b.Kill("first.service"))
		b.awaitActive("second.service", "active") // Wants= does not mind the failure
		require.Equal(b, "failed", b.state("first.service").ActiveState)
	},
}
