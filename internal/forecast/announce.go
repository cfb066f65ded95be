package forecast

import (
	"context"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// instanceOn is an instance of an app; for a global app, on that machine.
type instanceOn struct {
	app     string
	number  int32
	machine string
}

// name is the instance's endpoint, below the announce prefix.
func (i instanceOn) name() string {
	if i.number == 0 {
		return v1.GlobalEndpointName(i.app, i.machine)
	}
	return v1.EndpointName(i.app, i.number)
}

// announcers announces the instances whose sidekicks run, and withdraws the others.
func (m *machines) announcers(ctx context.Context) (int, error) {
	did := 0
	for _, prefix := range m.known.AnnouncePrefixes() {
		var groups []store.Group
		for i := range m.announce {
			name, value := i.name(), m.endpoint(prefix, i)
			if m.known.EndpointOf(prefix, name) == value {
				continue
			}
			op := store.Op{Key: keyspace.Endpoints(prefix).Key(name)}
			if value != "" {
				op.Value = []byte(value)
			}
			groups = append(groups, store.Group{op})
		}
		if len(groups) == 0 {
			continue
		}
		slices.SortFunc(groups, func(a, b store.Group) int { return strings.Compare(a[0].Key, b[0].Key) })
		revision, err := store.LastRevision(store.Write(ctx, m.store, groups, store.Fence{}))
		if err == nil {
			err = m.known.WaitForEndpoints(ctx, prefix, revision)
		}
		if err != nil {
			return 0, err
		}
		did += len(groups)
	}
	clear(m.announce)
	m.serve = m.serve || did > 0
	return did, nil
}

// endpoint is what an instance is announced as below a prefix; "" if it is not.
func (m *machines) endpoint(prefix string, i instanceOn) string {
	sidekick := v1.SidekickUnit(i.app, i.number)
	states := m.known.StatesOf(sidekick)
	for _, machine := range slices.Sorted(maps.Keys(states)) {
		if s := states[machine]; instance.IsActive(s) && (i.number > 0 || machine == i.machine) {
			return m.address(prefix, i, machine, s.Hash)
		}
	}
	return ""
}

// address is where an instance on a machine can be reached, as its sidekick's file says.
func (m *machines) address(prefix string, i instanceOn, machine, file string) string {
	at, ok := m.known.Machines.Get(machine)
	if !ok {
		return ""
	}
	for _, o := range slices.Backward(m.known.Revisions.ListPrefix(i.app + "/")) {
		spec := &o.Value.Spec
		if o.Err != nil || o.Value.SidekickFile != file || spec.Announce == nil {
			continue
		}
		if strings.TrimRight(spec.AnnouncePrefix(), "/") != strings.TrimRight(prefix, "/") {
			return ""
		}
		port, _ := spec.FindPort(spec.Announce.Port)
		number := int(port.HostPort)
		if port.HostPort.IsAuto() {
			placed, _ := m.known.Placements.Get(keyspace.Join(machine, v1.AppUnit(i.app, i.number)))
			number = 1
			if placed != nil {
				number = max(number, placed.Value.Assigned.Get(port.Name))
			}
		}
		return net.JoinHostPort(at.Value.Spec.Address, strconv.Itoa(number))
	}
	return ""
}

// routers has routers serve what is announced. One that cannot apply its configuration stays as it is.
func (m *machines) routers(ctx context.Context) (int, error) {
	m.mu.Lock()
	serve := m.serve || m.routes
	m.serve, m.routes = false, false
	m.mu.Unlock()
	if !serve {
		return 0, nil
	}
	revision := m.store.Revision()
	row := m.keys.Routers()
	var ops []store.Op
	for _, o := range m.known.Routers.List() {
		if o.Err != nil || o.Value.Failing != nil || o.Value.Revision == revision {
			continue
		}
		r := o.Value
		r.Revision, r.Digest, r.Draining = revision, "", nil
		if r.Served != nil {
			served := make(map[string]v1.Served, len(r.Served))
			for prefix := range r.Served {
				served[prefix] = v1.Served{Revision: revision}
			}
			r.Served, r.Routes = served, revision
		}
		value, err := row.Encode(r)
		if err != nil {
			return 0, err
		}
		ops = append(ops, store.Op{Key: o.Key, Value: value, Lease: o.Lease})
	}
	return len(ops), m.write(ctx, ops)
}
