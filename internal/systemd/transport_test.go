package systemd

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"
)

// TestBrokenWithinAMessage cuts a connection at every byte of a message: godbus must return an error, not panic.
func TestBrokenWithinAMessage(t *testing.T) {
	signal := []byte{'l', 4, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 1, 1, 'o', 0, 1, 0, 0, 0, '/', 0, 0, 0, 0, 0, 0, 0}
	for cut := range len(signal) {
		here, there := net.Pipe()
		go func() {
			there.Write(signal[:cut])
			there.Close()
		}()
		_, err := dbus.DecodeMessage(&transport{Conn: here, begun: true, signal: ignored})
		require.Truef(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%d bytes: %v", cut, err)
		here.Close()
	}
}

func ignored(signal) bool { return false }

func TestMessageTooLong(t *testing.T) {
	here, there := net.Pipe()
	go there.Write([]byte{'l', 4, 1, 1, 255, 255, 255, 255, 1, 0, 0, 0, 16, 0, 0, 0})
	_, err := (&transport{Conn: here, begun: true, signal: ignored}).Read(make([]byte, 16))
	require.ErrorContains(t, err, "4294967327 bytes")
	here.Close()
	there.Close()
}
