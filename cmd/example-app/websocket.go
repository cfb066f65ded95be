package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// The opcodes and close codes of RFC 6455, sections 5.2 and 7.4.1, that an echo needs.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA

	closeNormal      = 1000
	closeGoingAway   = 1001
	closeProtocol    = 1002
	closeInvalidData = 1007
	closeTooBig      = 1009
)

const (
	websocketGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	maxMessage    = 1 << 20
	writeTimeout  = 5 * time.Second
)

// closeError ends a connection with a close code.
type closeError struct {
	code   uint16
	reason string
}

func (e closeError) Error() string { return fmt.Sprintf("%d %s", e.code, e.reason) }

// socket is the server's side of one websocket.
type socket struct {
	conn net.Conn
	r    *bufio.Reader

	mu     sync.Mutex // serializes writes of the echo and the shutdown
	closed bool       // a close frame was sent: nothing may follow it
}

// serveEcho sends every message back, as text or binary as it came.
func (a *app) serveEcho(w http.ResponseWriter, r *http.Request) {
	a.sockets.Add(1) // before the hijack: until then Shutdown waits for this handler
	defer a.sockets.Done()
	s, err := upgrade(w, r)
	if err != nil {
		return
	}
	defer s.conn.Close()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-a.stopped.Done():
			s.goAway()
		case <-done:
		}
	}()
	err = s.echo()
	var c closeError
	if errors.As(err, &c) {
		_ = s.writeClose(c)
	}
}

// upgrade answers the handshake (RFC 6455 section 4.2). It rejects a bad one with an explanation, which it also returns as an
// error.
func upgrade(w http.ResponseWriter, r *http.Request) (*socket, error) {
	refuse := func(status int, reason string) (*socket, error) {
		http.Error(w, reason, status)
		return nil, errors.New(reason)
	}
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		return refuse(http.StatusUpgradeRequired, "this is a websocket: ask with Connection: Upgrade and Upgrade: websocket")
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		w.Header().Set("Sec-WebSocket-Version", "13")
		return refuse(http.StatusUpgradeRequired, "only version 13 is supported")
	}
	key := r.Header.Get("Sec-WebSocket-Key")
	if b, err := base64.StdEncoding.DecodeString(key); err != nil || len(b) != 16 {
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Key is not 16 bytes in base64")
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return refuse(http.StatusInternalServerError, "this connection cannot be upgraded")
	}
	_ = conn.SetDeadline(time.Time{})
	sum := sha1.Sum([]byte(key + websocketGUID))
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\nX-Instance: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), w.Header().Get("X-Instance"))
	if err := rw.Flush(); err != nil {
		conn.Close()
		return nil, err
	}
	return &socket{conn: conn, r: rw.Reader}, nil
}

func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for v := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(v), token) {
				return true
			}
		}
	}
	return false
}

// echo runs until the client closes, breaks the protocol or disconnects.
func (s *socket) echo() error {
	var message []byte
	var op byte // of the message being read; 0 between messages
	for {
		fin, frameOp, payload, err := s.readFrame(maxMessage - len(message))
		if err != nil {
			return err
		}
		switch {
		case frameOp == opClose:
			return clientClose(payload)
		case frameOp == opPing:
			if err := s.writeFrame(opPong, payload); err != nil {
				return err
			}
			continue
		case frameOp == opPong:
			continue
		case (frameOp == opContinuation) != (op != 0):
			return closeError{closeProtocol, "unexpected continuation"}
		case frameOp != opContinuation:
			op = frameOp
		}
		message = append(message, payload...)
		if !fin {
			continue
		}
		if op == opText && !utf8.Valid(message) {
			return closeError{closeInvalidData, "text is not UTF-8"}
		}
		if err := s.writeFrame(op, message); err != nil {
			return err
		}
		message, op = nil, 0
	}
}

// clientClose returns the answer to a close frame: the client's own code, or the error in it.
func clientClose(payload []byte) error {
	if len(payload) == 0 {
		return closeError{code: closeNormal}
	}
	if len(payload) == 1 || !utf8.Valid(payload[2:]) {
		return closeError{closeProtocol, "malformed close"}
	}
	code := binary.BigEndian.Uint16(payload)
	if code < 1000 || code >= 5000 || (code >= 1004 && code <= 1006) || (code >= 1015 && code < 3000) {
		return closeError{closeProtocol, "invalid close code"}
	}
	return closeError{code: code}
}

// readFrame reads one frame (RFC 6455 section 5.2) of at most limit bytes.
func (s *socket) readFrame(limit int) (fin bool, op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return false, 0, nil, err
	}
	fin, op = head[0]&0x80 != 0, head[0]&0x0F
	control := op >= opClose
	size := uint64(head[1] & 0x7F)
	switch {
	case head[0]&0x70 != 0:
		err = closeError{closeProtocol, "reserved bits set"}
	case head[1]&0x80 == 0:
		err = closeError{closeProtocol, "frame is not masked"}
	case op > opBinary && op < opClose || op > opPong:
		err = closeError{closeProtocol, "unknown opcode"}
	case control && (!fin || size > 125):
		err = closeError{closeProtocol, "control frame is fragmented or too long"}
	}
	if err != nil {
		return false, 0, nil, err
	}
	if size, err = s.readSize(size); err != nil {
		return false, 0, nil, err
	}
	if !control && size > uint64(limit) {
		return false, 0, nil, closeError{closeTooBig, "message is too big"}
	}
	var mask [4]byte
	if _, err := io.ReadFull(s.r, mask[:]); err != nil {
		return false, 0, nil, err
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(s.r, payload); err != nil {
		return false, 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return fin, op, payload, nil
}

// readSize reads the extended length that the seven bits in the header announce.
func (s *socket) readSize(short uint64) (uint64, error) {
	switch short {
	case 126:
		var b [2]byte
		_, err := io.ReadFull(s.r, b[:])
		return uint64(binary.BigEndian.Uint16(b[:])), err
	case 127:
		var b [8]byte
		_, err := io.ReadFull(s.r, b[:])
		return binary.BigEndian.Uint64(b[:]), err
	}
	return short, nil
}

func (s *socket) writeFrame(op byte, payload []byte) error {
	frame := []byte{0x80 | op}
	switch n := len(payload); {
	case n < 126:
		frame = append(frame, byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(n))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = op == opClose
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := s.conn.Write(append(frame, payload...))
	return err
}

func (s *socket) writeClose(c closeError) error {
	return s.writeFrame(opClose, append(binary.BigEndian.AppendUint16(nil, c.code), c.reason...))
}

// goAway tells the client that the server is stopping, and gives it a second to answer.
func (s *socket) goAway() {
	_ = s.writeClose(closeError{closeGoingAway, "the instance stops"})
	_ = s.conn.SetReadDeadline(time.Now().Add(time.Second))
}
