package api

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestHooks: a webhook in the form of each server asks for a look; one that is not signed, replayed or part of a flood for nothing.
func TestHooks(t *testing.T) {
	keys, s := keyspace.New(""), memstore.New(memstore.Options{})
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("geheim\n"), 0o600))
	put := func(name, more string) {
		text := fmt.Sprintf("apiVersion: fleet/v1\nkind: Source\nmetadata: {name: %s}\nspec:\n  git: {url: https://example.com/a.git}\n%s", name, more)
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: keys.Sources().Key(name), Value: []byte(text)}}})
		require.NoError(t, err)
	}
	put("prod", fmt.Sprintf("  webhook: {secretFile: %q}\n", secret))
	put("closed", "")
	put("lost", "  webhook: {secretFile: /nowhere/secret}\n")
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	server := New(Options{Store: s, Keys: keys, MachineID: "m1", Log: logr.Discard(), Now: func() time.Time { return now }})
	body := []byte(`{"ref": "refs/heads/main"}`)
	mac := hmac.New(sha256.New, []byte("geheim"))
	mac.Write(body)
	sum := hex.EncodeToString(mac.Sum(nil))
	asked := func() string {
		kv, _, _, err := s.Get(t.Context(), keys.SourceWishes().Key("prod"))
		require.NoError(t, err)
		wish, _ := keys.SourceWishes().Decode(kv.Value)
		return wish.RequestedAt
	}
	post := func(name, header, value string) int {
		r := httptest.NewRequest(http.MethodPost, "/hooks/"+name, bytes.NewReader(body))
		if header != "" {
			r.Header.Set(header, value)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		require.NotContains(t, w.Body.String(), "geheim")
		return w.Code
	}
	for _, c := range []struct{ header, value string }{{"X-Hub-Signature-256", "sha256=" + sum}, {"X-Gitea-Signature", sum}, {"X-Gitlab-Token", "geheim"}} {
		now = now.Add(time.Minute)
		require.Equal(t, http.StatusOK, post("prod", c.header, c.value), c.header)
		require.Equal(t, now.Format(time.RFC3339Nano), asked(), c.header)
	}
	was := asked()
	now = now.Add(500 * time.Millisecond)
	require.Equal(t, http.StatusOK, post("prod", "X-Gitea-Signature", sum))
	require.Equal(t, was, asked(), "a replay, or a second one at once")
	now = now.Add(time.Minute)
	for _, c := range []struct{ name, header, value string }{
		{"prod", "", ""}, {"prod", "X-Hub-Signature-256", "sha256=" + hex.EncodeToString(make([]byte, 32))}, {"prod", "X-Hub-Signature-256", sum[:10]}, {"prod", "X-Hub-Signature-256", "sha256="},
		{"prod", "X-Gitlab-Token", "geheim2"}, {"prod", "X-Gitlab-Token", ""},
	} {
		require.Equal(t, http.StatusForbidden, post(c.name, c.header, c.value), "%v", c)
	}
	require.Equal(t, http.StatusNotFound, post("closed", "X-Gitea-Signature", sum))
	require.Equal(t, http.StatusNotFound, post("nothing", "X-Gitea-Signature", sum))
	require.Equal(t, http.StatusInternalServerError, post("lost", "X-Gitea-Signature", sum))
	require.Equal(t, was, asked())
	now = now.Add(time.Minute)
	for range hooksPerSecond {
		require.Equal(t, http.StatusForbidden, post("prod", "", ""))
	}
	require.Equal(t, http.StatusTooManyRequests, post("prod", "X-Gitea-Signature", sum))
	now = now.Add(time.Second)
	require.Equal(t, http.StatusOK, post("prod", "X-Gitea-Signature", sum))
}
