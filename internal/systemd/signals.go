package systemd

import (
	"bytes"
	"encoding/binary"

	"github.com/godbus/dbus/v5"
)

// A private connection gets all of the manager's signals, and a started service alone changes dozens of properties, several
// times. Decoding them took more of fleetd's processor time than everything else when many units started. So the transport
// reads what matters from the raw message, and godbus never sees the signals of propertiesChanged and unused.

const propertiesChanged = "PropertiesChanged"

// unused are the manager's signals that mean nothing here.
var unused = map[string]bool{"UnitNew": true, "JobNew": true, "UnitFilesChanged": true, "StartupFinished": true}

// signal is a D-Bus signal, with an undecoded body.
type signal struct {
	order        binary.ByteOrder
	path, member string
	body         []byte
}

// parseSignal returns the signal in a whole message; ok is false for any other message.
func parseSignal(message []byte) (s signal, ok bool) {
	if len(message) < headerLen || message[1] != byte(dbus.TypeSignal) {
		return s, false
	}
	s.order = byteOrder(message)
	fields := int(s.order.Uint32(message[12:]))
	end := headerLen + align(fields, 8)
	if fields > len(message) || end > len(message) {
		return s, false
	}
	s.body = message[end:]
	r := reader{order: s.order, data: message[:headerLen+fields], at: headerLen}
	for r.skipTo(8); r.at < len(r.data); r.skipTo(8) {
		code := dbus.HeaderField(r.byte())
		signature := r.signature()
		var text string
		switch signature {
		case "s", "o":
			text = r.string()
		case "g":
			text = r.signature()
		case "u":
			r.uint32()
		default:
			return s, false
		}
		switch code {
		case dbus.FieldPath:
			s.path = text
		case dbus.FieldMember:
			s.member = text
		}
	}
	return s, !r.short
}

// iface returns the first argument of PropertiesChanged.
func (s signal) iface() string {
	r := reader{order: s.order, data: s.body}
	return r.string()
}

// property returns the position of a changed property's value in the body, by the property's name and type: a name and what
// surrounds it contain zeros, so they are in no string.
func (s signal) property(name, signature string) (at int, ok bool) {
	pattern := make([]byte, 4, 4+len(name)+2+len(signature)+1)
	s.order.PutUint32(pattern, uint32(len(name)))
	pattern = append(append(pattern, name...), 0, byte(len(signature)))
	pattern = append(append(pattern, signature...), 0)
	at = bytes.Index(s.body, pattern)
	return at + len(pattern), at >= 0
}

// condition returns whether the unit's conditions were met when they were last checked, and whether they ever were. known is
// false if the signal does not say.
func (s signal) condition() (met, tried, known bool) {
	at, there := s.property("ConditionResult", "b")
	if !there {
		return false, false, false
	}
	r := reader{order: s.order, data: s.body, at: at}
	r.skipTo(4)
	met, known = r.uint32() != 0, !r.short
	if at, there := s.property("ConditionTimestamp", "t"); there {
		r := reader{order: s.order, data: s.body, at: at}
		tried = r.uint64() != 0
	}
	return met, tried, known
}

// heard is what the last two signals about a service said: each change sends one about the service and then one about the unit,
// before systemd answers another call. A service that runs need not be asked about.
type heard struct {
	result, activeState, subState string
	restarts                      uint32
	invocationID                  []byte
	since                         uint64
	short                         bool // they left something out, as another version of systemd may
}

// heardOfService is what the first one said.
func heardOfService(s signal) *heard {
	h := &heard{}
	s.value(&h.short, "Result", "s", func(r *reader) { h.result = r.string() })
	s.value(&h.short, "NRestarts", "u", func(r *reader) { h.restarts = r.uint32() })
	return h
}

// ofUnit adds what the second one said.
func (h *heard) ofUnit(s signal) {
	s.value(&h.short, "ActiveState", "s", func(r *reader) { h.activeState = r.string() })
	s.value(&h.short, "SubState", "s", func(r *reader) { h.subState = r.string() })
	s.value(&h.short, "InvocationID", "ay", func(r *reader) { h.invocationID = bytes.Clone(r.bytes(int(r.uint32()))) })
	s.value(&h.short, "StateChangeTimestamp", "t", func(r *reader) { h.since = r.uint64() })
}

// value reads a changed property. short is set where there is none.
func (s signal) value(short *bool, name, signature string, read func(*reader)) {
	at, there := s.property(name, signature)
	if !there {
		*short = true
		return
	}
	r := &reader{order: s.order, data: s.body, at: at}
	read(r)
	*short = *short || r.short
}

// reader reads values of a D-Bus message. It returns zero values past the end, and is short then.
type reader struct {
	order binary.ByteOrder
	data  []byte
	at    int
	short bool
}

func align(n, to int) int { return (n + to - 1) / to * to }

func (r *reader) skipTo(boundary int) { r.at = align(r.at, boundary) }

func (r *reader) bytes(n int) []byte {
	if n < 0 || r.at > len(r.data) || n > len(r.data)-r.at {
		r.short, r.at = true, len(r.data)
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at]
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	r.skipTo(4)
	if b := r.bytes(4); b != nil {
		return r.order.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	r.skipTo(8)
	if b := r.bytes(8); b != nil {
		return r.order.Uint64(b)
	}
	return 0
}

// string reads a string or an object path.
func (r *reader) string() string {
	text := r.bytes(int(r.uint32()))
	r.bytes(1) // its final zero
	return string(text)
}

func (r *reader) signature() string {
	text := r.bytes(int(r.byte()))
	r.bytes(1)
	return string(text)
}
