package api

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// addContents answers ?contents=true: each unit with its file's text. Units that share a file cost one read.
func (s *Server) addContents(ctx context.Context, q url.Values, units []*v1.Unit) error {
	if !flag(q.Get("contents")) {
		return nil
	}
	texts := map[string]string{}
	for _, unit := range units {
		text, err := s.text(ctx, unit, texts)
		if err != nil {
			return err
		}
		unit.Spec.Contents = text
	}
	return nil
}

// text is the text of a unit's file; texts holds those that were read already.
func (s *Server) text(ctx context.Context, unit *v1.Unit, texts map[string]string) (string, error) {
	hash := unit.Spec.Hash
	if text, ok := texts[hash]; ok || hash == "" {
		return text, nil
	}
	kv, ok, _, err := s.Store.Get(ctx, s.Keys.UnitFiles().Key(hash))
	if err != nil {
		return "", err
	}
	if ok {
		texts[hash] = string(kv.Value)
		return texts[hash], nil
	}
	// Written with etcdctl, and not placed so far: the unit has its text itself.
	kv, _, _, err = s.Store.Get(ctx, s.Keys.Units().Key(unit.Metadata.Name))
	inline, _ := s.Keys.Units().Decode(kv.Value)
	return inline.Spec.Contents, err
}

// putUnit stores a unit that a person wrote, with its file.
func (s *Server) putUnit(w http.ResponseWriter, r *http.Request) error {
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
		return wire.Invalid("unit/"+name, []wire.Cause{{Field: "metadata.name", Message: "the request's path says " + name + ": give both the same name"}})
	}
	want, err := precondition(r, unit.Metadata.ResourceVersion)
	if err != nil {
		return err
	}
	answer, err := s.storeUnit(r.Context(), unit, want, flag(r.URL.Query().Get("dryRun")))
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

