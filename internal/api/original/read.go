package original

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/facts"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// page is a page of any of the original's listings.
type page struct {
	Units         []unit
	States        []state
	Machines      []machine
	NextPageToken string
}

type unit struct {
	Name         string          `json:"name"`
	Options      []option        `json:"options,omitempty"`
	DesiredState v1.DesiredState `json:"desiredState,omitempty"`
	CurrentState v1.DesiredState `json:"currentState,omitempty"`
	MachineID    string          `json:"machineID,omitempty"`
}

type option struct {
	Section string `json:"section"`
	Name    string `json:"name"`
	Value   string `json:"value"`
}

type state struct {
	Name, Hash, MachineID                                 string
	SystemdLoadState, SystemdActiveState, SystemdSubState string
}

type machine struct {
	ID, PrimaryIP string
	Metadata      map[string]string
}

// pages reads all pages of a listing.
func (s *server) pages(ctx context.Context, path string, q url.Values) (all page, err error) {
	query := url.Values{}
	for key, values := range q {
		query[key] = values
	}
	for {
		var p page
		if err := s.call(ctx, http.MethodGet, path, query, nil, &p); err != nil {
			return all, err
		}
		all.Units, all.States, all.Machines = append(all.Units, p.Units...), append(all.States, p.States...), append(all.Machines, p.Machines...)
		if p.NextPageToken == "" {
			return all, nil
		}
		query.Set("nextPageToken", p.NextPageToken)
	}
}

// units reads one unit, or all if name is empty, with what is known of them.
func (s *server) units(ctx context.Context, name string, q url.Values) ([]v1.Unit, error) {
	var found []unit
	filter := url.Values{}
	if name == "" {
		all, err := s.pages(ctx, "units", nil)
		if err != nil {
			return nil, err
		}
		found = all.Units
	} else {
		var one unit
		if err := s.call(ctx, http.MethodGet, "units/"+url.PathEscape(name), nil, nil, &one); err != nil {
			return nil, err
		}
		found = []unit{one}
		filter.Set("unitName", name)
	}
	if !selects(q) {
		return nil, nil
	}
	states, err := s.pages(ctx, "state", filter)
	if err != nil {
		return nil, err
	}
	machines, err := s.pages(ctx, "machines", nil)
	if err != nil {
		return nil, err
	}
	addresses, on := map[string]string{}, map[string][]state{}
	for _, m := range machines.Machines {
		addresses[m.ID] = m.PrimaryIP
	}
	for _, one := range states.States {
		on[one.Name] = append(on[one.Name], one)
	}
	shown := make([]v1.Unit, len(found))
	for i, u := range found {
		if shown[i], err = u.show(on[u.Name], addresses, q); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(shown, func(a, b v1.Unit) int { return cmp.Compare(a.Metadata.Name, b.Metadata.Name) })
	return shown, nil
}

// selects reports whether a query selects what has no labels and no owner, as all units of the original.
func selects(q url.Values) bool {
	selector, err := labels.Parse(q.Get("labelSelector"))
	return q.Get("owner") == "" && (err != nil || selector.Empty() || selector.Matches(labels.Set{}))
}

// text returns the unit's file: the original keeps its options, but no comments.
func (u unit) text() (string, error) {
	options := make([]unitfile.Option, len(u.Options))
	for i, o := range u.Options {
		options[i] = unitfile.Option{Section: o.Section, Name: o.Name, Value: o.Value}
	}
	file, err := unitfile.FromOptions(options)
	if err != nil {
		return "", err
	}
	return file.String(), nil
}

// show makes an object of a unit. Its placement is that of currentState, and so is what its machine answered.
func (u unit) show(on []state, addresses map[string]string, q url.Values) (v1.Unit, error) {
	text, err := u.text()
	if err != nil {
		return v1.Unit{}, err
	}
	file := facts.Read(text).Of(u.Name)
	shown := v1.Unit{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit}, Metadata: v1.ObjectMeta{Name: u.Name},
		Spec: v1.UnitSpec{Hash: unitfile.Hash(text), DesiredState: u.DesiredState}, Status: &v1.UnitStatus{},
	}
	if q.Get("contents") == "true" {
		shown.Spec.Contents = text
	}
	if q.Get("file") == "true" {
		shown.Status.File = file
	}
	machines := map[string]*v1.UnitOnMachine{}
	if u.MachineID != "" {
		machines[u.MachineID] = &v1.UnitOnMachine{}
	}
	current := u.CurrentState
	if file.Global {
		current = u.DesiredState
	}
	for _, told := range on {
		if machines[told.MachineID] == nil {
			machines[told.MachineID] = &v1.UnitOnMachine{}
		}
		reported := &v1.UnitState{LoadState: told.SystemdLoadState, ActiveState: told.SystemdActiveState, SubState: told.SystemdSubState, Hash: told.Hash, DesiredState: current}
		if told.Hash == file.SHA1 {
			reported.Hash = shown.Spec.Hash
		}
		machines[told.MachineID].State = reported
	}
	for id, m := range machines {
		m.Machine, m.Address = id, addresses[id]
		if id == u.MachineID || file.Global {
			m.Placement = &v1.Placement{Hash: shown.Spec.Hash, DesiredState: u.DesiredState}
		}
		shown.Status.Machines = append(shown.Status.Machines, *m)
	}
	slices.SortFunc(shown.Status.Machines, func(a, b v1.UnitOnMachine) int { return cmp.Compare(a.Machine, b.Machine) })
	if m := machines[u.MachineID]; m != nil {
		shown.Status.Machine, shown.Status.State = u.MachineID, m.State
	}
	instance.Show(&shown, time.Now())
	return shown, nil
}

