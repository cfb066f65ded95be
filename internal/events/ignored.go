package events

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"golang.org/x/time/rate"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// ignoredEvery is how often an ignored key is reported when there are many. The log has them all.
const ignoredEvery = time.Minute

// ignored is which ignored keys a process has reported.
type ignored struct {
	limit *rate.Limiter
	told  map[string]bool
}

func newIgnored(atOnce int) ignored {
	return ignored{limit: rate.NewLimiter(rate.Every(ignoredEvery), atOnce), told: map[string]bool{}}
}

// Ignored records that a key below one of fleet's prefixes is foreign, or that its value cannot be read. It is written once
// for each revision of the key while the event is kept, no matter which process saw it first.
func (r *Recorder) Ignored(key string, revision int64, reason, why string) {
	if r == nil {
		return
	}
	s := r.sink
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", revision, key))
	once := hex.EncodeToString(sum[:8])
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ignored.told[once] || !s.ignored.limit.Allow() {
		return
	}
	event := v1.Event{
		Time: time.Now().UTC(), Kind: v1.KindKey, Name: cut(key), Type: v1.EventWarning, Reason: reason,
		Message: cut(fmt.Sprintf("revision %d: %s", revision, why)), Source: r.source, Machine: s.opts.Machine,
	}
	if !s.enqueue(event, once) {
		return
	}
	if len(s.ignored.told) >= maxRecent {
		clear(s.ignored.told)
	}
	s.ignored.told[once] = true
}

// withoutKnown drops what another process, or an earlier run of this one, has written already.
func (w *writer) withoutKnown(ctx context.Context, entries []entry) ([]entry, error) {
	asked := map[string]bool{}
	for _, e := range entries {
		if e.once != "" {
			asked[e.once] = true
		}
	}
	if len(asked) == 0 {
		return entries, nil
	}
	known := map[string]bool{}
	_, err := store.ListAll(ctx, w.store, w.keys.Events().Prefix(), store.ListOptions{KeysOnly: true}, func(kv store.KV) error {
		if id := kv.Key[strings.LastIndexByte(kv.Key, '-')+1:]; asked[id] {
			known[id] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var fresh []entry
	for _, e := range entries {
		if e.once == "" || !known[e.once] {
			fresh = append(fresh, e)
		}
	}
	return fresh, nil
}
