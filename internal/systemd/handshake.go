package systemd

import (
	"bytes"
	"net"
)

// handshake sends the end of the D-Bus authentication together with its last request, as systemd's own clients do, where
// godbus sends it after the answer. Then the answer says that systemd has read all of it. Otherwise the first message may
// reach systemd's buffer in one read with the end of the authentication, and there it lies until another byte comes
// (seen with systemd 252): about every second connection would hang.
type handshake struct {
	net.Conn
	begun bool
}

var begin = []byte("BEGIN\r\n")

// Write implements io.Writer.
func (h *handshake) Write(p []byte) (int, error) {
	switch {
	case h.begun:
	case bytes.HasPrefix(p, []byte("DATA")):
		n, err := h.Conn.Write(append(bytes.Clone(p), begin...))
		return min(n, len(p)), err
	case bytes.Equal(p, begin):
		h.begun = true
		return len(p), nil
	}
	return h.Conn.Write(p)
}
