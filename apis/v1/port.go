package v1

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// HostPort is a port on the machine: a number, or "auto".
type HostPort int32

// HostPortAuto is the value "auto": the scheduler assigns a free port of the machine.
const HostPortAuto HostPort = -1

// The variables that tell an instance its assigned ports.
const (
	// VariablePort is the first one.
	VariablePort = "PORT"
	// variablePorts is followed by the port's name.
	variablePorts = "PORT_"
	// PortsDir has a file for each unit with assigned ports, named after the unit: the EnvironmentFile= with their variables, which
	// fleetd writes before it starts the unit.
	PortsDir = "%t/fleet/ports"
)

// PortVariable is the variable of the assigned port of that name: PORT_HTTP_ADMIN for http-admin.
func PortVariable(name string) string {
	return variablePorts + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// IsAuto reports whether the scheduler assigns the port.
func (p HostPort) IsAuto() bool { return p == HostPortAuto }

// String is the value as it is written.
func (p HostPort) String() string {
	if p.IsAuto() {
		return "auto"
	}
	return strconv.Itoa(int(p))
}

// MarshalJSON writes a number, or "auto".
func (p HostPort) MarshalJSON() ([]byte, error) {
	if p.IsAuto() {
		return []byte(`"auto"`), nil
	}
	return []byte(p.String()), nil
}

// UnmarshalJSON reads a number, or "auto".
func (p *HostPort) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err == nil && text == HostPortAuto.String() {
		*p = HostPortAuto
		return nil
	}
	n, err := strconv.ParseInt(string(data), 10, 64)
	switch {
	case err == nil && (n < 0 || n > 65535):
		return fmt.Errorf("%d is not a valid port: use a number from 1 to 65535", n)
	case err != nil:
		return fmt.Errorf("%s is neither a port nor auto: use a number from 1 to 65535, or auto for any free port", shorten(string(data), 40))
	}
	*p = HostPort(n)
	return nil
}

// AutoPorts are the names of the ports that the scheduler assigns, in the order of the manifest.
func (s *AppSpec) AutoPorts() (names []string) {
	for _, p := range s.Ports {
		if p.HostPort.IsAuto() {
			names = append(names, p.Name)
		}
	}
	return names
}