// storeUnit writes a unit and its file in one transaction. Units of apps are refused.
func (s *Server) storeUnit(ctx context.Context, unit *v1.Unit, want int64, dryRun bool) (*wire.Status, error) {
	warnings, err := s.checkUnit(ctx, unit)
	if err != nil {
		return nil, err
	}
	name := unit.Metadata.Name
	answer, err := s.write(ctx, write{
		what: "unit/" + name, key: s.Keys.Units().Key(name), want: want, dryRun: dryRun,
		change: func(kv store.KV, exists bool) ([]store.Op, error) {
			old, next := v1.Unit{}, stored(unit)
			if exists {
				old, _ = s.Keys.Units().Decode(kv.Value) // one that cannot be read is replaced
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
			return s.unitOps(next, unit.Spec.Contents)
		},
	})
	if err == nil {
		answer.Warnings = warnings
	}
	return answer, err
}

// checkUnit refuses a unit whose file would not do what it says, and warns where it may not.
func (s *Server) checkUnit(ctx context.Context, unit *v1.Unit) (warnings []wire.Cause, err error) {
	what := "unit/" + unit.Metadata.Name
	name, err := checkUnitName(unit.Metadata.Name)
	if err != nil {
		return nil, err
	}
	if unit.Spec.Contents == "" {
		_, ok, _, err := s.Store.Get(ctx, s.Keys.UnitFiles().Key(unit.Spec.Hash))
		if err == nil && !ok {
			err = wire.Invalid(what, []wire.Cause{{Field: "spec.hash", Message: "no unit file with this hash is stored: give spec.contents"}})
		}
		return nil, err
	}
	faults, warnings := wire.CheckUnitFile(name, unit.Spec.Contents)
	for _, list := range [][]wire.Cause{faults, warnings} {
		for i, c := range list { // the lines are the file's, not the request's
			list[i] = wire.Cause{Field: "spec.contents", Message: c.String()}
		}
	}
	if len(faults) > 0 {
		return nil, wire.Invalid(what, faults)
	}
	return warnings, nil
}

// stored is the unit as it is kept: the file by its hash, nothing that only readers see.
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

// unitOps puts a unit and, where its text was given, its file. The file is put even where it exists: it may be
// collected in this very moment.
func (s *Server) unitOps(unit v1.Unit, contents string) ([]store.Op, error) {
	value, err := s.Keys.Units().Encode(unit)
	if err != nil {
		return nil, err
	}
	ops := []store.Op{{Key: s.Keys.Units().Key(unit.Metadata.Name), Value: value}}
	if contents != "" {
		ops = append(ops, store.Op{Key: s.Keys.UnitFiles().Key(unit.Spec.Hash), Value: []byte(contents)})
	}
	return ops, nil
}

func notOwned(unit v1.Unit, name, advice string) error {
	if unit.Metadata.Owner == "" {
		return nil
	}
	return wire.Fail(wire.ReasonOwned, "unit %s belongs to app/%s, which would write it again: %s", name, unit.Metadata.Owner, advice)
}

func (s *Server) deleteUnit(w http.ResponseWriter, r *http.Request) error {
	want, err := precondition(r, "")
	if err != nil {
		return err
	}
	answer, err := s.removeUnit(r.Context(), r.PathValue("name"), want, flag(r.URL.Query().Get("dryRun")))
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

func (s *Server) removeUnit(ctx context.Context, name string, want int64, dryRun bool) (*wire.Status, error) {
	return s.remove(ctx, write{
		what: "unit/" + name, key: s.Keys.Units().Key(name), want: want, dryRun: dryRun,
		change: func(kv store.KV, _ bool) ([]store.Op, error) {
			unit, _ := s.Keys.Units().Decode(kv.Value)
			return nil, notOwned(unit, name, "fleetctl delete app "+unit.Metadata.Owner+" removes it, fleetctl stop "+name+" stops it")
		},
	})
}

// patchUnit takes {"spec": {"desiredState": ...}} and nothing else.
func (s *Server) patchUnit(w http.ResponseWriter, r *http.Request) error {
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
		return wire.Fail(wire.ReasonBadRequest, `%v: a unit's patch is {"spec": {"desiredState": "launched"}}; PUT changes the rest`, err)
	}
	state := patch.Spec.DesiredState
	return s.setState(state, state == v1.Launched)(w, r)
}

// unitText answers with the unit's file, byte for byte.
func (s *Server) unitText(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	kv, ok, _, err := s.Store.Get(r.Context(), s.Keys.Units().Key(name))
	if err != nil {
		return err
	}
	if !ok {
		return s.units.notFound(name)
	}
	unit, err := s.Keys.Units().Decode(kv.Value)
	if err != nil {
		return wire.Fail(wire.ReasonInternal, "the stored unit %s cannot be read: %v", name, err)
	}
	if unit.Spec.Contents != "" {
		return writeText(w, wire.Text, []byte(unit.Spec.Contents))
	}
	return s.writeUnitFile(w, r, unit.Spec.Hash)
}

// getUnitFile answers with a text by its hash.
func (s *Server) getUnitFile(w http.ResponseWriter, r *http.Request) error {
	return s.writeUnitFile(w, r, r.PathValue("hash"))
}

func (s *Server) writeUnitFile(w http.ResponseWriter, r *http.Request, hash string) error {
	kv, ok, _, err := s.Store.Get(r.Context(), s.Keys.UnitFiles().Key(hash))
	if err != nil {
		return err
	}
	if !ok {
		return wire.Fail(wire.ReasonNotFound, "unitfile/%s does not exist", hash)
	}
	return writeText(w, wire.Text, kv.Value)
}

// listUnitFiles lists the hashes of all texts.
func (s *Server) listUnitFiles(w http.ResponseWriter, r *http.Request) error {
	files := resource[*wire.UnitFile]{
		server: s, kind: "UnitFile", rows: []row{{prefix: s.Keys.UnitFiles().Prefix()}}, keysOnly: true,
		view:      newRowView(func(name string, _ store.KV) (*wire.UnitFile, bool) { return &wire.UnitFile{Hash: name}, true }),
		labels:    func(*wire.UnitFile) map[string]string { return nil },
		tombstone: func(name string) *wire.UnitFile { return &wire.UnitFile{Hash: name} },
	}
	return files.list(w, r)
}

// timestamp is how a request's time is written: two requests differ.
func (s *Server) timestamp() string { return s.Now().UTC().Format(time.RFC3339Nano) }

// strictJSON reads one JSON value without unknown fields.
func strictJSON(data []byte, value any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(value)
}
