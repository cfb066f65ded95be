package sim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	fakeruntime "github.com/fleet-starter/fleet/internal/container/fake"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// host is one machine: its systemd, its disk, its connection to etcd and its processes.
type host struct {
	w    *world
	name string // unique, even if it has another one's machine ID
	id   string
	spec atomic.Pointer[v1.MachineSpec] // from its configuration

	network atomic.Int32
	daemon  atomic.Pointer[process] // the last fleetd
	refuses atomic.Bool             // its systemd refuses to start anything
	// stubborn: it also refuses to stop, link and reset.
	stubborn atomic.Bool
	clock    clock
	old      atomic.Bool // its fleetd is of an older version
	// busLost: its fleetd does not reach systemd; busLosses is how often that has happened.
	busLost   atomic.Bool
	busLosses atomic.Int64
	busTrap   atomic.Int64 // the connection breaks in the middle of that call
	disk      disk
	dir       atomic.Pointer[string]
	life      int // part of the directory: a killed process writes to the one of an earlier life

	systemd *fake.Manager
	images  *fakeruntime.Runtime
	front   *front
	wake    chan struct{}

	mu       sync.Mutex
	on       bool
	boot     int
	advanced time.Time                // systemd's time was moved to this
	procs    map[string]*running      // by unit
	last     map[string]*process      // the last process of each unit, for which the next one waits
	sick     map[string]bool          // app units that fail their health check
	ails     map[string]ailing        // app units that fail it in another way
	offsets  map[string]time.Duration // the clock's offset when a time was recorded
	fleetd   *process
	held     bool // fleetd is not restarted
}

// running is the main process of a unit.
type running struct {
	fake.Running
	process *process // nil: nothing is modelled except that it runs
	ready   time.Time
	ports   map[string]string // the variables with its ports
	killed  bool
	stops   bool // it was told to stop
}

// autoPorts are as many as the units of one machine need: that two of them get the same one is likely, if it is possible.
var autoPorts = v1.PortRange{First: 7000, Last: 7002}

func (w *world) newHost(name, id string, number int, metadata map[string]string, capacity v1.Capacity) *host {
	h := &host{
		w: w, name: name, id: id, images: &fakeruntime.Runtime{Registry: &w.images}, wake: make(chan struct{}, 1),
		procs: map[string]*running{}, last: map[string]*process{}, sick: map[string]bool{}, ails: map[string]ailing{}, offsets: map[string]time.Duration{}, advanced: time.Now(), clock: clock{at: time.Now()},
	}
	h.spec.Store(&v1.MachineSpec{Address: fmt.Sprintf("10.0.0.%d", number), Metadata: metadata, Capacity: capacity, PortRange: autoPorts})
	dir := filepath.Join(w.dir, name, "0")
	h.dir.Store(&dir)
	h.systemd = fake.New(fake.Options{Now: time.Now(), ReadFile: func(path string) ([]byte, error) {
		if name, ok := strings.CutPrefix(path, v1.HeldDir+"/"); ok {
			return os.ReadFile(filepath.Join(h.layout().Held(), name))
		}
		return os.ReadFile(filepath.Join(h.layout().Units, filepath.Base(path)))
	}, Process: behave})
	hostsByDir.Store(filepath.Join(w.dir, name), h)
	h.front = newFront(h)
	w.hosts = append(w.hosts, h)
	w.running.Go(h.pump)
	return h
}

// behave returns how long a program runs: a few end by themselves, after they have first been observed.
func behave(_ string, argv []string) fake.Process {
	if len(argv) == 0 {
		return fake.Process{}
	}
	switch argv[0] {
	case "/bin/fails":
		return fake.Process{Ends: true, After: 700 * time.Millisecond, Status: 1}
	case "/bin/finish":
		return fake.Process{Ends: true, After: finishes}
	case "/bin/migrate":
		failed := slices.Contains(argv, failsFlag)
		return fake.Process{Ends: true, After: migrates, Status: map[bool]int{true: 1}[failed]}
	case "/bin/nightly":
		return fake.Process{Ends: true, After: nightlyRuns}
	}
	return fake.Process{}
}

func (h *host) address() string { return h.spec.Load().Address }

