package original

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// pollEvery is how often the original is asked for changes: it cannot be watched.
const pollEvery = 250 * time.Millisecond

// serveList answers with a listing or, with ?watch=true, with a stream.
func serveList[T any](w http.ResponseWriter, r *http.Request, kind string, name func(T) string, read func(context.Context) ([]T, error)) error {
	if r.URL.Query().Get("watch") == "true" {
		return watch(w, r, name, read)
	}
	items, err := read(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, wire.List[T]{TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: kind + "List"}, Items: items})
}

// watch streams what changes from one reading to the next, until the client leaves. It begins with all that there is.
func watch[T any](w http.ResponseWriter, r *http.Request, name func(T) string, read func(context.Context) ([]T, error)) error {
	w.Header().Set("Content-Type", wire.JSONLines)
	out, sent, began := json.NewEncoder(w), map[string]string{}, false
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		items, err := read(r.Context())
		switch {
		case err != nil && !began:
			return err
		case err != nil:
			var status *wire.Status
			if !errors.As(err, &status) {
				status = wire.Fail(wire.ReasonUnavailable, "%v", err)
			}
			return out.Encode(wire.Event[*wire.Status]{Type: wire.Error, Object: status})
		}
		if err := send(out, sent, items, name); err != nil {
			return nil // the client has left
		}
		if !began {
			if out.Encode(wire.Event[*T]{Type: wire.Bookmark}) != nil {
				return nil
			}
			began = true
		}
		select {
		case <-r.Context().Done():
			return nil
		case <-ticker.C:
		}
	}
}

// send sends what differs from what was sent.
func send[T any](out *json.Encoder, sent map[string]string, items []T, name func(T) string) error {
	gone := maps.Clone(sent)
	for _, item := range items {
		data, err := json.Marshal(item)
		if err != nil {
			return err
		}
		old, there := sent[name(item)]
		delete(gone, name(item))
		if old == string(data) {
			continue
		}
		sent[name(item)] = string(data)
		event := wire.RawEvent{Type: wire.Added, Object: data}
		if there {
			event.Type = wire.Modified
		}
		if err := out.Encode(event); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(gone)) {
		delete(sent, key)
		if err := out.Encode(wire.RawEvent{Type: wire.Deleted, Object: json.RawMessage(gone[key])}); err != nil {
			return err
		}
	}
	return nil
}

func isNotFound(err error) bool {
	var status *wire.Status
	return errors.As(err, &status) && status.Reason == wire.ReasonNotFound
}
