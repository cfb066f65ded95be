package v1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/fleet-starter/fleet/internal/unitfile"
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

// Assignment are the automatic ports of a unit on its machine, as "http=20017 admin=20018": the first one is PORT. In JSON they are
// an object, in the same order.
type Assignment string

// With adds a port.
func (a Assignment) With(name string, port int) Assignment {
	if a != "" {
		a += " "
	}
	return a + Assignment(name+"="+strconv.Itoa(port))
}

// All are the ports, by name.
func (a Assignment) All(yield func(name string, port int) bool) {
	for word := range strings.FieldsSeq(string(a)) {
		name, text, _ := strings.Cut(word, "=")
		if port, err := strconv.Atoi(text); err == nil && !yield(name, port) {
			return
		}
	}
}

// Get returns the port of that name; 0 if there is none.
func (a Assignment) Get(name string) int {
	for n, port := range a.All {
		if n == name {
			return port
		}
	}
	return 0
}

// Has reports whether the port is one of them.
func (a Assignment) Has(port int) bool {
	for _, p := range a.All {
		if p == port {
			return true
		}
	}
	return false
}

// Without are the ports that others have not.
func (a Assignment) Without(others Assignment) (rest Assignment) {
	for name, port := range a.All {
		if !others.Has(port) {
			rest = rest.With(name, port)
		}
	}
	return rest
}

// Environment is the file with the unit's variables: see PortsDir.
func (a Assignment) Environment() string {
	var b strings.Builder
	for name, port := range a.All {
		if b.Len() == 0 {
			fmt.Fprintf(&b, "%s=%d\n", VariablePort, port)
		}
		fmt.Fprintf(&b, "%s=%d\n", PortVariable(name), port)
	}
	return b.String()
}

// MarshalJSON writes an object.
func (a Assignment) MarshalJSON() ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for name, port := range a.All {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%d", name, port)
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

// UnmarshalJSON reads an object of valid names and ports.
func (a *Assignment) UnmarshalJSON(data []byte) error {
	var ports map[string]int
	if err := json.Unmarshal(data, &ports); err != nil {
		return err
	}
	*a = ""
	d := json.NewDecoder(bytes.NewReader(data)) // for the order
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			continue
		}
		if port := ports[name]; !unitfile.IsPortName(name) || port < 1 || port > 65535 {
			return fmt.Errorf("%q: %d is not the name and number of a port", name, port)
		}
		if a.Get(name) == 0 {
			*a = a.With(name, ports[name])
		}
	}
}

// PortRange are the ports of a machine that the scheduler assigns. The zero value is none. In JSON it is text: "20000-29999".
type PortRange struct{ First, Last int }

// DefaultPortRange lies below the ports that Linux gives to outgoing connections: net.ipv4.ip_local_port_range, 32768 to 60999.
var DefaultPortRange = PortRange{20000, 29999}

// ParsePortRange reads a range such as 20000-29999.
func ParsePortRange(text string) (PortRange, error) {
	first, last, ok := strings.Cut(text, "-")
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if !ok || errA != nil || errB != nil || a == 0 || b < a {
		return PortRange{}, fmt.Errorf("%q is not a range of ports, such as %s", text, DefaultPortRange)
	}
	return PortRange{int(a), int(b)}, nil
}

// Size is the number of ports.
func (r PortRange) Size() int {
	if r == (PortRange{}) {
		return 0
	}
	return r.Last - r.First + 1
}

// IsZero reports whether there is none.
func (r PortRange) IsZero() bool { return r == PortRange{} }

func (r PortRange) String() string {
	if r.IsZero() {
		return ""
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// MarshalText writes the range as text.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads it.
func (r *PortRange) UnmarshalText(text []byte) (err error) {
	*r = PortRange{}
	if len(text) > 0 {
		*r, err = ParsePortRange(string(text))
	}
	return err
}