func (h *host) now() time.Time { return time.Now().Add(h.clock.offset()) }

func (h *host) layout() layout.Layout {
	dir := *h.dir.Load()
	return layout.Layout{State: filepath.Join(dir, "state"), Runtime: filepath.Join(dir, "run"), Units: filepath.Join(dir, "run", "units"),
		Shared: filepath.Join(dir, "run", "shared")}
}

// nextLife moves the directory, so that only processes started from now on find it.
func (h *host) nextLife() {
	old := *h.dir.Load()
	h.life++
	next := filepath.Join(h.w.dir, h.name, fmt.Sprint(h.life))
	if err := os.Rename(old, next); err != nil && !os.IsNotExist(err) {
		panic(err)
	}
	h.dir.Store(&next)
}

// powerOn boots the machine.
func (h *host) powerOn() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.on {
		return
	}
	h.on, h.boot, h.advanced = true, h.boot+1, time.Now()
	boot := h.boot
	h.w.tell(h.name, "boots")
	h.w.running.Go(func() { h.superviseFleetd(boot) })
}

// powerOff is a power cut.
func (h *host) powerOff() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.on {
		return
	}
	h.w.tell(h.name, "loses its power")
	h.on = false
	if h.fleetd != nil {
		h.fleetd.kill()
	}
	for _, unit := range sortedKeys(h.procs) {
		h.ended(unit, h.procs[unit], true)
	}
	h.front.powerOff()
	h.systemd.Reboot()
	h.nextLife()
	if err := os.RemoveAll(h.layout().Runtime); err != nil {
		panic(err)
	}
	h.w.check.rebooted(h)
}

// restartPause is RestartSec= of fleetd's unit.
const restartPause = 5 * time.Second

// superviseFleetd is systemd's part for fleetd's unit.
func (h *host) superviseFleetd(boot int) {
	p := h.w.newProcess(h, kindFleetd, h.name)
	if p.pause(h.w.ctx, h.w.exactly(time.Second+h.w.delay("boot", h.name).takes, "boot", h.name)) != nil {
		return
	}
	for {
		h.mu.Lock()
		if !h.on || h.boot != boot {
			h.mu.Unlock()
			return
		}
		if h.held {
			h.fleetd = nil
		} else {
			p = h.w.newProcess(h, kindFleetd, h.name)
			h.fleetd = p
			h.daemon.Store(p)
			p.start(nil, p.fleetd)
		}
		running := h.fleetd
		h.mu.Unlock()
		if running != nil {
			<-running.done
		}
		timer := time.NewTimer(restartPause)
		select {
		case <-timer.C:
		case <-h.w.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// killFleetd kills only fleetd.
func (h *host) killFleetd() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fleetd == nil || h.fleetd.dead() || !h.on {
		return
	}
	h.w.tell(h.name, "fleetd is killed")
	h.fleetd.kill()
	h.nextLife()
}

// termFleetd stops fleetd, as a package update does.
func (h *host) termFleetd() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fleetd != nil && h.on {
		h.w.tell(h.name, "fleetd is stopped")
		h.fleetd.term()
	}
}

// hold keeps fleetd from being restarted.
func (h *host) hold(held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = held
}

// connect changes the connection to etcd of all processes of the machine.
func (h *host) connect(n network) {
	h.w.tell(h.name, "is %s", n)
	h.network.Store(int32(n))
	h.refresh()
}

// refresh updates all connections of the host.
func (h *host) refresh() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fleetd != nil {
		h.fleetd.conn.follow()
	}
	for _, p := range h.last {
		p.conn.follow()
	}
}

// pump keeps systemd going.
func (h *host) pump() {
	for {
		h.sync()
		var timer <-chan time.Time
		if at, ok := h.systemd.Next(); ok {
			t := time.NewTimer(max(at.Sub(h.systemd.Now()), 0))
			timer = t.C
		}
		select {
		case <-h.w.ctx.Done():
			h.systemd.Close()
			return
		case <-timer:
		case <-h.wake:
			h.w.sleep(h.w.delay("systemd", h.name))
		}
	}
}

