package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/atomicfile"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// texts fetches unit files by hash: from memory, from the copy on disk, from the store.
type texts struct {
	store   store.Interface
	keys    keyspace.Keys
	layout  layout.Layout
	log     logr.Logger
	known   map[string]*text
	missing map[string]*missing
	// relations are the units' relations, with the hash they were read from.
	relations map[string]relationsOf
}

// text is one unit file as systemd is given it.
type text struct {
	original string
	file     *unitfile.File
	lifted   string
	fileHash string
	onDisk   bool
}

type missing struct {
	why   string
	retry store.Backoff
	next  time.Time
}

type relationsOf struct {
	hash string
	Relations
	image unitfile.Image
}

func newTexts(o Options) *texts {
	return &texts{store: o.Store, keys: o.Keys, layout: o.Layout, log: o.Log,
		known: map[string]*text{}, missing: map[string]*missing{}, relations: map[string]relationsOf{}}
}

// of returns the placements' texts and the units' relations.
func (t *texts) of(ctx context.Context, placements map[string]v1.Placement) (map[string]Text, map[string]Relations) {
	found := map[string]Text{}
	away := false
	for _, name := range slices.Sorted(maps.Keys(placements)) {
		for _, hash := range hashesOf(placements[name]) {
			if _, ok := found[hash]; !ok {
				found[hash] = t.get(ctx, hash, &away)
			}
		}
	}
	relations := make(map[string]Relations, len(placements))
	for name, pl := range placements {
		if known := t.known[pl.Hash]; known != nil {
			relations[name] = t.relate(name, pl.Hash, known)
		}
	}
	for name := range t.relations {
		if _, ok := placements[name]; !ok {
			delete(t.relations, name)
		}
	}
	return found, relations
}

// hashesOf are the texts that a placement names: first its own, then that of its next start. One of a unit that is about to be
// moved here has only the latter.
func hashesOf(pl v1.Placement) []string {
	switch {
	case pl.Next.Hash == "" || pl.Next.Hash == pl.Hash:
		return []string{pl.Hash}
	case pl.Hash == "" && pl.DesiredState == v1.Inactive:
		return []string{pl.Next.Hash}
	}
	return []string{pl.Hash, pl.Next.Hash}
}

// images returns the images that the placements' texts name, of those that are known.
func (t *texts) images(placements map[string]v1.Placement) map[string]Images {
	found := map[string]Images{}
	for name, pl := range placements {
		var images Images
		if r := t.relations[name]; r.hash == pl.Hash {
			images.Now = r.image
		}
		if known := t.known[pl.Next.Hash]; pl.Next.Hash == pl.Hash {
			images.Next = images.Now
		} else if known != nil {
			if parsed, err := unitfile.ParseName(name); err == nil {
				images.Next = imageOf(known.file, parsed)
			}
		}
		if images != (Images{}) {
			found[name] = images
		}
	}
	return found
}

// imageOf is the image that a file names. What is wrong with its section was refused when it was placed.
func imageOf(f *unitfile.File, name unitfile.Name) unitfile.Image {
	fleet, _ := unitfile.ParseFleet(f, name)
	return fleet.Pulls()
}

func (t *texts) relate(name, hash string, known *text) Relations {
	if r, ok := t.relations[name]; ok && r.hash == hash {
		return r.Relations
	}
	parsed, err := unitfile.ParseName(name)
	if err != nil {
		return Relations{} // systemd will report it
	}
	r := RelationsOf(known.file, parsed)
	fleet, _ := unitfile.ParseFleet(known.file, parsed)
	r.Conflicts, r.Isolates = fleet.Conflicts, fleet.OnPartition == unitfile.PartitionStop
	t.relations[name] = relationsOf{hash, r, fleet.Pulls()}
	return r
}

// get returns one text. away is set once the store does not answer: further requests would only time out.
func (t *texts) get(ctx context.Context, hash string, away *bool) Text {
	if known := t.known[hash]; known != nil {
		return Text{FileHash: known.fileHash}
	}
	m := t.missing[hash]
	if m == nil {
		m = &missing{retry: store.Backoff{First: 200 * time.Millisecond, Max: 30 * time.Second}}
		t.missing[hash] = m
	}
	if now := time.Now(); now.Before(m.next) {
		return Text{Missing: m.why}
	}
	known, err := t.fetch(ctx, hash, away)
	if err != nil {
		if m.why != err.Error() {
			t.log.Info("Unit file is missing", "hash", hash, "reason", err.Error())
		}
		m.why, m.next = err.Error(), time.Now().Add(m.retry.Next())
		return Text{Missing: m.why}
	}
	delete(t.missing, hash)
	t.known[hash] = known
	return Text{FileHash: known.fileHash}
}

func (t *texts) fetch(ctx context.Context, hash string, away *bool) (*text, error) {
	if !validHash(hash) {
		return nil, fmt.Errorf("the placement's hash %q is not a hexadecimal SHA-256", hash)
	}
	if data, err := os.ReadFile(t.layout.UnitFile(hash)); err == nil && unitfile.Hash(string(data)) == hash {
		known, err := newText(string(data))
		if err == nil {
			known.onDisk = true
		}
		return known, err
	}
	if *away {
		return nil, errAway
	}
	kv, ok, _, err := t.store.Get(ctx, t.keys.UnitFiles().Key(hash))
	switch {
	case errors.Is(err, store.ErrUnavailable):
		*away = true
		return nil, errAway
	case err != nil:
		return nil, fmt.Errorf("reading its unit file from etcd: %w", err)
	case !ok:
		return nil, fmt.Errorf("its unit file is not in etcd (%s)", t.keys.UnitFiles().Key(hash))
	case unitfile.Hash(string(kv.Value)) != hash:
		return nil, fmt.Errorf("its unit file in etcd (%s) is not the text with that hash", kv.Key)
	}
	return newText(string(kv.Value))
}

var errAway = errors.New("its unit file is not on this machine and etcd cannot be reached")

func newText(original string) (*text, error) {
	f, err := unitfile.Parse(original)
	if err != nil {
		return nil, fmt.Errorf("systemd would refuse its unit file: %w", err)
	}
	lifted := f.Lifted()
	return &text{original: original, file: f, lifted: lifted, fileHash: unitfile.Hash(lifted)}, nil
}

// retryIn is when to ask again for the first missing text; 0 for never.
func (t *texts) retryIn(now time.Time) (after time.Duration) {
	for _, m := range t.missing {
		after = earliest(after, max(m.next.Sub(now), time.Millisecond))
	}
	return after
}

// save copies new texts to disk and deletes, there and in memory, those that no placement uses.
func (t *texts) save(placements map[string]v1.Placement) error {
	named := make(map[string]bool, len(placements))
	for _, pl := range placements {
		for _, hash := range hashesOf(pl) {
			named[hash] = true
		}
	}
	var errs []error
	for hash, known := range t.known {
		switch {
		case !named[hash]:
			delete(t.known, hash)
			if err := os.Remove(t.layout.UnitFile(hash)); err != nil && !os.IsNotExist(err) {
				errs = append(errs, err)
			}
		case !known.onDisk:
			err := atomicfile.Replace(t.layout.UnitFile(hash), []byte(known.original), 0o644, atomicfile.Power)
			known.onDisk = err == nil
			errs = append(errs, err)
		}
	}
	for hash := range t.missing {
		if !named[hash] {
			delete(t.missing, hash)
		}
	}
	return errors.Join(errs...)
}
