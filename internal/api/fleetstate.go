package api

import (
	"context"
	"net/http"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// fleetUnitState is a unit's state on one machine, in the fleet v1 API. Hash is the SHA-1 of the unit file.
type fleetUnitState struct {
	Name        string `json:"name"`
	Hash        string `json:"hash"`
	MachineID   string `json:"machineID"`
	LoadState   string `json:"systemdLoadState"`
	ActiveState string `json:"systemdActiveState"`
	SubState    string `json:"systemdSubState"`
}

// fleetStates lists states, filtered by ?machineID= and ?unitName=.
func (f *fleetAPI) fleetStates(w http.ResponseWriter, r *http.Request) error {
	match, err := f.reader.states.filter(r.URL.Query())
	if err != nil {
		return err
	}
	live, err := f.liveMachines(r.Context())
	if err != nil {
		return err
	}
	q, err := fleetPage(&f.reader.states, r, f.limit, func(s *wire.InstanceState) bool { return live[s.Machine] && match(s) })
	if err != nil {
		return err
	}
	v := f.reader.states.view()
	revision, next, err := f.reader.states.load(r.Context(), v, q)
	if err != nil {
		return err
	}
	var page struct {
		States        []fleetUnitState `json:"states,omitempty"`
		NextPageToken string           `json:"nextPageToken,omitempty"`
	}
	page.NextPageToken = fleetAfter(revision, next)
	hashes := map[string]string{}
	for _, name := range v.names() {
		state, _ := v.object(name)
		shown, err := f.toFleetState(r.Context(), state.Machine, state.Unit, &state.State, hashes)
		if err != nil {
			return err
		}
		page.States = append(page.States, shown)
	}
	return writeJSON(w, http.StatusOK, page)
}

// liveMachines are the IDs of the machines that are present. What an absent one reported last may no longer be so.
func (f *fleetAPI) liveMachines(ctx context.Context) (map[string]bool, error) {
	live, prefix := map[string]bool{}, f.reader.keys.Machines().Prefix()
	err := f.reader.machines.scan(ctx, prefix, store.ListOptions{}, func(kv store.KV) bool {
		live[strings.TrimPrefix(kv.Key, prefix)] = kv.Lease != 0
		return true
	})
	return live, err
}

// fleetState answers with one unit's state, from the first machine that reports it.
func (f *fleetAPI) fleetState(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	unit, err := f.reader.units.read(r.Context(), name)
	if err != nil {
		return err
	}
	for _, m := range unit.Status.Machines {
		if m.State != nil {
			shown, err := f.toFleetState(r.Context(), m.Machine, name, m.State, map[string]string{})
			if err != nil {
				return err
			}
			return writeJSON(w, http.StatusOK, shown)
		}
	}
	return wire.Fail(wire.ReasonNotFound, "unit state does not exist")
}

// toFleetState converts a state and replaces the stored SHA-256 of the file by its SHA-1; hashes caches the SHA-1s
// already computed.
func (f *fleetAPI) toFleetState(ctx context.Context, machine, unit string, state *v1.UnitState, hashes map[string]string) (fleetUnitState, error) {
	hash, ok := hashes[state.Hash]
	if !ok && state.Hash != "" {
		kv, exists, _, err := f.reader.store.Get(ctx, f.reader.keys.UnitFiles().Key(state.Hash))
		if err != nil {
			return fleetUnitState{}, err
		}
		if exists {
			hash = unitfile.FleetHash(string(kv.Value))
		}
		hashes[state.Hash] = hash
	}
	return fleetUnitState{Name: unit, Hash: hash, MachineID: machine,
		LoadState: state.LoadState, ActiveState: state.ActiveState, SubState: state.SubState}, nil
}
