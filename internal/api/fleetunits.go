package api

import (
	"context"
	"net/http"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// fleetUnit is a unit in the fleet v1 API.
type fleetUnit struct {
	Name         string          `json:"name"`
	Options      []fleetOption   `json:"options"`
	DesiredState v1.DesiredState `json:"desiredState,omitempty"`
	CurrentState v1.DesiredState `json:"currentState,omitempty"`
	MachineID    string          `json:"machineID,omitempty"`
}

type fleetOption struct {
	Section string `json:"section"`
	Name    string `json:"name"`
	Value   string `json:"value"`
}

func everything[T any](T) bool { return true }

func (f *fleetAPI) fleetUnits(w http.ResponseWriter, r *http.Request) error {
	q, err := fleetPage(&f.reader.units, r, f.limit, everything[*v1.Unit])
	if err != nil {
		return err
	}
	v := f.reader.units.view()
	revision, next, err := f.reader.units.load(r.Context(), v, q)
	if err != nil {
		return err
	}
	var page struct {
		Units         []fleetUnit `json:"units,omitempty"`
		NextPageToken string      `json:"nextPageToken,omitempty"`
	}
	page.NextPageToken = fleetAfter(revision, next)
	texts := map[string]string{}
	for _, name := range v.names() {
		if unit, ok := v.object(name); ok {
			shown, err := f.toFleetUnit(r.Context(), unit, texts)
			if err != nil {
				return err
			}
			page.Units = append(page.Units, shown)
		}
	}
	return writeJSON(w, http.StatusOK, page)
}

func (f *fleetAPI) fleetUnit(w http.ResponseWriter, r *http.Request) error {
	unit, err := f.reader.units.read(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	shown, err := f.toFleetUnit(r.Context(), unit, map[string]string{})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, shown)
}

func (f *fleetAPI) toFleetUnit(ctx context.Context, unit *v1.Unit, texts map[string]string) (fleetUnit, error) {
	shown := fleetUnit{Name: unit.Metadata.Name, Options: []fleetOption{}, DesiredState: unit.Spec.DesiredState,
		CurrentState: v1.Inactive, MachineID: unit.Status.Machine}
	text, err := f.reader.text(ctx, unit, texts)
	if err != nil {
		return shown, err
	}
	if file, err := unitfile.Parse(text); err == nil { // an unparsable file has no options to show
		for _, o := range file.Options() {
			shown.Options = append(shown.Options, fleetOption{Section: o.Section, Name: o.Name, Value: o.Value})
		}
	}
	if m := placedOn(unit.Status.Machines); len(m) > 0 {
		shown.CurrentState = m[0].Placement.DesiredState
	}
	return shown, nil
}

// fleetPutUnit creates a unit, or changes its desired state.
func (f *fleetAPI) fleetPutUnit(w http.ResponseWriter, r *http.Request) error {
	if !requireJSON(w, r) {
		return nil
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var sent fleetUnit
	if err := strictJSON(body, &sent); err != nil {
		return wire.Fail(wire.ReasonBadRequest, "unable to decode body: %v", err)
	}
	name := r.PathValue("name")
	if sent.Name != "" && sent.Name != name {
		return wire.Fail(wire.ReasonBadRequest, "name in URL %q differs from unit name in request body %q", name, sent.Name)
	}
	kv, exists, _, err := f.reader.store.Get(r.Context(), f.reader.keys.Units().Key(name))
	if err != nil {
		return err
	}
	switch {
	case !exists && len(sent.Options) == 0:
		return wire.Fail(wire.ReasonConflict, "unit does not exist and options field empty")
	case len(sent.Options) == 0 && sent.DesiredState == "":
		return wire.Fail(wire.ReasonConflict, "must provide DesiredState to update existing unit")
	case len(sent.Options) == 0:
		return f.fleetSetState(w, r, name, sent.DesiredState)
	}
	old, _ := f.reader.keys.Units().Decode(kv.Value)
	if exists {
		old.Metadata.Name = name
		old.Default() // written with etcdctl, possibly without a state
	}
	unit, err := fromFleetUnit(name, sent, old)
	if err != nil {
		return err
	}
	same, err := f.sameOptions(r.Context(), old, unit.Spec.Contents)
	switch {
	case err != nil:
		return err
	case exists && same && unit.Spec.DesiredState == old.Spec.DesiredState: // written back as it was read: no change
		w.WriteHeader(http.StatusNoContent)
		return nil
	case exists && same:
		return f.fleetSetState(w, r, name, unit.Spec.DesiredState)
	}
	if _, err := f.units.storeUnit(r.Context(), unit, 0, false); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

// sameOptions reports whether text equals the stored unit's text as this API shows it, that is, ignoring comments and
// formatting.
func (f *fleetAPI) sameOptions(ctx context.Context, old v1.Unit, text string) (bool, error) {
	old.Spec.Hash = unitfile.HashOf(old.Spec.Contents, old.Spec.Hash)
	stored, err := f.reader.text(ctx, &old, map[string]string{})
	return err == nil && unitfile.SameOptions(stored, text), err
}

func (f *fleetAPI) fleetSetState(w http.ResponseWriter, r *http.Request, name string, state v1.DesiredState) error {
	if _, err := f.units.request(r.Context(), name, state, state == v1.Launched); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func fromFleetUnit(name string, sent fleetUnit, old v1.Unit) (*v1.Unit, error) {
	options := make([]unitfile.Option, len(sent.Options))
	for i, o := range sent.Options {
		options[i] = unitfile.Option{Section: o.Section, Name: o.Name, Value: o.Value}
	}
	file, err := unitfile.FromOptions(options)
	if err != nil {
		return nil, wire.Fail(wire.ReasonBadRequest, "invalid options: %v", err)
	}
	unit := &v1.Unit{Metadata: v1.ObjectMeta{Name: name, Labels: old.Metadata.Labels, Annotations: old.Metadata.Annotations},
		Spec: v1.UnitSpec{Contents: file.String(), DesiredState: sent.DesiredState}}
	if unit.Spec.DesiredState == "" {
		unit.Spec.DesiredState = old.Spec.DesiredState
	}
	if unit.Spec.DesiredState == "" {
		unit.Spec.DesiredState = v1.Inactive
	}
	if errs := unit.Validate(); len(errs) > 0 {
		return nil, wire.Fail(wire.ReasonBadRequest, "%s", strings.ReplaceAll(errs.Error(), "\n", "; "))
	}
	return unit, nil
}

func (f *fleetAPI) fleetDeleteUnit(w http.ResponseWriter, r *http.Request) error {
	if _, err := f.units.removeUnit(r.Context(), r.PathValue("name"), 0, false); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
