package fake

import (
	"testing"

	"github.com/fleet-starter/fleet/internal/container/containertest"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// machine is a machine of the model, as containertest sees one.
type machine struct {
	*Runtime
}

func (m machine) Image(tag string) unitfile.Image {
	return unitfile.Image{Runtime: unitfile.RuntimeDocker, Name: "reg:5000/contract:" + tag}
}
func (m machine) Push(tag string)         { m.Registry.Push(m.Image(tag).Name) }
func (m machine) SetAway(away bool)       { m.fault(Away, away) }
func (m machine) SetHanging(hanging bool) { m.fault(Hangs, hanging) }

func (m machine) fault(fault Fault, is bool) {
	if !is {
		fault = None
	}
	m.Registry.Break("reg:5000/", fault)
}

func (m machine) Kept(tag string) string {
	if n := m.Runtime.Image(m.Image(tag).Name); n != 0 {
		return string(rune('a' + n))
	}
	return ""
}

func (m machine) Run(name, unit, on string, ends bool) (id string) {
	id = m.Runtime.Run(name, unit, on)
	if ends {
		m.Exit(id)
	}
	return id
}

func TestContract(t *testing.T) {
	containertest.Test(t, func(*testing.T) containertest.Machine {
		return machine{&Runtime{Name: unitfile.RuntimeDocker, Registry: new(Registry)}}
	})
}
