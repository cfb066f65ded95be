package systemd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// transport is a socket with workarounds for godbus 5.1 and systemd 252.
//
// Writing: the end of the authentication is sent together with its last request, as systemd's own clients do, while godbus
// waits for the answer first. The answer then means that systemd has read all of it. Otherwise systemd may read the first
// message together with the end of the authentication and leave it unprocessed until another byte arrives: about every second
// connection would hang.
//
// Reading: until the authentication is over, one byte at a time, because godbus discards what it read too far; then in whole
// messages, because godbus panics if the connection breaks within one. Signals go to signal first, which reports whether it
// has dealt with them.
type transport struct {
	net.Conn
	signal  func(signal) (done bool)
	begun   bool
	in      *bufio.Reader // since begun
	message []byte        // the unread rest of the current message
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
	for len(t.message) == 0 {
		message, err := t.readMessage()
		if err != nil {
			return 0, err
		}
		if s, ok := parseSignal(message); !ok || !t.signal(s) {
			t.message = message
		}
	}
	n := copy(p, t.message)
	t.message = t.message[n:]
	return n, nil
}

// The D-Bus message format: a header of 16 bytes, fields padded to 8 bytes, a body.
const (
	headerLen  = 16
	maxMessage = 128 << 20
)

// readAhead is enough for a few dozen signals at once.
const readAhead = 64 << 10

func byteOrder(message []byte) binary.ByteOrder {
	if message[0] == 'B' {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// messageLen returns the length of the message with that header.
func messageLen(header []byte) uint64 {
	order := byteOrder(header)
	body, fields := uint64(order.Uint32(header[4:])), uint64(order.Uint32(header[12:]))
	return headerLen + (fields+7)&^7 + body
}

func (t *transport) readMessage() ([]byte, error) {
	if t.in == nil {
		t.in = bufio.NewReaderSize(t.Conn, readAhead)
	}
	header := make([]byte, headerLen)
	if _, err := io.ReadFull(t.in, header); err != nil {
		return nil, err
	}
	length := messageLen(header)
	if length > maxMessage {
		return nil, fmt.Errorf("a D-Bus message of %d bytes", length)
	}
	message := append(header, make([]byte, length-headerLen)...)
	if _, err := io.ReadFull(t.in, message[headerLen:]); err != nil {
		return nil, err
	}
	return message, nil
}
