package api

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// tracer follows a unit back to its commit, and on to the routers.
type tracer struct{ *pastReader }

// trace answers GET /units/NAME/trace.
func (t tracer) trace(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	kv, ok, _, err := t.store.Get(r.Context(), t.keys.Units().Key(name))
	if err != nil {
		return err
	}
	unit, err := t.keys.Units().Decode(kv.Value)
	if !ok || err != nil {
		return t.units.notFound(name)
	}
	path := &tracePath{tracer: t, ctx: r.Context(), name: name, unit: unit}
	steps := []func() error{path.origin, path.file, func() error {
		path.add(wire.TraceUnit, kv, "%s, to be %s", cmp.Or(ownedBy(unit), "submitted by people"), unit.Spec.DesiredState)
		return nil
	}, path.machines, path.routers}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, path.steps)
}

func ownedBy(unit v1.Unit) string {
	if unit.Metadata.Owner == "" {
		return ""
	}
	return "of app/" + unit.Metadata.Owner
}

// tracePath is the trace of one unit while it is made.
type tracePath struct {
	tracer
	ctx    context.Context
	name   string
	unit   v1.Unit
	prefix string // that it is announced below
	steps  []wire.TraceStep
}

func (p *tracePath) add(step string, kv store.KV, format string, args ...any) {
	p.steps = append(p.steps, wire.TraceStep{Step: step, Key: kv.Key, Revision: kv.ModRevision, Text: fmt.Sprintf(format, args...)})
}

// origin adds the commit, the manifest and the revision that the unit's file is of.
func (p *tracePath) origin() error {
	app := p.unit.Metadata.Owner
	if app == "" {
		return nil
	}
	past, err := p.past(p.ctx, app)
	if err != nil {
		return err
	}
	if err := p.readApplies(p.ctx, past); err != nil {
		return err
	}
	for _, revision := range slices.Backward(past.revisions) {
		if revision.UnitFile != p.unit.Spec.Hash && revision.SidekickFile != p.unit.Spec.Hash {
			continue
		}
		if a := revision.Spec.Announce; a != nil {
			p.prefix = a.Prefix
		}
		p.manifest(past, revision)
		kv, _, _, err := p.store.Get(p.ctx, p.keys.Revisions().Key(keyspace.RevisionName(app, revision.Number)))
		p.add(wire.TraceRevision, kv, "revision %d of app/%s", revision.Number, app)
		return err
	}
	p.add(wire.TraceRevision, store.KV{}, "no revision that is kept has the unit's file")
	return nil
}

func (p *tracePath) manifest(past *past, revision v1.Revision) {
	apply := past.applies[revision.ManifestRevision]
	who := strings.TrimSpace(apply.User + " " + apply.From)
	if c := apply.Commit; c != nil {
		p.add(wire.TraceCommit, store.KV{}, "%s by %s: %s", c.Hash, c.Author, c.Subject)
		if c.Source != "" {
			who = "source/" + c.Source
		}
		if file := fileOf(apply.Apply, past.name); file != "" {
			who = cmp.Or(who, "an unknown client") + ", " + file
		}
	}
	p.add(wire.TraceManifest, store.KV{Key: p.keys.Apps().Key(past.name), ModRevision: revision.ManifestRevision}, "written by %s", cmp.Or(who, "an unknown client of etcd"))
}

func (p *tracePath) file() error {
	if p.unit.Spec.Hash == "" {
		return nil
	}
	kv, ok, _, err := p.store.Get(p.ctx, p.keys.UnitFiles().Key(p.unit.Spec.Hash))
	if err == nil && ok {
		p.add(wire.TraceUnitFile, kv, "%d lines: fleetctl cat %s", strings.Count(string(kv.Value), "\n"), p.name)
	}
	return err
}

// machines adds the placements, what runs there, and what is announced.
func (p *tracePath) machines() error {
	unit, err := p.units.read(p.ctx, p.name)
	if err != nil {
		return err
	}
	if unit.Status == nil {
		return nil
	}
	for _, on := range unit.Status.Machines {
		if err := p.machine(on); err != nil {
			return err
		}
	}
	return nil
}

func (p *tracePath) machine(on v1.UnitOnMachine) error {
	kv, ok, _, err := p.store.Get(p.ctx, p.keys.Placements().Key(keyspace.Join(on.Machine, p.name)))
	if err != nil {
		return err
	}
	if ok {
		p.add(wire.TracePlacement, kv, "on machine %s", cmp.Or(on.Address, on.Machine))
	}
	if kv, ok, _, err = p.store.Get(p.ctx, p.keys.States().Key(keyspace.Join(on.Machine, p.name))); err != nil || !ok {
		return err
	}
	if s := on.State; s != nil {
		p.add(wire.TraceProcess, kv, "%s/%s since %s, invocation %s", s.ActiveState, s.SubState, s.Since.UTC().Format(timeOfDay), cmp.Or(s.InvocationID, "unknown"))
	}
	app := p.unit.Metadata.Owner
	instance, sidekick, ours := v1.ParseAppUnit(app, p.name)
	if p.prefix == "" || sidekick || !ours {
		return nil
	}
	name := v1.EndpointName(app, instance)
	if instance == 0 {
		name = v1.GlobalEndpointName(app, on.Machine)
	}
	if kv, ok, _, err = p.store.Get(p.ctx, keyspace.Endpoints(p.prefix).Key(name)); err == nil && ok {
		p.add(wire.TraceEndpoint, kv, "%s", kv.Value)
	}
	return err
}

// timeOfDay is how a trace writes times.
const timeOfDay = "2006-01-02T15:04:05Z"

// routers adds what each router serves of the endpoints' prefix.
func (p *tracePath) routers() error {
	if !slices.ContainsFunc(p.steps, func(s wire.TraceStep) bool { return s.Step == wire.TraceEndpoint }) {
		return nil
	}
	row, found := p.keys.Routers(), map[string]store.KV{}
	if err := p.apps.scan(p.ctx, row.Prefix(), store.ListOptions{}, func(kv store.KV) bool {
		if machine, ok := row.Name(kv.Key); ok {
			found[machine] = kv
		}
		return true
	}); err != nil {
		return err
	}
	for _, machine := range slices.Sorted(maps.Keys(found)) {
		router, err := row.Decode(found[machine].Value)
		if err != nil {
			continue
		}
		p.add(wire.TraceRouter, found[machine], "machine %s serves %s as of revision %d", machine, p.prefix, router.Served[p.prefix].Revision)
	}
	return nil
}
