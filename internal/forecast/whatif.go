package forecast

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// suppose makes happen what is supposed to.
func (r *run) suppose(ctx context.Context, w wire.WhatIf) error {
	if w.IsZero() {
		return nil
	}
	if w.Source != nil {
		if err := r.apply(ctx, w.Source); err != nil {
			return err
		}
	}
	for _, id := range w.Drain {
		if err := r.drain(ctx, id); err != nil {
			return err
		}
	}
	lost, err := r.lost(w)
	if err != nil {
		return err
	}
	for _, id := range lost {
		if err := r.lose(ctx, id); err != nil {
			return err
		}
	}
	lease, err := r.store.Grant(ctx, 24*time.Hour)
	if err != nil {
		return err
	}
	for i, m := range w.Add {
		id := fmt.Sprintf("add%05d%024d", i+1, 0)
		value, err := r.keys.Machines().Encode(v1.Machine{Spec: v1.MachineSpec{Address: fmt.Sprintf("192.0.2.%d", i+1), Metadata: m.Metadata, Capacity: m.Capacity, PortRange: v1.DefaultPortRange}})
		if err != nil {
			return err
		}
		if err := r.write(ctx, []store.Op{{Key: r.keys.Machines().Key(id), Value: value, Lease: lease}}); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) drain(ctx context.Context, id string) error {
	if _, ok := r.known.Machines.Get(id); !ok {
		return noMachine(id)
	}
	config := v1.MachineConfig{}
	if o, ok := r.known.MachineConfigs.Get(id); ok {
		config = o.Value
	}
	config.Drain = true
	value, err := r.keys.MachineConfigs().Encode(config)
	if err != nil {
		return err
	}
	return r.write(ctx, []store.Op{{Key: r.keys.MachineConfigs().Key(id), Value: value}})
}

func noMachine(id string) error {
	return wire.Fail(wire.ReasonNotFound, "machine/%s does not exist", id)
}

// lost are the machines that vanish, sorted.
func (r *run) lost(w wire.WhatIf) (ids []string, err error) {
	lost := map[string]bool{}
	for _, id := range w.Lose {
		if _, ok := r.known.Machines.Get(id); !ok {
			return nil, noMachine(id)
		}
		lost[id] = true
	}
	matched := map[string]bool{}
	for _, o := range r.known.Machines.List() {
		m := o.Value
		if config, ok := r.known.MachineConfigs.Get(o.Name); ok {
			m.Config = &config.Value
		}
		for key, value := range wire.Metadata(&m) {
			if want, asked := w.LoseMetadata[key]; asked && want == value {
				lost[o.Name], matched[key] = true, true
			}
		}
		if lost[o.Name] {
			ids = append(ids, o.Name)
		}
	}
	for key, value := range w.LoseMetadata {
		if !matched[key] {
			return nil, wire.Fail(wire.ReasonNotFound, "no machine has the metadata %s=%s", key, value)
		}
	}
	return ids, nil
}

// lose lets a machine vanish, with all that it keeps alive: its presence, its router, its endpoints.
func (r *run) lose(ctx context.Context, id string) error {
	ops := []store.Op{{Key: r.keys.Machines().Key(id)}}
	if o, ok := r.known.Routers.Get(id); ok {
		ops = append(ops, store.Op{Key: o.Key})
	}
	for _, o := range r.known.Placements.ListPrefix(id + "/") {
		_, unit, _ := keyspace.Split(o.Name)
		for _, app := range v1.AppsOfUnit(unit) {
			if number, sidekick, ok := v1.ParseAppUnit(app, unit); ok && sidekick {
				i := instanceOn{app: app, number: number}
				if number == 0 {
					i.machine = id
				}
				r.machines.announce[i] = true
			}
		}
	}
	return r.write(ctx, ops)
}
