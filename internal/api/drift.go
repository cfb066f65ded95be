package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/change"
	"github.com/fleet-starter/fleet/internal/repository"
)

// drifts compare what is stored with what the commits of sources say. Those are with the leader alone, as are the credentials of the
// repositories.
type drifts struct {
	applier *applier
	leader  *leader
	// committed returns the commit that a source has applied; nil: this fleetd never leads.
	committed func(ctx context.Context, source string) (*repository.Manifests, error)
}

// driftOf answers GET /sources/NAME/diff.
func (d *drifts) driftOf(w http.ResponseWriter, r *http.Request) error {
	source, err := d.applier.apps.reader.sources.read(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	what := "source/" + source.Metadata.Name
	answer, why, err := d.leader.ask(r, "", nil)
	switch {
	case err != nil:
		return err
	case answer != nil:
		return answer.write(w)
	case why != "" || d.committed == nil:
		return wire.Fail(wire.ReasonElsewhere, "%s: only the leader reads the repository: %s", what, cmp.Or(why, "this fleetd never leads"))
	}
	m, err := d.committed(r.Context(), source.Metadata.Name)
	if err != nil {
		return wire.Fail(wire.ReasonConflict, "%s: the commit cannot be read: %s", what, v1.Summary(err))
	}
	diffs, err := d.compare(r.Context(), source, m)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, wire.Drift{Commit: m.Commit, Objects: diffs})
}

// compare returns the objects that are not as in the commit. What the source has given up is left out.
func (d *drifts) compare(ctx context.Context, source *wire.Source, m *repository.Manifests) ([]wire.Diff, error) {
	why, diffs, inCommit := reasons(source), []wire.Diff{}, map[repository.Key]bool{}
	for i := range m.Objects {
		o := &m.Objects[i]
		inCommit[o.Key] = true
		if source.Wish != nil && slices.Contains(source.Wish.Disown, o.String()) {
			continue
		}
		files, err := d.ofObject(ctx, o)
		if err != nil {
			return nil, err
		}
		if len(files) > 0 {
			diffs = append(diffs, wire.Diff{From: "stored", To: o.Place() + ", commit " + m.Commit.Short(), Why: why(o.Key), Files: files})
		}
	}
	if source.Status == nil {
		return diffs, nil
	}
	for _, o := range source.Status.Inventory {
		key := repository.KeyOf(o)
		if inCommit[key] {
			continue
		}
		files, err := d.ofRemoved(ctx, key)
		if err != nil {
			return nil, err
		}
		if len(files) > 0 {
			diffs = append(diffs, wire.Diff{From: "stored", To: "not in commit " + m.Commit.Short(), Why: why(key), Files: files})
		}
	}
	return diffs, nil
}

// reasons says why an object may differ.
func reasons(source *wire.Source) func(repository.Key) string {
	held, always := map[repository.Key]string{}, ""
	if s := source.Status; s != nil {
		for _, o := range s.Inventory {
			held[repository.KeyOf(o)] = o.Held
		}
		if c := v1.FindCondition(s.Conditions, v1.Synced); c != nil && c.Reason == v1.ReasonInvalidManifest {
			always = c.Message
		}
	}
	if source.Spec.Suspend || source.Wish != nil && source.Wish.Suspended {
		always = fmt.Sprintf("source/%s is suspended", source.Metadata.Name)
	}
	return func(key repository.Key) string {
		if why := held[key]; why != "" {
			return why
		}
		return cmp.Or(always, "it is put back at the next pass")
	}
}

// ofObject returns what an apply of the object would change: where only the text differs, such as a comment, that.
func (d *drifts) ofObject(ctx context.Context, o *repository.Object) ([]wire.DiffFile, error) {
	doc, err := d.applier.document(ctx, o.Raw)
	if err != nil {
		return nil, err
	}
	kv, exists, _, err := d.applier.store.Get(ctx, d.applier.key(doc))
	if err != nil {
		return nil, err
	}
	if exists && repository.Hash(kv.Value) == o.Hash {
		return nil, nil
	}
	files, err := d.applier.reader.diffOf(ctx, doc, kv, exists)
	if err != nil || len(files) > 0 {
		return files, err
	}
	return change.Files([]change.Text{{Name: o.String(), Text: string(kv.Value)}}, []change.Text{{Name: o.String(), Text: string(o.Raw)}}), nil
}

// ofRemoved returns what deleting an object would change.
func (d *drifts) ofRemoved(ctx context.Context, key repository.Key) ([]wire.DiffFile, error) {
	doc := &document{kind: key.Kind, name: key.Name}
	kv, exists, _, err := d.applier.store.Get(ctx, d.applier.key(doc))
	if err != nil || !exists {
		return nil, err
	}
	return change.Files([]change.Text{{Name: strings.ToLower(key.Kind) + "/" + key.Name, Text: string(kv.Value)}}, nil), nil
}
