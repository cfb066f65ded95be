package api

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// The rows of an App.
const (
	rowApp = iota
	rowAppStatus
)

func appRows(k keyspace.Keys) []keyRange {
	return []keyRange{rowApp: {prefix: k.Apps().Prefix()}, rowAppStatus: {prefix: k.Status().Prefix()}}
}

// appView joins manifests and statuses.
type appView struct {
	keys   keyspace.Keys
	now    func() time.Time
	apps   map[string]*storedApp
	status map[string]*v1.AppStatus
}

// storedApp is a manifest as far as it could be read; err says why it could not.
type storedApp struct {
	app           wire.App
	uid, revision int64
	err           error
}

func (v *appView) apply(i int, name string, kv store.KV, deleted bool) []string {
	switch {
	case i == rowApp && deleted:
		delete(v.apps, name)
	case i == rowApp:
		v.apps[name] = readApp(name, kv)
	case deleted:
		delete(v.status, name)
	default:
		status, err := v.keys.Status().Decode(kv.Value)
		if err == nil { // otherwise the status controller rewrites it
			v.status[name] = &status
		}
	}
	return []string{name}
}

// readApp reads a stored manifest. An invalid one keeps its text instead of a spec.
func readApp(name string, kv store.KV) *storedApp {
	s := &storedApp{uid: kv.CreateRevision, revision: kv.ModRevision}
	app, err := v1.ParseAppNamed(name, kv.Value)
	if err != nil {
		s.err = err
		app = &v1.App{}
		s.app.Manifest = string(kv.Value)
	}
	s.app.App = *app
	s.app.TypeMeta = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindApp}
	s.app.Metadata.Name = name
	s.app.Metadata.UID, s.app.Metadata.ResourceVersion = identity(kv)
	return s
}

// object returns the app. A manifest that cannot be read is shown as not accepted, even before the status controller
// has said so.
func (v *appView) object(name string) (*wire.App, bool) {
	s, ok := v.apps[name]
	if !ok {
		return nil, false
	}
	app := s.app
	if status := v.status[name]; status != nil && status.Of(s.uid) {
		app.Status = status
	}
	if s.err != nil && (app.Status == nil || app.Status.ObservedRevision != s.revision) {
		status := v1.AppStatus{}
		if app.Status != nil {
			status = *app.Status
			status.Conditions = slices.Clone(status.Conditions)
		}
		status.ObservedRevision = s.revision
		status.Conditions = v1.SetCondition(status.Conditions, v1.Condition{
			Type: v1.Accepted, Status: v1.ConditionFalse, ObservedRevision: s.revision,
			Reason: v1.ReasonInvalidManifest, Message: oneLine(s.err),
		}, v.now().UTC().Truncate(time.Second))
		app.Status = &status
	}
	if app.Status != nil {
		status, summary := *app.Status, instance.Summarize(app.Status)
		status.Summary = &summary
		app.Status = &status
	}
	return &app, true
}

func (v *appView) names() []string { return slices.Sorted(maps.Keys(v.apps)) }

func (v *appView) forget(name string) { delete(v.apps, name) }

// identity returns the UID and resourceVersion of a key, taken from etcd's revisions.
func identity(kv store.KV) (uid, resourceVersion string) {
	return strconv.FormatInt(kv.CreateRevision, 10), strconv.FormatInt(kv.ModRevision, 10)
}

// revisionOf is the inverse of identity; 0 for an empty string.
func revisionOf(uid string) int64 {
	revision, err := strconv.ParseInt(uid, 10, 64)
	if err != nil {
		return 0
	}
	return revision
}

// oneLine returns the error's summary on one line.
func oneLine(err error) string { return strings.ReplaceAll(v1.Summary(err), "\n", "; ") }

// causes returns the faults of a manifest in the form of the API.
func causes(err error) []wire.Cause {
	var errs v1.ManifestErrors
	if !errors.As(err, &errs) {
		return []wire.Cause{{Message: err.Error()}}
	}
	out := make([]wire.Cause, len(errs))
	for i, e := range errs {
		out[i] = wire.Cause{Field: e.Field, Line: e.Line, Message: e.Message, More: e.More}
	}
	return out
}
