package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// dial opens the echo with another implementation of RFC 6455 than our own.
func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(url, "http")+"/echo", nil)
	require.NoError(t, err)
	require.Equal(t, "example-app@1", resp.Header.Get("X-Instance"))
	t.Cleanup(func() { ws.Close() })
	require.NoError(t, ws.SetReadDeadline(time.Now().Add(10*time.Second)))
	return ws
}

func requireClosed(t *testing.T, ws *websocket.Conn, code int) {
	t.Helper()
	_, _, err := ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, code), "want close %d, got %v", code, err)
}

func TestEcho(t *testing.T) {
	_, url := start(t, testConfig)
	ws := dial(t, url)
	for _, size := range []int{0, 1, 125, 126, 65535, 65536, maxMessage} {
		want := strings.Repeat("é", size/2) + strings.Repeat("x", size%2)
		for _, kind := range []int{websocket.TextMessage, websocket.BinaryMessage} {
			require.NoError(t, ws.WriteMessage(kind, []byte(want)))
			gotKind, got, err := ws.ReadMessage()
			require.NoError(t, err)
			require.Equal(t, kind, gotKind)
			require.True(t, want == string(got), "%d bytes", size)
		}
	}
	pong := make(chan string, 1)
	ws.SetPongHandler(func(s string) error { pong <- s; return nil })
	require.NoError(t, ws.WriteMessage(websocket.PingMessage, []byte("ping")))
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("after")))
	_, got, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, "after", string(got))
	require.Equal(t, "ping", <-pong)

	require.NoError(t, ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(4001, "bye")))
	requireClosed(t, ws, 4001)
}

// frame masks with zeros, so that a payload reads as it is written.
func frame(head byte, payload string) string {
	return string([]byte{head, 0x80 | byte(len(payload)), 0, 0, 0, 0}) + payload
}

func TestFrames(t *testing.T) {
	tests := []struct{ name, send, want string }{
		{"fragments with a ping between", frame(0x01, "he") + frame(0x89, "p") + frame(0x80, "llo"), "\x8a\x01p\x81\x05hello"},
		{"unmasked", "\x81\x02hi", closeFrame(closeProtocol)},
		{"reserved bits", frame(0xC1, "hi"), closeFrame(closeProtocol)},
		{"unknown opcode", frame(0x83, "hi"), closeFrame(closeProtocol)},
		{"unknown control opcode", frame(0x8B, "hi"), closeFrame(closeProtocol)},
		{"fragmented ping", frame(0x09, "p"), closeFrame(closeProtocol)},
		{"continuation of nothing", frame(0x80, "hi"), closeFrame(closeProtocol)},
		{"new message inside one", frame(0x01, "a") + frame(0x81, "b"), closeFrame(closeProtocol)},
		{"text is not UTF-8", frame(0x81, "\xff"), closeFrame(closeInvalidData)},
		{"too big", "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff", closeFrame(closeTooBig)},
		{"close without code", frame(0x88, ""), closeFrame(closeNormal)},
		{"close with half a code", frame(0x88, "\x03"), closeFrame(closeProtocol)},
		{"close with an invalid code", frame(0x88, "\x03\xed"), closeFrame(closeProtocol)},
	}
	_, url := start(t, testConfig)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			conn, r := rawSocket(t, url)
			_, err := conn.Write([]byte(tc.send))
			require.NoError(t, err)
			got := make([]byte, len(tc.want))
			_, err = io.ReadFull(r, got)
			require.NoError(t, err)
			if tc.want[0] == 0x88 {
				got[1] = 0 // the length differs with the reason
			}
			require.Equal(t, tc.want, string(got))
		})
	}
}

func closeFrame(code int) string { return string([]byte{0x88, 0, byte(code >> 8), byte(code)}) }

func rawSocket(t *testing.T, url string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	// The handshake of RFC 6455 section 1.3, with the answer that it gives.
	fmt.Fprint(conn, "GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, 101, resp.StatusCode)
	require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", resp.Header.Get("Sec-WebSocket-Accept"))
	return conn, r
}

func TestBadHandshakes(t *testing.T) {
	_, url := start(t, testConfig)
	good := map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
	tests := []struct {
		header, value string
		status        int
	}{
		{"Connection", "keep-alive", 426},
		{"Upgrade", "h2c", 426},
		{"Sec-WebSocket-Version", "8", 426},
		{"Sec-WebSocket-Key", "short", 400},
	}
	for _, tc := range tests {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/echo", nil)
		require.NoError(t, err)
		for k, v := range good {
			req.Header.Set(k, v)
		}
		req.Header.Set(tc.header, tc.value)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, tc.status, resp.StatusCode, tc.header)
	}
}