func (s *server) listUnits(w http.ResponseWriter, r *http.Request) error {
	return serveList(w, r, v1.KindUnit, func(u v1.Unit) string { return u.Metadata.Name }, func(ctx context.Context) ([]v1.Unit, error) {
		return s.units(ctx, "", r.URL.Query())
	})
}

func (s *server) getUnit(w http.ResponseWriter, r *http.Request) error {
	q, name := r.URL.Query(), r.PathValue("name")
	if q.Get("watch") == "true" {
		return watch(w, r, func(u v1.Unit) string { return u.Metadata.Name }, func(ctx context.Context) ([]v1.Unit, error) {
			found, err := s.units(ctx, name, q)
			if isNotFound(err) {
				err = nil // a watch of what does not exist waits for it
			}
			return found, err
		})
	}
	found, err := s.units(r.Context(), name, q)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, found[0])
}

// getFile answers with the text that the options make.
func (s *server) getFile(w http.ResponseWriter, r *http.Request) error {
	var u unit
	if err := s.call(r.Context(), http.MethodGet, "units/"+url.PathEscape(r.PathValue("name")), nil, nil, &u); err != nil {
		return err
	}
	text, err := u.text()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", wire.Text)
	_, err = w.Write([]byte(text))
	return err
}

func (s *server) listStates(w http.ResponseWriter, r *http.Request) error {
	filter := url.Values{}
	for _, key := range []string{"machineID", "unitName"} {
		if value := r.URL.Query().Get(key); value != "" {
			filter.Set(key, value)
		}
	}
	return serveList(w, r, "State", func(s wire.InstanceState) string { return s.Machine + "/" + s.Unit }, func(ctx context.Context) ([]wire.InstanceState, error) {
		all, err := s.pages(ctx, "state", filter)
		shown := make([]wire.InstanceState, len(all.States))
		for i, one := range all.States {
			shown[i] = wire.InstanceState{Machine: one.MachineID, Unit: one.Name, State: v1.UnitState{
				LoadState: one.SystemdLoadState, ActiveState: one.SystemdActiveState, SubState: one.SystemdSubState, Hash: one.Hash}}
		}
		return shown, err
	})
}

func (s *server) machines(ctx context.Context) ([]v1.Machine, error) {
	all, err := s.pages(ctx, "machines", nil)
	shown := make([]v1.Machine, len(all.Machines))
	for i, m := range all.Machines {
		shown[i] = v1.Machine{
			TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindMachine}, Metadata: v1.ObjectMeta{Name: m.ID},
			Spec: v1.MachineSpec{Address: m.PrimaryIP, Metadata: m.Metadata}, Status: &v1.MachineStatus{State: "ready"},
		}
	}
	return shown, err
}

func (s *server) listMachines(w http.ResponseWriter, r *http.Request) error {
	return serveList(w, r, v1.KindMachine, func(m v1.Machine) string { return m.Metadata.Name }, s.machines)
}

func (s *server) getMachine(w http.ResponseWriter, r *http.Request) error {
	all, err := s.machines(r.Context())
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	for _, m := range all {
		if m.Metadata.Name == name {
			return writeJSON(w, http.StatusOK, m)
		}
	}
	return wire.Fail(wire.ReasonNotFound, "machine/%s does not exist", name)
}
