package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/facts"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// readable is a read-only store.
type readable interface {
	Get(ctx context.Context, key string) (kv store.KV, ok bool, revision int64, err error)
	List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error)
	Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch
}

// reader assembles the API's objects from stored keys.
type reader struct {
	store     readable
	keys      keyspace.Keys
	now       func() time.Time
	apps      resource[*wire.App]
	applies   resource[*wire.Apply]
	sources   resource[*wire.Source]
	units     resource[*v1.Unit]
	machines  resource[*v1.Machine]
	events    resource[*v1.Event]
	states    resource[*wire.InstanceState]
	endpoints resource[*wire.Endpoint]
}

func newReader(o Options) *reader {
	r := &reader{store: o.Store, keys: o.Keys, now: o.Now}
	r.resources()
	return r
}

// getApp answers with the object or, with "Accept: application/yaml", with the stored bytes.
func (r *reader) getApp(w http.ResponseWriter, req *http.Request) error {
	if !strings.Contains(req.Header.Get("Accept"), wire.YAML) {
		return r.apps.get(w, req)
	}
	name := req.PathValue("name")
	kv, ok, _, err := r.store.Get(req.Context(), r.keys.Apps().Key(name))
	if err != nil {
		return err
	}
	if !ok {
		return r.apps.notFound(name)
	}
	w.Header().Set("ETag", strconv.Quote(strconv.FormatInt(kv.ModRevision, 10)))
	return writeText(w, wire.YAML, kv.Value)
}

// appEndpoints lists the announced instances of one app, below the prefix named in its manifest.
func (r *reader) appEndpoints(w http.ResponseWriter, req *http.Request) error {
	name := req.PathValue("name")
	app, err := r.apps.read(req.Context(), name)
	if err != nil {
		return err
	}
	prefix := v1.DefaultAnnouncePrefix
	if app.Spec.Announce != nil && app.Spec.Announce.Prefix != "" {
		prefix = app.Spec.Announce.Prefix
	}
	endpoints := r.endpointsBelow(prefix)
	endpoints.rows[0].below = name + "/"
	return endpoints.list(w, req)
}

// addFile adds each unit's file text for ?contents=true and its parsed options for ?file=true. A file shared by several
// units is read once.
func (r *reader) addFile(ctx context.Context, q url.Values, units []*v1.Unit) error {
	contents, withFacts := flag(q.Get("contents")), flag(q.Get("file"))
	if !contents && !withFacts {
		return nil
	}
	texts, files := map[string]string{}, map[string]*facts.File{}
	for _, unit := range units {
		text, err := r.text(ctx, unit, texts)
		if err != nil {
			return err
		}
		if contents {
			unit.Spec.Contents = text
		}
		if !withFacts {
			continue
		}
		if files[text] == nil {
			files[text] = facts.Read(text)
		}
		unit.Status.File = files[text].Of(unit.Metadata.Name)
	}
	return nil
}

// text returns the text of a unit's file; texts caches those already read.
func (r *reader) text(ctx context.Context, unit *v1.Unit, texts map[string]string) (string, error) {
	hash := unit.Spec.Hash
	if text, ok := texts[hash]; ok || hash == "" {
		return text, nil
	}
	kv, ok, _, err := r.store.Get(ctx, r.keys.UnitFiles().Key(hash))
	if err != nil {
		return "", err
	}
	if ok {
		texts[hash] = string(kv.Value)
		return texts[hash], nil
	}
	// A unit written with etcdctl and not yet placed has its text inline.
	kv, _, _, err = r.store.Get(ctx, r.keys.Units().Key(unit.Metadata.Name))
	inline, _ := r.keys.Units().Decode(kv.Value)
	return inline.Spec.Contents, err
}

