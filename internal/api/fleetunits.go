package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/facts"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
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
	shown := fleetUnit{Name: unit.Metadata.Name, Options: []fleetOption{}, DesiredState: unit.Spec.DesiredState}
	text, err := f.reader.text(ctx, unit, texts)
	if err != nil {
		return shown, err
	}
	file, err := unitfile.Parse(text)
	if err == nil { // an unparsable file has no options to show
		for _, o := range file.Options() {
			shown.Options = append(shown.Options, fleetOption{Section: o.Section, Name: o.Name, Value: o.Value})
		}
	}
	if err == nil && facts.Read(text).Of(unit.Metadata.Name).Global {
		return shown, nil // on no machine in particular
	}
	shown.CurrentState = currentState(unit, f.units.now())
	if on := placedOn(unit.Status.Machines); len(on) == 1 && on[0].Address != "" { // a machine that is away may come back to it
		shown.MachineID = on[0].Machine
	}
	return shown, nil
}

// stopLag is for how long a unit still counts as launched after it was asked to stop. To restart one, the original's fleetctl asks for
// "loaded", then polls every 250 ms until it sees "launched", and only then asks for "launched": it relies on machines that take
// seconds to stop a unit, and waits for ever where they are faster.
const stopLag = 2 * time.Second

// currentState is what the unit's machine last reported to have done with it, which may be behind what was asked for.
func currentState(unit *v1.Unit, now time.Time) v1.DesiredState {
	on := placedOn(unit.Status.Machines)
	if len(on) == 0 {
		on = unit.Status.Machines // a machine that has not removed it yet
	}
	if len(on) == 0 || on[0].State == nil {
		return v1.Inactive
	}
	state := on[0].State.DesiredState
	if state == "" {
		state = v1.Loaded
	}
	if on[0].Placement != nil && state == v1.Loaded && on[0].Placement.DesiredState == v1.Loaded {
		asked, err := time.Parse(time.RFC3339Nano, on[0].Placement.RequestedAt)
		if since := now.Sub(asked); err == nil && since >= 0 && since < stopLag {
			return v1.Launched
		}
	}
	return state
}

// fleetPutUnit creates a unit, replaces one whose options differ, or changes the desired state of one.
func (f *fleetAPI) fleetPutUnit(w http.ResponseWriter, r *http.Request) error {
	if err := requireJSON(r); err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var sent fleetUnit
	if err := json.Unmarshal(body, &sent); err != nil { // fields that this API does not know are ignored
		return wire.Fail(wire.ReasonBadRequest, "unable to decode body: %v", err)
	}
	name := r.PathValue("name")
	if sent.Name != "" && sent.Name != name {
		return wire.Fail(wire.ReasonBadRequest, "name in URL %q differs from unit name in request body %q", name, sent.Name)
	}
	if _, err := checkUnitName(name); err != nil {
		return err
	}
	if len(sent.Options) > 0 && sent.DesiredState != "" {
		if created, err := f.create(r.Context(), name, sent); err != nil || created {
			if err == nil {
				w.WriteHeader(http.StatusCreated)
			}
			return err
		}
	}
	kv, exists, _, err := f.reader.store.Get(r.Context(), f.reader.keys.Units().Key(name))
	if err != nil {
		return err
	}
	old, _ := f.reader.keys.Units().Decode(kv.Value)
	if exists {
		old.Metadata.Name = name
		old.Default() // written with etcdctl, possibly without a state
	}
	if len(sent.Options) > 0 {
		unit, err := fromFleetUnit(name, sent, old)
		if err != nil {
			return err
		}
		same, err := f.sameOptions(r.Context(), old, unit.Spec.Contents)
		if err != nil {
			return err
		}
		if !exists || !same {
			if _, err := f.units.storeUnit(r.Context(), unit, write{read: &reading{kv, exists}}); err != nil {
				return err
			}
			w.WriteHeader(http.StatusCreated)
			return nil
		}
		if sent.DesiredState == old.Spec.DesiredState { // written back as it was read
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	}
	switch {
	case !exists:
		return wire.Fail(wire.ReasonConflict, "unit does not exist and options field empty")
	case sent.DesiredState == "":
		return wire.Fail(wire.ReasonConflict, "must provide desiredState to update existing unit")
	}
	return f.fleetSetState(w, r, old, sent.DesiredState)
}

// create stores a unit that does not exist yet without looking for it first. It reports whether it was so.
func (f *fleetAPI) create(ctx context.Context, name string, sent fleetUnit) (created bool, err error) {
	unit, err := fromFleetUnit(name, sent, v1.Unit{})
	if err != nil {
		return false, err
	}
	_, err = f.units.storeUnit(ctx, unit, write{read: &reading{}, once: true})
	if errors.Is(err, store.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// sameOptions reports whether text equals the stored unit's text as this API shows it, that is, ignoring comments and
// formatting.
func (f *fleetAPI) sameOptions(ctx context.Context, old v1.Unit, text string) (bool, error) {
	old.Spec.Hash = unitfile.HashOf(old.Spec.Contents, old.Spec.Hash)
	stored, err := f.reader.text(ctx, &old, map[string]string{})
	return err == nil && unitfile.SameOptions(stored, text), err
}

// fleetSetState asks for a state. "launched" starts a failed unit again, "loaded" stops one that was launched; a state that the unit
// already has is no request to stop what systemd or a person started since.
func (f *fleetAPI) fleetSetState(w http.ResponseWriter, r *http.Request, old v1.Unit, state v1.DesiredState) error {
	anew := state == v1.Launched || state == v1.Loaded && old.Spec.DesiredState == v1.Launched
	if _, err := f.units.request(r.Context(), old.Metadata.Name, state, anew); err != nil {
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
		unit.Spec.DesiredState = v1.Inactive // of new options, too: clients of this API load or launch them afterwards
	}
	if errs := unit.Validate(); len(errs) > 0 {
		return nil, wire.Fail(wire.ReasonBadRequest, "%s", strings.ReplaceAll(errs.Error(), "\n", "; "))
	}
	return unit, nil
}

func (f *fleetAPI) fleetDeleteUnit(w http.ResponseWriter, r *http.Request) error {
	if _, err := f.units.removeUnit(r.Context(), r.PathValue("name")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
