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
		if _, tried, known := s.condition(); tried {
			require.True(t, known)
		}
	})
}
