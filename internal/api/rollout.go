package api

import (
	"cmp"
	"fmt"
	"net/http"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

// roller changes how, and to how many instances, apps are rolled out.
type roller struct{ *applier }

// wish reads what a person asks of an app's roll-outs, with its key. One for a deleted app of the same name counts for nothing.
func (r *pastReader) wish(req *http.Request, p *past) (wish v1.RolloutWish, kv store.KV, exists bool, err error) {
	kv, exists, _, err = r.store.Get(req.Context(), r.keys.Rollouts().Key(p.name))
	if err != nil || !exists || kv.ModRevision < p.app.CreateRevision {
		return v1.RolloutWish{}, kv, exists, err
	}
	wish, _ = r.keys.Rollouts().Decode(kv.Value) // an unreadable one is overwritten
	return wish, kv, exists, nil
}

// rollout answers how far the app's newest revision is.
func (r *pastReader) rollout(w http.ResponseWriter, req *http.Request) error {
	p, err := r.present(req)
	if err != nil {
		return err
	}
	wish, _, _, err := r.wish(req, p)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, p.rollout(wish))
}

// present reads the past of an app that is not deleted.
func (r *pastReader) present(req *http.Request) (*past, error) {
	name := req.PathValue("name")
	p, err := r.past(req.Context(), name)
	if err == nil && !p.exists {
		err = r.apps.notFound(name)
	}
	return p, err
}

func (p *past) rollout(wish v1.RolloutWish) wire.Rollout {
	is := wire.Rollout{App: p.name, Outcome: wire.Pending, Paused: wish.Paused}
	if latest := p.latest(); latest != nil {
		is.Revision, is.Before = latest.Number, latest.Before
		is.Outcome, is.Message = p.outcome(len(p.revisions) - 1)
	}
	if outcome, message := p.unaccepted(); outcome != "" {
		is.Outcome, is.Message = outcome, message
	}
	if p.observed() {
		is.Replicas = p.status.Replicas
		if is.Outcome == wire.InProgress && p.status.AcceptedRevision != is.Revision {
			is.Counted = p.status.AcceptedRevision
		}
	} else if is.Outcome != wire.Rejected {
		is.Unobserved, is.Message = true, cmp.Or(is.Message, "the controllers have not looked at the manifest yet")
	}
	return is
}

// observed reports whether the status is that of the manifest and of its revision. What was counted before tells nothing of them.
func (p *past) observed() bool {
	if p.status == nil || p.status.ObservedRevision < p.app.ModRevision {
		return false
	}
	latest := p.latest()
	return latest == nil || latest.Number == p.status.AcceptedRevision ||
		latest.Rejected != nil || latest.OnTrial() || latest.Releasing() // the one before runs
}

func (p *past) latest() *v1.Revision {
	if len(p.revisions) == 0 {
		return nil
	}
	return &p.revisions[len(p.revisions)-1]
}

// changeRollout pauses, resumes or aborts. The wish is stored; the app controller acts on it.
func (a *roller) changeRollout(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var request wire.RolloutRequest
	if err := strictJSON(body, &request); err != nil {
		return wire.Fail(wire.ReasonBadRequest, `%v: write {"action": "pause"}, resume or abort`, err)
	}
	answer, err := again(func() (*wire.Status, error) { return a.changeRolloutOnce(r, request.Action) })
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

func (a *roller) changeRolloutOnce(r *http.Request, action string) (*wire.Status, error) {
	p, err := a.reader.present(r)
	if err != nil {
		return nil, err
	}
	is, kv, exists, err := a.reader.wish(r, p)
	if err != nil {
		return nil, err
	}
	shall, message, err := p.wanted(is, action)
	if err != nil {
		return nil, err
	}
	if shall == is {
		return wire.Done(wire.ReasonUnchanged, "app/%s %s", p.name, message), nil
	}
	op := store.Op{Key: kv.Key, If: condition(kv, exists)}
	if op.Key = a.keys.Rollouts().Key(p.name); shall != (v1.RolloutWish{}) {
		if op.Value, err = a.keys.Rollouts().Encode(shall); err != nil {
			return nil, err
		}
	}
	user, from := caller(r)
	a.log.Info("changing a roll-out", "reason", action, "object", "app/"+p.name, "user", user, "from", from)
	if _, err := a.store.Commit(r.Context(), store.Txn{Ops: []store.Op{op}}); err != nil {
		return nil, err
	}
	return wire.Done(wire.ReasonConfigured, "app/%s %s", p.name, message), nil
}

// wanted is the wish after an action, and what to say of it.
func (p *past) wanted(is v1.RolloutWish, action string) (shall v1.RolloutWish, message string, err error) {
	shall = is
	switch action {
	case wire.Pause:
		shall.Paused, message = true, "paused"
		if is.Paused {
			message = "is paused already"
		}
	case wire.Resume:
		shall.Paused, message = false, "resumed"
		if latest := p.latest(); latest != nil && latest.OnTrial() {
			shall.Resumed, message = latest.Number, fmt.Sprintf("resumed: all instances follow the canary of revision %d", latest.Number)
		}
		if shall == is {
			err = wire.Fail(wire.ReasonConflict, "app/%s is not paused", p.name)
		}
	case wire.Abort:
		if err = p.abortable(); err == nil {
			latest := p.latest()
			shall, message = v1.RolloutWish{Aborted: latest.Number}, fmt.Sprintf("returns from revision %d to %d", latest.Number, latest.Fallback())
		}
	default:
		err = wire.Fail(wire.ReasonBadRequest, "action %q: use pause, resume or abort", action)
	}
	return shall, message, err
}

// abortable is why the newest revision cannot be taken back; nil if it can.
func (p *past) abortable() error {
	latest := p.latest()
	if outcome, _ := p.unaccepted(); latest == nil || outcome != "" {
		return wire.Fail(wire.ReasonConflict, "app/%s: the manifest is no revision (yet), so that there is no roll-out to abort: fleetctl history app/%[1]s", p.name)
	}
	outcome, _ := p.outcome(len(p.revisions) - 1)
	switch {
	case outcome == wire.Rejected:
		return wire.Fail(wire.ReasonConflict, "revision %d of app/%s was taken back already", latest.Number, p.name)
	case latest.Fallback() == 0:
		return wire.Fail(wire.ReasonConflict, "app/%s has no revision before %d to return to: fleetctl delete app %[1]s", p.name, latest.Number)
	case outcome == wire.Complete:
		return wire.Fail(wire.ReasonConflict, "the roll-out of revision %d of app/%s is complete: fleetctl undo app/%[2]s", latest.Number, p.name)
	}
	return nil
}
