package api

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/time/rate"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

const (
	// hooksPerSecond is how many webhooks one fleetd answers: each costs a read of etcd before it is known who sent it.
	hooksPerSecond = 20
	// hookEvery is how often webhooks have a repository looked at: more of them, or replayed ones, ask for nothing more.
	hookEvery = time.Second
	// maxHookSecret is the largest file of a secret, in bytes.
	maxHookSecret = 4 << 10
)

// hooks answers the webhooks of Git servers. What is in one counts for nothing but its signature: it only has the leader look at the
// repository.
type hooks struct {
	*sourceWriter
	limit *rate.Limiter
}

func newHooks(w *sourceWriter) *hooks {
	return &hooks{sourceWriter: w, limit: rate.NewLimiter(hooksPerSecond, hooksPerSecond)}
}

// postHook answers POST /hooks/<source>.
func (h *hooks) postHook(w http.ResponseWriter, r *http.Request) error {
	if !h.limit.AllowN(h.now(), 1) {
		return wire.Fail(wire.ReasonTooManyRequests, "more than %d webhooks in a second: nothing is lost, the repository is looked at anyway", hooksPerSecond)
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	source, err := h.apps.reader.sources.read(r.Context(), r.PathValue("name"))
	if err != nil || source.Spec.Webhook == nil { // the same answer, for those who try names
		return wire.Fail(wire.ReasonNotFound, "no source of that name takes webhooks: see spec.webhook")
	}
	secret, err := hookSecret(source.Spec.Webhook.SecretFile)
	if err != nil {
		h.log.Error(err, "a webhook cannot be checked", "reason", wire.ReasonInternal, "source", source.Metadata.Name)
		return wire.Fail(wire.ReasonInternal, "this machine cannot read the file of spec.webhook.secretFile")
	}
	if !signed(r.Header, body, secret) {
		h.log.Info("refusing a webhook", "reason", wire.ReasonForbidden, "source", source.Metadata.Name, "from", clientOf(r))
		return wire.Fail(wire.ReasonForbidden, "the signature is missing or wrong: the secret of the server and that of spec.webhook.secretFile have to be the same")
	}
	answer, err := again(func() (*wire.Status, error) { return h.ask(r, source.Metadata.Name) })
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

// ask has the leader look at the repository, unless it was asked just now.
func (h *hooks) ask(r *http.Request, name string) (*wire.Status, error) {
	return h.storeWish(r, name, wire.SourceRequest{Action: wire.Sync}, func(wish v1.SourceWish) (v1.SourceWish, string, error) {
		now := h.now().UTC()
		if asked, err := time.Parse(time.RFC3339Nano, wish.RequestedAt); err == nil && now.Sub(asked) < hookEvery && !now.Before(asked) {
			return wish, "is looked at already", nil
		}
		wish.RequestedAt = now.Format(time.RFC3339Nano)
		return wish, "is looked at now", nil
	})
}

func hookSecret(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxHookSecret))
	secret := bytes.TrimSpace(data)
	if err == nil && len(secret) == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	return secret, err
}

// signed reports whether a webhook has the secret: as an HMAC of its body (GitHub, Gitea, Forgejo), or as a token (GitLab).
func signed(header http.Header, body, secret []byte) bool {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	want := mac.Sum(nil)
	for _, name := range []string{"X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature"} {
		got, err := hex.DecodeString(strings.TrimPrefix(header.Get(name), "sha256="))
		if err == nil && len(got) > 0 {
			return hmac.Equal(got, want)
		}
	}
	token := header.Get("X-Gitlab-Token")
	return token != "" && subtle.ConstantTimeCompare([]byte(token), secret) == 1
}