func (h *host) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// sync advances systemd to the current time, and starts and ends processes to match its units.
func (h *host) sync() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); now.After(h.advanced) || h.systemd.Now().IsZero() {
		h.systemd.Advance(now.Sub(h.advanced))
		h.advanced = now
	} else {
		h.systemd.Advance(0)
	}
	h.follow()
}

func (h *host) follow() {
	now := map[string]fake.Running{}
	all := h.systemd.Processes()
	for _, r := range all {
		now[r.Unit] = r
	}
	for _, unit := range sortedKeys(h.procs) {
		if r := h.procs[unit]; now[unit].Invocation != r.Invocation {
			h.ended(unit, r, r.killed)
		}
	}
	for _, r := range all {
		if h.procs[r.Unit] == nil {
			h.started(r)
		}
		if run := h.procs[r.Unit]; r.Stopping && !run.stops {
			run.stops = true
			h.w.tell(h.name, "%s is about to stop", r.Unit)
			h.w.check.stops(h, r.Unit)
		}
	}
}

func (h *host) started(r fake.Running) {
	h.w.tell(h.name, "systemd started %s", r.Unit)
	run := &running{Running: r, ready: time.Now().Add(time.Duration(h.w.chance("ready", h.name, r.Unit) % uint64(2*time.Second)))}
	h.procs[r.Unit] = run
	text, _ := os.ReadFile(h.layout().Unit(r.Unit)) // it existed a moment ago
	run.ports = h.portsOf(r.Unit, string(text))
	h.w.check.startedAs(h, r.Unit, r.Argv)
	h.w.check.startedWith(h, r.Unit, run.ports)
	h.w.check.started(h, r.Unit, unitfile.Hash(string(text)), r.By)
	model := models[filepath.Base(r.Argv[0])]
	if model == nil {
		return
	}
	p := h.w.newProcess(h, filepath.Base(r.Argv[0]), h.name+"/"+r.Unit)
	run.process = p
	for name, value := range run.ports {
		for i := range r.Argv {
			r.Argv[i] = strings.ReplaceAll(r.Argv[i], "${"+name+"}", value)
		}
	}
	p.start(h.last[r.Unit], func(ctx context.Context) error { return model(ctx, p, r) })
	h.last[r.Unit] = p
}

// portsOf reads the file that a unit file names for its assigned ports, as systemd does when it starts the process; nil if it names
// none.
func (h *host) portsOf(unit, text string) map[string]string {
	file, err := unitfile.Parse(text)
	name, err2 := unitfile.ParseName(unit)
	if err != nil || err2 != nil {
		return nil
	}
	var ports map[string]string
	for _, path := range file.Values("Service", "EnvironmentFile") {
		if dir, base := filepath.Split(name.Expand(path)); filepath.Base(dir) == filepath.Base(h.layout().Ports()) {
			ports = map[string]string{}
			text, _ := os.ReadFile(filepath.Join(h.layout().Ports(), base)) // no file has no ports
			for line := range strings.Lines(string(text)) {
				variable, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				ports[variable] = value
			}
		}
	}
	return ports
}

func (h *host) ended(unit string, r *running, killed bool) {
	how := "stopped"
	if killed {
		how = "killed"
	}
	h.w.tell(h.name, "%s was %s", unit, how)
	delete(h.procs, unit)
	h.w.check.releaseEnded(unit, r.Argv, killed || r.stops)
	h.w.check.stopped(h, unit, killed)
	for _, router := range h.w.hosts {
		router.front.under.lost(endpointOf(unit), h.address())
	}
	switch {
	case r.process == nil:
	case killed:
		r.process.kill()
	default:
		r.process.term()
	}
}

// killUnit kills the main process of a unit.
func (h *host) killUnit(unit string) {
	h.mu.Lock()
	if r := h.procs[unit]; r != nil {
		r.killed = true
		_ = h.systemd.Kill(unit) // it ended meanwhile
	}
	h.mu.Unlock()
	h.sync()
	h.poke()
}

// units returns the running units, sorted.
func (h *host) units() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return sortedKeys(h.procs)
}

// healthy reports whether an app's instance would pass its health check.
func (h *host) healthy(unit string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.procs[unit]
	return r != nil && !h.sick[unit] && !h.ailsNow(unit) && !time.Now().Before(r.ready)
}