// unitText answers with the unit's file, byte for byte.
func (r *reader) unitText(w http.ResponseWriter, req *http.Request) error {
	name := req.PathValue("name")
	kv, ok, _, err := r.store.Get(req.Context(), r.keys.Units().Key(name))
	if err != nil {
		return err
	}
	if !ok {
		return r.units.notFound(name)
	}
	unit, err := r.keys.Units().Decode(kv.Value)
	if err != nil {
		return wire.Fail(wire.ReasonInternal, "the stored unit %s cannot be read: %v", name, err)
	}
	if unit.Spec.Contents != "" {
		return writeText(w, wire.Text, []byte(unit.Spec.Contents))
	}
	return r.writeUnitFile(w, req, unit.Spec.Hash)
}

// getUnitFile answers with the text of a hash.
func (r *reader) getUnitFile(w http.ResponseWriter, req *http.Request) error {
	return r.writeUnitFile(w, req, req.PathValue("hash"))
}

func (r *reader) writeUnitFile(w http.ResponseWriter, req *http.Request, hash string) error {
	kv, ok, _, err := r.store.Get(req.Context(), r.keys.UnitFiles().Key(hash))
	if err != nil {
		return err
	}
	if !ok {
		return wire.Fail(wire.ReasonNotFound, "unitfile/%s does not exist", hash)
	}
	return writeText(w, wire.Text, kv.Value)
}

// listUnitFiles lists the hashes of all texts.
func (r *reader) listUnitFiles(w http.ResponseWriter, req *http.Request) error {
	files := resource[*wire.UnitFile]{
		store: r.store, kind: "UnitFile", rows: []keyRange{{prefix: r.keys.UnitFiles().Prefix()}}, keysOnly: true,
		view:      newRowView(func(name string, _ store.KV) (*wire.UnitFile, bool) { return &wire.UnitFile{Hash: name}, true }),
		labels:    func(*wire.UnitFile) map[string]string { return nil },
		tombstone: func(name string) *wire.UnitFile { return &wire.UnitFile{Hash: name} },
	}
	return files.list(w, req)
}

// machineConfig answers with a machine's configuration, including that of an absent machine.
func (r *reader) machineConfig(w http.ResponseWriter, req *http.Request) error {
	kv, ok, _, err := r.store.Get(req.Context(), r.keys.MachineConfigs().Key(req.PathValue("name")))
	if err != nil {
		return err
	}
	var config v1.MachineConfig
	if c := decoded(r.keys.MachineConfigs(), kv, !ok); c != nil {
		config = *c
	}
	return writeJSON(w, http.StatusOK, config)
}

// endpointsBelow returns the resource of the endpoints announced below a prefix.
func (r *reader) endpointsBelow(prefix string) resource[*wire.Endpoint] {
	c := keyspace.Endpoints(prefix)
	read := func(name string) *wire.Endpoint {
		app, instance, _ := strings.Cut(name, "/")
		unit, machine := v1.UnitOfEndpoint(app, instance)
		return &wire.Endpoint{App: app, Instance: instance, Key: c.Key(name), Unit: unit, Machine: machine}
	}
	return resource[*wire.Endpoint]{
		store: r.store, kind: "Endpoint", rows: []keyRange{{prefix: c.Prefix()}},
		view: newRowView(func(name string, kv store.KV) (*wire.Endpoint, bool) {
			e := read(name)
			e.Address = string(kv.Value)
			return e, true
		}),
		labels:    func(e *wire.Endpoint) map[string]string { return map[string]string{LabelApp: e.App} },
		tombstone: read,
		filter: func(q url.Values) (func(*wire.Endpoint) bool, error) {
			app := q.Get("app")
			return func(e *wire.Endpoint) bool { return app == "" || e.App == app }, nil
		},
	}
}

func (r *reader) readState(name string, kv store.KV) (*wire.InstanceState, bool) {
	state := decoded(r.keys.States(), kv, false)
	if state == nil {
		return nil, false
	}
	at := stateNamed(name)
	at.State = *state
	return at, true
}
