package lab

import (
	"context"
	"slices"
)

// Spares boots machines beside the cluster's, and returns when they have booted. They have the same Debian, in the same network, but no
// configuration of etcd, and no fleet. prepare may change a machine's files before it boots. Discard removes them. Both may be called
// by several goroutines.
func (l *Lab) Spares(ctx context.Context, count int, prepare func(*Machine) error) ([]*Machine, error) {
	base, err := buildBase(ctx)
	if err != nil {
		return nil, err
	}
	spares, err := l.newSpares(count)
	if err != nil {
		return nil, err
	}
	return spares, each(spares, func(m *Machine) error {
		if err := m.create(ctx, base, l); err != nil {
			return err
		}
		if err := prepare(m); err != nil {
			return err
		}
		return m.Boot(ctx)
	})
}

// newSpares adds machines with numbers in a row.
func (l *Lab) newSpares(count int) (spares []*Machine, err error) {
	l.sparing.Lock()
	defer l.sparing.Unlock()
	for range count {
		spares = append(spares, l.addSpare(newMachineID()))
	}
	return spares, l.save()
}

// addSpare adds a machine that is not of the cluster: what happens to it is not of the lab's past. Without an ID it adds the place of
// one that was discarded.
func (l *Lab) addSpare(id string) (m *Machine) {
	if id != "" {
		m = newMachine(l.Dir, len(l.Machines)+len(l.spares)+1, id, &past{})
	}
	l.spares = append(l.spares, m)
	return m
}

// Discard removes spares.
func (l *Lab) Discard(ctx context.Context, spares ...*Machine) error {
	if err := each(spares, func(m *Machine) error { return m.remove(ctx) }); err != nil {
		return err
	}
	l.sparing.Lock()
	defer l.sparing.Unlock()
	for i, m := range l.spares {
		if slices.Contains(spares, m) {
			l.spares[i] = nil // those behind it keep their numbers
		}
	}
	for len(l.spares) > 0 && l.spares[len(l.spares)-1] == nil {
		l.spares = l.spares[:len(l.spares)-1]
	}
	return l.save()
}

// discarded says whether a machine is the place of one that was discarded.
func discarded(m *Machine) bool { return m == nil }
