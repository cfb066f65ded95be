package api

import (
	"context"
	"encoding/json"
	"net/http"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// machineWriter changes the configuration of machines.
type machineWriter struct {
	*writer
	keys   keyspace.Keys
	reader *reader
}

// patchMachine merges the body into the machine's configuration (RFC 7386): null removes a key.
func (m *machineWriter) patchMachine(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var patch configPatch
	if err := strictJSON(body, &patch); err != nil {
		return wire.Fail(wire.ReasonBadRequest, `%v: write a patch such as {"cordoned": true, "drain": false, "metadata": {"zone": "a", "old": null}}`, err)
	}
	answer, err := m.patch(r.Context(), r.PathValue("name"), patch, flag(r.URL.Query().Get("dryRun")))
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

func (m *machineWriter) patch(ctx context.Context, name string, patch configPatch, dryRun bool) (*wire.Status, error) {
	key := m.keys.MachineConfigs().Key(name)
	return m.write(ctx, write{
		what: "machine/" + name, key: key, dryRun: dryRun,
		change: func(kv store.KV, exists bool) ([]store.Op, error) {
			if !exists {
				known, err := m.present(ctx, name)
				if err != nil {
					return nil, err
				}
				if !known {
					return nil, m.reader.machines.notFound(name)
				}
			}
			return patch.apply(m.keys, key, kv, exists)
		},
	})
}

// known reports whether the machine is present, configured or has units. The name of one that is not is most likely a typo.
func (m *machineWriter) known(ctx context.Context, name string) (bool, error) {
	_, configured, _, err := m.store.Get(ctx, m.keys.MachineConfigs().Key(name))
	if err != nil || configured {
		return configured, err
	}
	return m.present(ctx, name)
}

// present reports whether the machine is present or has units.
func (m *machineWriter) present(ctx context.Context, name string) (bool, error) {
	kv, present, _, err := m.store.Get(ctx, m.keys.Machines().Key(name))
	if err != nil || present && kv.Lease != 0 {
		return err == nil, err
	}
	units, err := m.store.List(ctx, m.keys.PlacementsOf(name).Prefix(), store.ListOptions{Limit: 1, KeysOnly: true})
	return err == nil && len(units.KVs) > 0, err
}

// configPatch is a v1.MachineConfig whose fields are all optional.
type configPatch struct {
	Cordoned *bool              `json:"cordoned"`
	Drain    *bool              `json:"drain"`
	Metadata map[string]*string `json:"metadata"`
}

func (p configPatch) apply(keys keyspace.Keys, key string, kv store.KV, exists bool) ([]store.Op, error) {
	var config v1.MachineConfig
	if exists {
		var err error
		if config, err = keys.MachineConfigs().Decode(kv.Value); err != nil {
			return nil, wire.Fail(wire.ReasonInternal, "the stored value of %s cannot be read: %v", kv.Key, err)
		}
	}
	before, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	if p.Cordoned != nil {
		config.Cordoned = *p.Cordoned
	}
	if p.Drain != nil {
		config.Drain = *p.Drain
	}
	for key, value := range p.Metadata {
		if config.Metadata == nil {
			config.Metadata = map[string]string{}
		}
		if value == nil {
			delete(config.Metadata, key)
		} else {
			config.Metadata[key] = *value
		}
	}
	after, err := keys.MachineConfigs().Encode(config)
	if err != nil || string(before) == string(after) {
		return nil, err
	}
	return []store.Op{{Key: key, Value: after}}, nil
}