// since converts a time to what this machine's clock showed then.
func (h *host) since(unit string, at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	key := unit + at.String()
	if _, ok := h.offsets[key]; !ok {
		h.offsets[key] = h.clock.offset()
	}
	return at.Add(h.offsets[key])
}

// manager is systemd as seen by one fleetd.
type manager struct {
	systemd.Manager
	p *process
}

func (m manager) call(ctx context.Context, op, unit string, do func() error) error {
	losses := m.p.host.busLosses.Load()
	if err := m.p.pause(ctx, m.p.w.delay(op, m.p.name, unit)); err != nil {
		return &systemd.Error{Op: op, Unit: unit, Kind: systemd.ErrDisconnected, Err: err}
	}
	h := m.p.host
	h.sync()
	starts := op == "start" || op == "restart"
	switch {
	case op == "stop":
		h.w.check.asksToStop(h, unit)
	case starts:
		h.w.check.asksToStart(h, unit)
	}
	if h.refuses.Load() && (starts || h.stubborn.Load()) {
		if starts { // fleetd retries everything else by itself
			h.w.check.refused(h, unit, true)
		}
		return &systemd.Error{Op: op, Unit: unit, Kind: systemd.ErrRefused, Err: errors.New("so the simulation wants it")}
	}
	err := h.busCall(losses, op, unit, do)
	if starts && err == nil {
		h.w.check.refused(h, unit, false)
	}
	h.poke()
	return err
}

func (m manager) Link(ctx context.Context, paths ...string) error {
	return m.call(ctx, "link", "", func() error { return m.Manager.Link(context.Background(), paths...) })
}

func (m manager) Enable(ctx context.Context, paths ...string) error {
	return m.call(ctx, "enable", "", func() error { return m.Manager.Enable(context.Background(), paths...) })
}

func (m manager) Unlink(ctx context.Context, names ...string) error {
	return m.call(ctx, "unlink", "", func() error { return m.Manager.Unlink(context.Background(), names...) })
}

func (m manager) Start(ctx context.Context, name string) error {
	return m.call(ctx, "start", name, func() error { return m.Manager.Start(context.Background(), name) })
}

func (m manager) Stop(ctx context.Context, name string) error {
	return m.call(ctx, "stop", name, func() error { return m.Manager.Stop(context.Background(), name) })
}

func (m manager) Restart(ctx context.Context, name string) error {
	return m.call(ctx, "restart", name, func() error { return m.Manager.Restart(context.Background(), name) })
}

func (m manager) ResetFailed(ctx context.Context, name string) error {
	return m.call(ctx, "reset-failed", name, func() error { return m.Manager.ResetFailed(context.Background(), name) })
}

// Reload takes no time: it is called under a lock.
func (m manager) Reload(ctx context.Context) error {
	if m.p.dead() {
		return &systemd.Error{Op: "reload", Kind: systemd.ErrDisconnected, Err: context.Canceled}
	}
	m.p.host.sync()
	defer m.p.host.poke()
	return m.p.host.busCall(m.p.host.busLosses.Load(), "reload", "", func() error { return m.Manager.Reload(ctx) })
}

// States are as old as the answer takes to arrive.
func (m manager) States(ctx context.Context, names []string) ([]systemd.UnitState, error) {
	m.p.host.sync()
	losses := m.p.host.busLosses.Load()
	states, err := m.Manager.States(ctx, names)
	for i := range states {
		states[i].Since = m.p.host.since(states[i].Name, states[i].Since)
	}
	if err := m.p.pause(ctx, m.p.w.delay("states", m.p.name)); err != nil {
		return nil, &systemd.Error{Op: "list", Kind: systemd.ErrDisconnected, Err: err}
	}
	if m.p.host.busLost.Load() || m.p.host.busLosses.Load() != losses {
		return nil, disconnected("list", "")
	}
	return states, err
}

func (m manager) Foreign(ctx context.Context, names []string) (map[string]string, error) {
	if m.p.host.busLost.Load() {
		return nil, disconnected("look up", "")
	}
	return m.Manager.Foreign(ctx, names)
}
