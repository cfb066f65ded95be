package systemd

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"
)

// encoded is the message as godbus writes it, with the serial that a message needs.
func encoded(t testing.TB, order binary.ByteOrder, m dbus.Message) []byte {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, m.EncodeTo(&out, order))
	order.PutUint32(out.Bytes()[8:], 7)
	return out.Bytes()
}

func changedSignal(iface string, changed map[string]dbus.Variant) dbus.Message {
	return dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:      dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/systemd1/unit/a_2eservice")),
		dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.DBus.Properties"),
		dbus.FieldMember:    dbus.MakeVariant("PropertiesChanged"),
		dbus.FieldSignature: dbus.MakeVariant(dbus.ParseSignatureMust("sa{sv}as")),
	}, Body: []any{iface, changed, []string{}}}
}

func TestSignalIsReadFromTheRawMessage(t *testing.T) {
	result, tried := "ConditionResult", "ConditionTimestamp"
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, tc := range []struct {
			changed           map[string]dbus.Variant
			met, tried, known bool
		}{
			{map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("active")}, false, false, false},
			{map[string]dbus.Variant{result: dbus.MakeVariant(true)}, true, false, true},
			{map[string]dbus.Variant{result: dbus.MakeVariant(false), "x": dbus.MakeVariant(byte(1))}, false, false, true},
			{map[string]dbus.Variant{result: dbus.MakeVariant(false), tried: dbus.MakeVariant(uint64(1) << 40), "y": dbus.MakeVariant("z")}, false, true, true},
			{map[string]dbus.Variant{result: dbus.MakeVariant(true), tried: dbus.MakeVariant(uint64(5))}, true, true, true},
			{map[string]dbus.Variant{result: dbus.MakeVariant(true), tried: dbus.MakeVariant(uint64(0))}, true, false, true},
			{map[string]dbus.Variant{result: dbus.MakeVariant("not a truth value")}, false, false, false},
			{map[string]dbus.Variant{"StatusText": dbus.MakeVariant(result)}, false, false, false},
		} {
			s, ok := parseSignal(encoded(t, order, changedSignal(unitInterface, tc.changed)))
			require.True(t, ok)
			require.Equal(t, []any{"/org/freedesktop/systemd1/unit/a_2eservice", "PropertiesChanged", unitInterface}, []any{s.path, s.member, s.iface()})
			met, tried, known := s.condition()
			require.Equal(t, []any{tc.met, tc.tried, tc.known}, []any{met, tried, known}, tc.changed)
		}
	}
	reply := dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(uint32(1))}}
	_, ok := parseSignal(encoded(t, binary.LittleEndian, reply))
	require.False(t, ok, "an answer is godbus's")
}

// What units that no call has named do is no hint: a machine has others than fleet's.
func TestHintsAreOfNamedUnits(t *testing.T) {
	hints := 0
	l := newLink(func() { hints++ })
	changed := func(path string) int {
		m := changedSignal(unitInterface, map[string]dbus.Variant{"ActiveState": dbus.MakeVariant("active")})
		m.Headers[dbus.FieldPath] = dbus.MakeVariant(dbus.ObjectPath(path))
		s, ok := parseSignal(encoded(t, binary.LittleEndian, m))
		require.True(t, ok)
		hints = 0
		require.True(t, l.signal(s))
		return hints
	}
	ended := func(unit string) int {
		hints = 0
		l.DeliverSignal("", "", &dbus.Signal{Name: managerInterface + ".JobRemoved",
			Body: []any{uint32(1), dbus.ObjectPath("/org/freedesktop/systemd1/job/1"), unit, "done"}})
		return hints
	}
	const path, real = "/org/freedesktop/systemd1/unit/a_2eservice", "/org/freedesktop/systemd1/unit/real_2eservice"
	require.Equal(t, []int{0, 0}, []int{changed(path), ended("a.service")})
	l.follow([]string{"a.service"})
	require.Equal(t, []int{1, 1}, []int{changed(path), ended("a.service")})
	require.Equal(t, []int{0, 0}, []int{changed(real), ended("real.service")})
	l.followAs([]listed{{Name: "real.service", Path: real}})
	require.Equal(t, []int{1, 1}, []int{changed(real), ended("real.service")}, "a.service is an alias of it")
	l.unfollow([]string{"a.service"})
	require.Equal(t, []int{0, 0}, []int{changed(path), ended("a.service")})
	l.expectJob("a.service")
	require.Equal(t, []int{1, 1}, []int{changed(path), ended("a.service")})
}

// No message makes it panic. (godbus cannot be the measure: it reserves gigabytes for some.)
func FuzzParseSignal(f *testing.F) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		f.Add(encoded(f, order, changedSignal(unitInterface, map[string]dbus.Variant{"ConditionResult": dbus.MakeVariant(true)})))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		s, ok := parseSignal(message)
		if !ok {
			return
		}
		s.iface()
		heardOfService(s).ofUnit(s)
		if _, tried, known := s.condition(); tried {
			require.True(t, known)
		}
	})
}
