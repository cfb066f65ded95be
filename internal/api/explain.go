package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// unitExplainer answers why units are where they are.
type unitExplainer struct {
	reader *pastReader
	// explain makes the scheduler's plans; nil: there is none here.
	explain func(ctx context.Context, units []string, machine string) (why []v1.Explanation, missed []string, err error)
	leader  *leader
}

// explainUnit explains one unit; ?machine= asks why it is not there.
func (e *unitExplainer) explainUnit(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	unit, err := e.reader.units.read(r.Context(), name)
	if err != nil {
		return err
	}
	machine, err := e.machine(r.Context(), r.URL.Query().Get("machine"))
	if err != nil {
		return err
	}
	return e.answer(w, r, []*v1.Unit{unit}, machine)
}

// explainApp explains the units of an app.
func (e *unitExplainer) explainApp(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if _, err := e.reader.apps.read(r.Context(), name); err != nil {
		return err
	}
	var units []*v1.Unit
	rows := e.reader.keys.Units()
	if err := e.reader.apps.scan(r.Context(), rows.Key(name), store.ListOptions{}, func(kv store.KV) bool {
		unit, err := rows.Decode(kv.Value)
		if unit.Metadata.Name, _ = rows.Name(kv.Key); err == nil && unit.Metadata.Owner == name {
			units = append(units, &unit)
		}
		return true
	}); err != nil {
		return err
	}
	return e.answer(w, r, units, "")
}

// machine returns the ID of the present machine that begins as given.
func (e *unitExplainer) machine(ctx context.Context, prefix string) (string, error) {
	if prefix == "" {
		return "", nil
	}
	var found []string
	rows := e.reader.keys.Machines()
	if err := e.reader.apps.scan(ctx, rows.Key(prefix), store.ListOptions{KeysOnly: true}, func(kv store.KV) bool {
		id, _ := rows.Name(kv.Key)
		found = append(found, id)
		return true
	}); err != nil {
		return "", err
	}
	switch {
	case len(found) == 0:
		return "", wire.Fail(wire.ReasonNotFound, "machine %s is not present: fleetctl list-machines shows those that are", prefix)
	case len(found) > 1 && found[0] != prefix:
		return "", wire.Fail(wire.ReasonBadRequest, "%s is the beginning of several machines' IDs: %s", prefix, strings.Join(found, ", "))
	}
	return found[0], nil
}

func (e *unitExplainer) answer(w http.ResponseWriter, r *http.Request, units []*v1.Unit, machine string) error {
	answer, doubt, err := e.leader.ask(r, "", nil)
	switch {
	case err != nil:
		return err
	case answer != nil:
		return answer.write(w)
	case e.explain == nil:
		return wire.Fail(wire.ReasonElsewhere, "this fleetd has no scheduler: ask that of another machine")
	}
	var names []string
	inactive := map[string]bool{}
	for _, u := range units {
		if inactive[u.Metadata.Name] = u.Spec.DesiredState == v1.Inactive; !inactive[u.Metadata.Name] {
			names = append(names, u.Metadata.Name)
		}
	}
	found, missed, err := e.explain(r.Context(), names, machine)
	if err != nil {
		return err
	}
	warn(w, doubt, missed)
	list := wire.List[v1.Explanation]{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: "ExplanationList"}, Items: []v1.Explanation{}}
	o := origins{reader: e.reader, apps: map[string]*storedManifest{}, files: map[string]*unitfile.FleetTemplate{}}
	for _, u := range units {
		why := v1.Explanation{Unit: u.Metadata.Name, Message: "its desired state is inactive: it has no machine"}
		if i := slices.IndexFunc(found, func(x v1.Explanation) bool { return x.Unit == u.Metadata.Name }); i >= 0 {
			why = found[i]
		} else if !inactive[u.Metadata.Name] {
			why.Message = "it is no longer stored"
		}
		for i := range why.Constraints {
			if err := o.add(r.Context(), &why.Constraints[i]); err != nil {
				return err
			}
		}
		for i := range why.Changes {
			if err := o.add(r.Context(), &why.Changes[i].Constraint); err != nil {
				return err
			}
		}
		list.Items = append(list.Items, why)
	}
	return writeJSON(w, http.StatusOK, list)
}

// origins finds where constraints are written. What several units have in common is read once.
type origins struct {
	reader *pastReader
	apps   map[string]*storedManifest
	files  map[string]*unitfile.FleetTemplate
}

type storedManifest struct {
	app  *v1.App
	text []byte
}

// add says where a constraint is written, as far as that is known.
func (o *origins) add(ctx context.Context, c *v1.Constraint) error {
	if c.Unit == "" {
		return nil
	}
	keys := o.reader.keys
	kv, ok, _, err := o.reader.store.Get(ctx, keys.Units().Key(c.Unit))
	if err != nil || !ok {
		return err
	}
	unit, err := keys.Units().Decode(kv.Value)
	if err != nil {
		return nil // it is explained by what it was
	}
	unit.Metadata.Name = c.Unit
	if unit.Metadata.Owner == "" {
		return o.addFile(ctx, c, &unit)
	}
	manifest, err := o.manifest(ctx, unit.Metadata.Owner)
	if err != nil || manifest == nil {
		return err
	}
	c.Object = "app/" + unit.Metadata.Owner
	c.Field, c.Line = manifest.app.Origin(manifest.text, *c)
	return nil
}

// manifest returns an app's manifest or, if that is not valid, the one of its last revision; nil if neither is there.
func (o *origins) manifest(ctx context.Context, name string) (*storedManifest, error) {
	if m, known := o.apps[name]; known {
		return m, nil
	}
	p, err := o.reader.past(ctx, name)
	if err != nil {
		return nil, err
	}
	texts := [][]byte{p.app.Value}
	if n := len(p.revisions); n > 0 {
		texts = append(texts, []byte(p.revisions[n-1].Manifest))
	}
	o.apps[name] = nil
	for _, text := range texts {
		if app, err := v1.ParseAppNamed(name, text); err == nil {
			o.apps[name] = &storedManifest{app, text}
			break
		}
	}
	return o.apps[name], nil
}

func (o *origins) addFile(ctx context.Context, c *v1.Constraint, unit *v1.Unit) error {
	text, err := o.reader.text(ctx, unit, map[string]string{})
	if err != nil {
		return err
	}
	if o.files[text] == nil {
		file, err := unitfile.Parse(text)
		if err != nil {
			return nil
		}
		o.files[text] = unitfile.ParseFleetTemplate(file)
	}
	if name, err := unitfile.ParseName(c.Unit); err == nil {
		c.Object, c.Line = "unit/"+c.Unit, o.files[text].Line(name, c.Option, c.Value)
	}
	return nil
}
