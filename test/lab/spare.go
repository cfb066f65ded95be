package lab

import "context"

// Spares boots machines beside the cluster's, and returns when they have booted. They have the same Debian, in the same network, but no
// configuration of etcd, and no fleet. prepare may change a machine's files before it boots. Discard removes them.
func (l *Lab) Spares(ctx context.Context, count int, prepare func(*Machine) error) ([]*Machine, error) {
	base, err := buildBase(ctx)
	if err != nil {
		return nil, err
	}
	var spares []*Machine
	for range count {
		spares = append(spares, l.addSpare(newMachineID()))
	}
	if err := l.save(); err != nil {
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

// Discard removes all spares.
func (l *Lab) Discard(ctx context.Context) error {
	if err := each(l.spares, func(m *Machine) error { return m.remove(ctx) }); err != nil {
		return err
	}
	l.spares = nil
	return l.save()
}
