package sim

import (
	"encoding/json"
	"maps"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/store"
)

// An upgrade, machine by machine: in some clusters every fleetd is of an older version at first. Side by side with newer ones, it
// writes unit files another way, and knows nothing of some fields of the states.
func init() {
	maps.Copy(faults, map[string]func(w *world, s step){"upgrade": func(w *world, s step) { w.pick(s.A).upgrade() }})
}

// upgrades are the steps of an upgrade that begins then.
func upgrades(machines int, first time.Duration, pause func() time.Duration) []step {
	var steps []step
	for i := range uint64(machines) {
		steps = append(steps, step{At: first, Do: "upgrade", A: i})
		first += pause()
	}
	return steps
}

// upgrade replaces the programs and restarts fleetd.
func (h *host) upgrade() {
	if !h.old.Swap(false) {
		return
	}
	h.w.tell(h.name, "fleetd is upgraded")
	h.w.check.inTrouble(h)
	h.termFleetd()
}

// generate is how the machine's fleetd writes unit files; nil: as this one.
func (h *host) generate() func(name string, spec *v1.AppSpec) (generate.Files, error) {
	if !h.old.Load() {
		return nil
	}
	return func(name string, spec *v1.AppSpec) (generate.Files, error) {
		files, err := generate.Units(name, spec)
		files.Unit = handwriting(files.Unit)
		files.Sidekick = handwriting(files.Sidekick)
		return files, err
	}
}

// handwriting is an older version's: what it says is the same.
func handwriting(text string) string {
	if text == "" {
		return ""
	}
	return "# written by an older fleetd\n" + text
}

// newFields are what an older version does not write of states.
var newFields = []string{"restarts", "jobResult", "exitCode", "exitStatus", "output"}

// asWritten is a transaction as that version of fleetd writes it.
func (p *process) asWritten(txn store.Txn) store.Txn {
	if p.kind != kindFleetd || !p.older {
		return txn
	}
	ops := make([]store.Op, len(txn.Ops))
	for i, op := range txn.Ops {
		if ops[i] = op; op.Value != nil && strings.HasPrefix(op.Key, p.w.keys.States().Prefix()) {
			ops[i].Value = without(op.Value, newFields)
		}
	}
	txn.Ops = ops
	return txn
}

func without(value []byte, fields []string) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) != nil {
		return value
	}
	for _, field := range fields {
		delete(object, field)
	}
	return encode(object)
}
