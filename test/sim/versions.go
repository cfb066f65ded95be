package sim

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/store"
)

// Rolling upgrades: in some clusters every fleetd is of an older version at first. It works alongside newer ones, writes unit
// files differently, and does not know some fields of states, units and routers.
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

// generate returns how the machine's fleetd generates unit files; nil: like this version.
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

// handwriting is how an older version writes the same unit file.
func handwriting(text string) string {
	if text == "" {
		return ""
	}
	return "# written by an older fleetd\n" + text
}

// newFields are the fields that an older version neither writes nor reads, by row. If this version writes the same
// information twice for older ones, such as in annotations of units, they only have the old form.
func (w *world) newFields(key string) []string {
	for row, fields := range map[string][]string{
		w.keys.States().Prefix():  {"restarts", "jobResult", "exitCode", "exitStatus", "output"},
		w.keys.Units().Prefix():   {"rollout"},
		w.keys.Routers().Prefix(): {"refusals", "moreRefusals"},
	} {
		if strings.HasPrefix(key, row) {
			return fields
		}
	}
	return nil
}

// knows returns a value as that version of fleetd writes and reads it.
func (p *process) knows(key string, value []byte) []byte {
	if p.kind != kindFleetd || !p.older || value == nil {
		return value
	}
	if fields := p.w.newFields(key); fields != nil {
		return without(value, fields)
	}
	return value
}

// asWritten returns a transaction as that version of fleetd writes it.
func (p *process) asWritten(txn store.Txn) store.Txn {
	txn.Ops = slices.Clone(txn.Ops)
	for i := range txn.Ops {
		txn.Ops[i].Value = p.knows(txn.Ops[i].Key, txn.Ops[i].Value)
	}
	return txn
}

// asRead returns what that version of fleetd reads.
func (p *process) asRead(kvs []store.KV) []store.KV {
	kvs = slices.Clone(kvs)
	for i := range kvs {
		kvs[i].Value = p.knows(kvs[i].Key, kvs[i].Value)
	}
	return kvs
}

// asWatched returns what that version of fleetd receives.
func (p *process) asWatched(batch store.Batch) store.Batch {
	batch.Events = slices.Clone(batch.Events)
	for i := range batch.Events {
		batch.Events[i].Value = p.knows(batch.Events[i].Key, batch.Events[i].Value)
	}
	return batch
}

func without(value []byte, fields []string) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(value, &object) != nil {
		return value
	}
	if !slices.ContainsFunc(fields, func(field string) bool { _, has := object[field]; return has }) {
		return value
	}
	for _, field := range fields {
		delete(object, field)
	}
	return encode(object)
}
