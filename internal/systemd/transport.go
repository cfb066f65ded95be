package systemd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// transport is a socket as godbus 5.1 and systemd 252 need it to be.
//
// Written: the end of the authentication goes out together with its last request, as systemd's own clients do it, where
// godbus waits for the answer first. So the answer says that systemd has read all of it. Otherwise the first message may
// reach systemd in one read with the end of the authentication, and there it lies until another byte comes: about every
// second connection would hang.
//
// Read: bytes come one by one until the authentication is over, for godbus throws away what it read too far, and then in
// whole messages, for godbus panics on a connection that breaks within one.
type transport struct {
	net.Conn
	begun   bool
	message []byte // what is not handed out yet of the message at hand
}

var begin = []byte("BEGIN\r\n")

// Write implements io.Writer.
func (t *transport) Write(p []byte) (int, error) {
	switch {
	case t.begun:
	case bytes.HasPrefix(p, []byte("DATA")):
		n, err := t.Conn.Write(append(bytes.Clone(p), begin...))
		return min(n, len(p)), err
	case bytes.Equal(p, begin):
		t.begun = true // godbus starts its reader after this
		return len(p), nil
	}
	return t.Conn.Write(p)
}

// Read implements io.Reader.
func (t *transport) Read(p []byte) (int, error) {
	if !t.begun {
		return t.Conn.Read(p[:min(1, len(p))])
	}
	if len(t.message) == 0 {
		if err := t.readMessage(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.message)
	t.message = t.message[n:]
	return n, nil
}

// The D-Bus specification's message format: a header of 16 bytes, fields padded to 8 bytes, a body.
const (
	headerLen  = 16
	maxMessage = 128 << 20
)

func (t *transport) readMessage() error {
	header := make([]byte, headerLen)
	if _, err := io.ReadFull(t.Conn, header); err != nil {
		return err
	}
	var order binary.ByteOrder = binary.LittleEndian
	if header[0] == 'B' {
		order = binary.BigEndian
	}
	body, fields := uint64(order.Uint32(header[4:])), uint64(order.Uint32(header[12:]))
	length := headerLen + (fields+7)&^7 + body
	if length > maxMessage {
		return fmt.Errorf("a D-Bus message of %d bytes", length)
	}
	message := append(header, make([]byte, length-headerLen)...)
	if _, err := io.ReadFull(t.Conn, message[headerLen:]); err != nil {
		return err
	}
	t.message = message
	return nil
}
