package api

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
	"github.com/fleet-starter/fleet/internal/verify"
)

// unitWriter changes units, and the overrides of units that belong to apps.
type unitWriter struct {
	*writer
	keys   keyspace.Keys
	now    func() time.Time
	reader *reader
	// timeout bounds the start of a restart after the client has left.
	timeout time.Duration
}

// putUnit stores a unit and its file.
func (u *unitWriter) putUnit(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	unit, err := v1.ParseUnit(body)
	if err != nil {
		return wire.Invalid("unit/"+name, causes(err))
	}
	if unit.Metadata.Name != name {
		return wire.Invalid("unit/"+name, []wire.Cause{{Field: "metadata.name", Message: "differs from the name in the path, " + name + ": use the same name"}})
	}
	want, err := precondition(r, unit.Metadata.ResourceVersion)
	if err != nil {
		return err
	}
	answer, err := u.storeUnit(r.Context(), unit, write{want: want, dryRun: flag(r.URL.Query().Get("dryRun"))})
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

// storeUnit writes a unit and its file in one transaction, with the version and the other conditions of as. Units of apps are
// refused.
func (u *unitWriter) storeUnit(ctx context.Context, unit *v1.Unit, as write) (*wire.Status, error) {
	warnings, err := u.checkUnit(ctx, unit)
	if err != nil {
		return nil, err
	}
	name := unit.Metadata.Name
	as.what, as.key, as.change = "unit/"+name, u.keys.Units().Key(name), u.replaced(unit)
	answer, err := u.write(ctx, as)
	if err == nil {
		answer.Warnings = warnings
	}
	return answer, err
}

// replaced returns the change of a stored unit into this one.
func (u *unitWriter) replaced(unit *v1.Unit) func(kv store.KV, exists bool) ([]store.Op, error) {
	name := unit.Metadata.Name
	return func(kv store.KV, exists bool) ([]store.Op, error) {
		old, next := v1.Unit{}, stored(unit)
		if exists {
			old, _ = u.keys.Units().Decode(kv.Value) // an undecodable one is replaced
			if err := notOwned(old, name, "change the app's manifest instead, or start and stop this unit"); err != nil {
				return nil, err
			}
			if next.Spec.RequestedAt == "" {
				next.Spec.RequestedAt = old.Spec.RequestedAt
			}
			if sameUnit(old, next) {
				return nil, nil
			}
		}
		return u.unitOps(next, unit.Spec.Contents)
	}
}

// checkUnit refuses a unit whose file would not work, and warns where it may not.
func (u *unitWriter) checkUnit(ctx context.Context, unit *v1.Unit) (warnings []wire.Cause, err error) {
	what := "unit/" + unit.Metadata.Name
	name, err := checkUnitName(unit.Metadata.Name)
	if err != nil {
		return nil, err
	}
	if unit.Spec.Contents == "" {
		_, ok, _, err := u.store.Get(ctx, u.keys.UnitFiles().Key(unit.Spec.Hash))
		if err == nil && !ok {
			err = wire.Invalid(what, []wire.Cause{{Field: "spec.hash", Message: "no unit file with this hash is stored: give spec.contents"}})
		}
		return nil, err
	}
	faults, warnings := verify.CheckUnitFile(name, unit.Spec.Contents)
	for _, list := range [][]wire.Cause{faults, warnings} {
		for i, c := range list { // the lines are those of the file, not of the request
			list[i] = wire.Cause{Field: "spec.contents", Message: c.String(), InContents: &c, More: c.More}
		}
	}
	if len(faults) > 0 {
		return nil, wire.Invalid(what, faults)
	}
	return warnings, nil
}

// stored returns the unit in its stored form: the file by its hash, without read-only fields.
func stored(unit *v1.Unit) v1.Unit {
	next := v1.Unit{TypeMeta: typeOf(v1.KindUnit), Metadata: v1.ObjectMeta{
		Name: unit.Metadata.Name, Labels: unit.Metadata.Labels, Annotations: unit.Metadata.Annotations,
	}, Spec: unit.Spec}
	if next.Spec.Contents != "" {
		next.Spec.Hash, next.Spec.Contents = unitfile.Hash(unit.Spec.Contents), ""
	}
	return next
}

func sameUnit(a, b v1.Unit) bool {
	return a.Spec == b.Spec && maps.Equal(a.Metadata.Labels, b.Metadata.Labels) && maps.Equal(a.Metadata.Annotations, b.Metadata.Annotations)
}

// unitOps puts a unit and, if its text is given, its file. The file is put even if it exists, because it may be
// collected concurrently.
func (u *unitWriter) unitOps(unit v1.Unit, contents string) ([]store.Op, error) {
	value, err := u.keys.Units().Encode(unit)
	if err != nil {
		return nil, err
	}
	ops := []store.Op{{Key: u.keys.Units().Key(unit.Metadata.Name), Value: value}}
	if contents != "" {
		ops = append(ops, store.Op{Key: u.keys.UnitFiles().Key(unit.Spec.Hash), Value: []byte(contents)})
	}
	return ops, nil
}

func notOwned(unit v1.Unit, name, advice string) error {
	if unit.Metadata.Owner == "" {
		return nil
	}
	return wire.Fail(wire.ReasonOwned, "unit %s belongs to app/%s, which would overwrite the change: %s", name, unit.Metadata.Owner, advice)
}

func (u *unitWriter) removeUnit(ctx context.Context, name string) (*wire.Status, error) {
	return u.remove(ctx, write{
		what: "unit/" + name, key: u.keys.Units().Key(name),
		change: func(kv store.KV, _ bool) ([]store.Op, error) { return nil, u.removable(kv, name) },
	})
}

// removable refuses the deletion of a unit that belongs to an app.
func (u *unitWriter) removable(kv store.KV, name string) error {
	unit, _ := u.keys.Units().Decode(kv.Value)
	return notOwned(unit, name, "fleetctl delete app "+unit.Metadata.Owner+" removes it, fleetctl stop "+name+" stops it")
}

// patchUnit accepts {"spec": {"desiredState": ...}} only.
func (u *unitWriter) patchUnit(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var patch struct {
		Spec struct {
			DesiredState v1.DesiredState `json:"desiredState"`
		} `json:"spec"`
	}
	if err := strictJSON(body, &patch); err != nil {
		return wire.Fail(wire.ReasonBadRequest, `%v: write {"spec": {"desiredState": "launched"}}, or use PUT to change other fields`, err)
	}
	state := patch.Spec.DesiredState
	return u.setState(state, state == v1.Launched)(w, r)
}

// strictJSON reads one JSON value without unknown fields.
func strictJSON(data []byte, value any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(value)
}

// timestamp formats the time of a request, precisely enough that two requests differ.
func timestamp(now func() time.Time) string { return now().UTC().Format(time.RFC3339Nano) }
