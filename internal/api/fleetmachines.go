package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// fleetMachine is a machine in the fleet v1 API.
type fleetMachine struct {
	ID        string            `json:"id"`
	PrimaryIP string            `json:"primaryIP"`
	Metadata  map[string]string `json:"metadata,omitempty"`
}

func (f *fleetAPI) fleetMachines(w http.ResponseWriter, r *http.Request) error {
	q, err := fleetPage(&f.reader.machines, r, f.limit, everything[*v1.Machine])
	if err != nil {
		return err
	}
	v := f.reader.machines.view()
	revision, next, err := f.reader.machines.load(r.Context(), v, q)
	if err != nil {
		return err
	}
	var page struct {
		Machines      []fleetMachine `json:"machines,omitempty"`
		NextPageToken string         `json:"nextPageToken,omitempty"`
	}
	page.NextPageToken = fleetAfter(revision, next)
	for _, name := range v.names() {
		m, _ := v.object(name)
		page.Machines = append(page.Machines, fleetMachine{ID: name, PrimaryIP: m.Spec.Address, Metadata: wire.Metadata(m)})
	}
	return writeJSON(w, http.StatusOK, page)
}

// fleetMachineOp is one operation of a JSON Patch (RFC 6902) on the list of machines.
type fleetMachineOp struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// metadataPath is the only kind of path that can be patched: /<machine>/metadata/<name>.
var metadataPath = regexp.MustCompile(`^/([^/]+)/metadata/([A-Za-z0-9_.-]+)$`)

// fleetPatchMachines changes the metadata of machines. Nothing is changed unless all operations are valid.
func (f *fleetAPI) fleetPatchMachines(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var ops []fleetMachineOp
	if err := json.Unmarshal(body, &ops); err != nil {
		return wire.Fail(wire.ReasonBadRequest, `%v: write a patch such as [{"op": "add", "path": "/<machine>/metadata/<name>", "value": "<value>"}]`, err)
	}
	changes := make([]machineChange, len(ops))
	for i, op := range ops {
		if changes[i], err = op.change(); err != nil {
			return err
		}
	}
	for _, c := range changes {
		known, err := f.machines.known(r.Context(), c.machine)
		if err != nil {
			return err
		}
		if !known {
			return wire.Fail(wire.ReasonBadRequest, "there is no machine %s", c.machine)
		}
	}
	for _, c := range changes {
		if _, err := f.machines.patch(r.Context(), c.machine, c.configPatch, false); err != nil {
			return err
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// machineChange is a change to one machine's configuration.
type machineChange struct {
	machine string
	configPatch
}

func (op fleetMachineOp) change() (machineChange, error) {
	match := metadataPath.FindStringSubmatch(op.Path)
	if match == nil {
		return machineChange{}, wire.Fail(wire.ReasonBadRequest, "machine metadata path %q is invalid: expect /<machine>/metadata/<name>", op.Path)
	}
	var value string // a machine's own metadata of that name is hidden by an empty value
	switch op.Op {
	case "add", "replace":
		var err error
		if value, err = op.value(); err != nil {
			return machineChange{}, wire.Fail(wire.ReasonBadRequest, "invalid value of %s: %v", op.Path, err)
		}
	case "remove":
	default:
		return machineChange{}, wire.Fail(wire.ReasonBadRequest, "invalid op %q: expect add, remove, or replace", op.Op)
	}
	return machineChange{match[1], configPatch{Metadata: map[string]*string{match[2]: &value}}}, nil
}

// value reads "x", which the original's documentation asks for, and {"value": "x"}, which the original takes.
func (op fleetMachineOp) value() (value string, err error) {
	var object struct {
		Value string `json:"value"`
	}
	if json.Unmarshal(op.Value, &value) != nil {
		if err := json.Unmarshal(op.Value, &object); err != nil {
			return "", errors.New("write a string")
		}
		value = object.Value
	}
	if value == "" {
		return "", errors.New("add and replace require a value")
	}
	return value, nil
}
