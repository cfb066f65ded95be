package api

import (
	"net/http"
	"strings"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// showStatusText answers what a unit's process says of itself now. It is never stored: a service may say something else every moment.
func (l *unitOnMachine) showStatusText(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if _, err := checkUnitName(name); err != nil {
		return err
	}
	return l.onItsMachine(w, r, name, onMachine{path: "statustext", none: "has no status", advice: "run systemctl status " + name + " there",
		here: func() error {
			if l.statusText == nil {
				return wire.Fail(wire.ReasonElsewhere, "fleetd cannot ask systemd here: run systemctl status %s on machine %s", name, l.machineID)
			}
			text, err := l.statusText(r.Context(), name)
			if err != nil {
				return wire.Fail(wire.ReasonUnavailable, "%v", err)
			}
			text = last([]string{plain(strings.ReplaceAll(text, "\n", " "))})
			return writeJSON(w, http.StatusOK, wire.UnitStatusText{Unit: name, Machine: l.machineID, StatusText: text})
		}})
}
