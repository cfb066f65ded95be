package systemd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// details are the properties that a list does not contain. They are cached until a signal says that the unit changed, so an
// idle States is one call.
type details struct {
	row          listed // of the list that the details belong to
	complete     bool   // all answers have arrived, and no signal since
	result       string
	invocationID []byte
	since        uint64 // µs since 1970
	restarts     uint32
	exit         process     // of the main process
	commands     [][]command // by commandOptions; nil if they were not requested
	err          error       // what systemd answered instead
}

// property is one property to read, and its destination.
type property struct {
	iface, name string
	to          any
}

// properties lists the properties to read for a unit as listed.
func (d *details) properties() []property {
	if d.row.LoadState != "loaded" || d.row.ActiveState == "inactive" {
		return nil
	}
	all := []property{
		{unitInterface, "InvocationID", &d.invocationID},
		{unitInterface, "StateChangeTimestamp", &d.since},
	}
	if iface, ok := resultInterface(d.row.Name); ok {
		all = append(all, property{iface, "Result", &d.result})
	}
	if strings.HasSuffix(d.row.Name, ".service") {
		all = append(all, d.serviceProperties()...)
	}
	return all
}

// States implements Manager: one call for the list, and one round trip for the details of all units that changed.
func (c *Client) States(ctx context.Context, names []string) ([]UnitState, error) {
	if len(names) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	l, err := c.current()
	if err != nil {
		return nil, wrap("list", "", err)
	}
	l.follow(names)
	states := make([]UnitState, len(names))
	var rows []listed
	var of []int // the index of each row in the result
	for i, found := range l.list(ctx, names) {
		states[i].Name, states[i].Err = names[i], found.err
		switch {
		case found.err == nil:
			rows, of = append(rows, found.row), append(of, i)
		case !errors.Is(found.err, ErrBadUnit):
			return nil, found.err
		}
	}
	l.followAs(rows)
	all, err := l.detailsOf(ctx, rows)
	if err != nil {
		return nil, wrap("list", "", err)
	}
	for i, d := range all {
		if to := &states[of[i]]; d.err != nil {
			to.Err = wrap("list", to.Name, d.err)
		} else {
			*to = l.state(to.Name, rows[i], d)
		}
	}
	return states, nil
}

// Inspect returns what States leaves out.
func (c *Client) Inspect(ctx context.Context, name string) (found Inspection, err error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	l, err := c.current()
	if err != nil {
		return found, wrap("inspect", name, err)
	}
	var pid uint32
	object := l.conn.Object("org.freedesktop.systemd1", unitPath(name))
	for _, p := range []property{
		{unitInterface, "FragmentPath", &found.FragmentPath},
		{unitInterface, "NeedDaemonReload", &found.NeedReload},
		{serviceInterface, "MainPID", &pid},
	} {
		var value dbus.Variant
		err := object.CallWithContext(ctx, getProperty, 0, p.iface, p.name).Store(&value)
		if err == nil {
			err = dbus.Store([]any{value.Value()}, p.to)
		}
		if err != nil {
			return found, wrap("inspect", name, fmt.Errorf("property %s: %w", p.name, err))
		}
	}
	found.MainPID = int(pid)
	return found, nil
}

// found is one name's entry in a list.
type found struct {
	row listed
	err error
}

// list lists all names in one call. If one of them is invalid, systemd rejects the call or silently omits that name. Then
// each half is listed separately.
func (l *link) list(ctx context.Context, names []string) []found {
	var rows []listed
	err := wrap("list", "", l.call(ctx, "ListUnitsByNames", names).Store(&rows))
	results := make([]found, len(names))
	switch {
	case err == nil && len(rows) == len(names):
		for i, row := range rows {
			results[i].row = row
		}
	case len(names) > 1 && (err == nil || errors.Is(err, ErrBadUnit)):
		half := len(names) / 2
		return append(l.list(ctx, names[:half]), l.list(ctx, names[half:])...)
	case err == nil:
		results[0].err = &Error{Op: "list", Unit: names[0], Kind: ErrBadUnit, Err: errors.New("no unit can have this name")}
	case len(names) == 1:
		results[0].err = wrap("list", names[0], err)
	default:
		for i := range results {
			results[i].err = err
		}
	}
	return results
}

// detailsOf returns the details of each row. It requests those that are not cached, all at once.
func (l *link) detailsOf(ctx context.Context, rows []listed) ([]*details, error) {
	all := make([]*details, len(rows))
	asked := make([][]*dbus.Call, len(rows))
	for i, row := range rows {
		if all[i] = l.known(row); all[i] != nil {
			continue
		}
		all[i] = &details{row: row}
		l.expect(all[i])
		object := l.conn.Object("org.freedesktop.systemd1", row.Path)
		for _, p := range all[i].properties() {
			asked[i] = append(asked[i], object.GoWithContext(ctx, getProperty, 0, make(chan *dbus.Call, 1), p.iface, p.name))
		}
	}
	for i, d := range all {
		err := d.store(ctx, asked[i])
		var remote dbus.Error
		switch {
		case err == nil:
			l.learn(d)
		case errors.As(err, &remote) && !errors.Is(wrap("", "", err), ErrDisconnected):
			d.err = err // it concerns only this unit
		default:
			return nil, err
		}
	}
	return all, nil
}

// store waits for the properties; none were requested if d was cached.
func (d *details) store(ctx context.Context, asked []*dbus.Call) error {
	for i, call := range asked {
		select {
		case <-call.Done:
		case <-ctx.Done():
			return ctx.Err()
		}
		p := d.properties()[i]
		var value dbus.Variant
		err := call.Store(&value)
		if err == nil {
			err = dbus.Store([]any{value.Value()}, p.to)
		}
		if err != nil {
			return fmt.Errorf("property %s of %s: %w", p.name, d.row.Name, err)
		}
	}
	return nil
}

// known returns the unit's cached details if they are still valid.
func (l *link) known(row listed) *details {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.details[row.Path]
	if d == nil {
		d = l.heardOf(row)
	}
	if d == nil || !d.complete || d.row.LoadState != row.LoadState || d.row.ActiveState != row.ActiveState || d.row.SubState != row.SubState {
		return nil
	}
	return d
}

// heardOf returns the details of a running service as the last signals told them; nil if they told something else.
func (l *link) heardOf(row listed) *details {
	h := l.heard[row.Path]
	if h == nil || h.short || row.LoadState != "loaded" || row.ActiveState != "active" || row.SubState != "running" ||
		h.activeState != row.ActiveState || h.subState != row.SubState {
		return nil
	}
	d := &details{row: row, complete: true, result: h.result, invocationID: h.invocationID, since: h.since, restarts: h.restarts}
	l.details[row.Path] = d
	return d
}

// expect records that details are being read: a signal about the unit from now on invalidates them.
func (l *link) expect(d *details) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.details[d.row.Path] = d
}

// learn caches details unless they are outdated already.
func (l *link) learn(d *details) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.complete = d.complete || l.details[d.row.Path] == d
}

// state combines what is known of a unit.
func (l *link) state(name string, row listed, d *details) UnitState {
	return UnitState{
		Name: name, LoadState: row.LoadState, ActiveState: row.ActiveState, SubState: row.SubState,
		Job: row.JobType, JobResult: l.jobResult(name), Result: d.result, InvocationID: hex.EncodeToString(d.invocationID),
		Restarts: int(d.restarts), Exit: d.exited(), Since: micro(d.since),
	}
}

// micro converts systemd's time, in µs since 1970; 0 is none.
func micro(us uint64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(us)).UTC()
}
