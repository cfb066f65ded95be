package keyspace

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// MachineAddresses is Machines for routers, which need only the addresses.
func (k Keys) MachineAddresses() Collection[v1.MachineAddress] {
	machines := k.Machines()
	return Collection[v1.MachineAddress]{prefix: machines.prefix, names: machines.names, leased: machines.leased,
		encode: func(v1.MachineAddress) ([]byte, error) { return nil, errReadOnly }, decode: decodeMachineAddress}
}

var errReadOnly = errors.New("a machine address is read-only: write the whole machine")

// decodeMachineAddress decodes only the address of a machine.
func decodeMachineAddress(data []byte) (v1.MachineAddress, error) {
	machine, err := decodeJSON[struct {
		Spec struct{ Address, Endpoint string }
	}](data)
	if err != nil {
		return v1.MachineAddress{}, err
	}
	address, err := netip.ParseAddr(machine.Spec.Address)
	if err != nil {
		return v1.MachineAddress{}, err
	}
	port := machine.Spec.Endpoint[strings.LastIndex(machine.Spec.Endpoint, ":")+1:]
	number, _ := strconv.ParseUint(strings.TrimRight(port, "/"), 10, 16) // 0: it does not listen on TCP
	return v1.MachineAddress{Address: address.Unmap(), APIPort: int(number)}, nil
}
