package systemdtest

import (
	"os"
	"path/filepath"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// sub waits until an active unit is in this SubState and has no job.
func (b *bench) sub(name, sub string) systemd.UnitState {
	b.Helper()
	return b.await(name, sub, func(s systemd.UnitState) bool { return s.ActiveState == "active" && s.SubState == sub && s.Job == "" })
}

// address is a path short enough for a socket.
func (b *bench) address() string {
	dir, err := os.MkdirTemp("/tmp", "fleet-")
	require.NoError(b, err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// listen links and starts a socket. Connections are dropped when its service stops, because no service here accepts them.
func (b *bench) listen(name string, more ...string) (address string) {
	address = b.address()
	b.link(name, append([]string{"[Socket]", "ListenStream=" + address, "FlushPending=yes"}, more...)...)
	b.start(name)
	b.sub(name, "listening")
	return address
}

func (b *bench) awaitRefused(name string) {
	b.Helper()
	b.state(name) // from now on its jobs are followed
	b.start(name)
	state := b.await(name, "refused", func(s systemd.UnitState) bool { return s.Job == "" && s.JobResult != "" })
	require.Equal(b, []string{"inactive", "failed"}, []string{state.ActiveState, state.JobResult})
}

var triggers = map[string]func(*bench){
	"OnActiveSec= starts the service once": func(b *bench) {
		b.link("a.service", "[Service]", "Type=oneshot", "ExecStart=/bin/sleep 0.2")
		b.link("a.timer", "[Timer]", "OnActiveSec=200ms", "AccuracySec=1ms")
		b.start("a.timer")
		b.sub("a.timer", "waiting")
		require.Equal(b, "inactive", b.state("a.service").ActiveState)
		first := b.await("a.service", "starting", func(s systemd.UnitState) bool { return s.ActiveState == "activating" })
		require.Equal(b, "running", b.state("a.timer").SubState)
		b.awaitActive("a.service", "inactive")
		b.sub("a.timer", "elapsed")
		b.start("a.service")
		b.await("a.service", "starting", func(s systemd.UnitState) bool {
			return s.ActiveState == "activating" && s.InvocationID != first.InvocationID
		})
		b.awaitActive("a.service", "inactive")
		b.sub("a.timer", "elapsed")
	},
	"OnUnitActiveSec= starts it again and again": func(b *bench) {
		b.link("often.service", "[Service]", "Type=oneshot", "ExecStart=/bin/sleep 0.1")
		b.link("b.timer", "[Timer]", "OnActiveSec=50ms", "OnUnitActiveSec=300ms", "AccuracySec=1ms", "Unit=often.service")
		b.start("b.timer")
		seen := ""
		for range 3 {
			s := b.await("often.service", "starting anew", func(s systemd.UnitState) bool {
				return s.ActiveState == "activating" && s.InvocationID != seen
			})
			seen = s.InvocationID
		}
		b.sub("b.timer", "waiting")
		b.stop("b.timer")
		b.awaitActive("b.timer", "inactive")
		b.awaitActive("often.service", "inactive")
	},
	"a timer whose service runs waits for its end": func(b *bench) {
		b.link("a.service", sleeper...)
		b.link("a.timer", "[Timer]", "OnActiveSec=50ms", "OnUnitActiveSec=100ms", "AccuracySec=1ms")
		b.start("a.service")
		before := b.awaitActive("a.service", "active")
		b.start("a.timer")
		b.sub("a.timer", "running")
		b.stop("a.service")
		b.awaitNew("a.service", before.InvocationID)
		b.sub("a.timer", "running")
		b.stop("a.timer")
		b.awaitActive("a.timer", "inactive")
		require.Equal(b, "active", b.state("a.service").ActiveState, "what a timer has started is not stopped with it")
	},
	"a timer or a socket without its service": func(b *bench) {
		b.link("lone.timer", "[Timer]", "OnActiveSec=50ms")
		b.awaitRefused("lone.timer")
		b.link("lone.socket", "[Socket]", "ListenStream="+b.address())
		b.awaitRefused("lone.socket")
	},
	"a timer or a socket whose service comes later": func(b *bench) {
		b.link("late.timer", "[Timer]", "OnActiveSec=1h")
		b.awaitRefused("late.timer")
		b.link("late.socket", "[Socket]", "ListenStream="+b.address())
		b.awaitRefused("late.socket")
		b.link("late.service", sleeper...)
		b.start("late.timer")
		b.sub("late.timer", "waiting")
		b.start("late.socket")
		b.sub("late.socket", "listening")
	},
	"a connection starts the service": func(b *bench) {
		b.link("a.service", sleeper...)
		address := b.listen("a.socket")
		require.NoError(b, b.Connect(address))
		first := b.awaitActive("a.service", "active")
		b.sub("a.socket", "running")
		b.stop("a.service")
		b.awaitActive("a.service", "inactive")
		b.sub("a.socket", "listening")
		require.NoError(b, b.Connect(address))
		b.awaitNew("a.service", first.InvocationID)
		b.stop("a.socket")
		b.awaitActive("a.socket", "inactive")
		require.Equal(b, "active", b.state("a.service").ActiveState)
		b.stop("a.service") // which holds the socket, too
		b.awaitActive("a.service", "inactive")
		require.Error(b, b.Connect(address))
	},
	"a socket follows a service that is started otherwise": func(b *bench) {
		b.link("served.service", sleeper...)
		b.listen("a.socket", "Service=served.service")
		b.start("served.service")
		b.sub("a.socket", "running")
		b.stop("served.service")
		b.sub("a.socket", "listening")
	},
	"a socket is refused while its service runs": func(b *bench) {
		b.link("a.service", sleeper...)
		b.link("a.socket", "[Socket]", "ListenStream="+b.address())
		b.start("a.service")
		b.awaitActive("a.service", "active")
		b.awaitRefused("a.socket")
	},
	"a socket starts before its service": func(b *bench) {
		b.link("a.service", service([]string{"Wants=a.socket"}, "ExecStart=/bin/sleep infinity")...)
		b.link("a.socket", "[Socket]", "ListenStream="+b.address())
		b.start("a.service")
		b.awaitActive("a.service", "active")
		b.sub("a.socket", "running")
	},
}
