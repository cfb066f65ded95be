package load

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// site answers as the example app does, and counts its connections.
type site struct {
	*httptest.Server
	broken      atomic.Bool
	connections sync.Map // of each kind: by method, the remote addresses
	cut         atomic.Bool
}

func newSite(t *testing.T) *site {
	s := &site{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		s.connections.Store(r.Method+" "+r.RemoteAddr, true)
		switch {
		case s.broken.Load():
			http.Error(w, "no instance", http.StatusBadGateway)
		case s.cut.Load():
			n--
			fallthrough
		case r.Method == http.MethodPost:
			fmt.Fprintln(w, n)
		default:
			fmt.Fprintln(w, "web@1")
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) target() Target {
	return Target{"m1", strings.TrimPrefix(s.URL, "http://"), "web.example"}
}

func TestEachKindIsSent(t *testing.T) {
	s := newSite(t)
	l := Start(s.target())
	time.Sleep(300 * time.Millisecond)
	r := l.Stop()
	require.Empty(t, r.Failed)
	for _, kind := range Kinds {
		require.GreaterOrEqual(t, r.Sent[kind], 3, kind)
	}
	// One connection for each kind that keeps it, one for each request of the others.
	connections := map[string]int{}
	s.connections.Range(func(key, _ any) bool {
		method, _, _ := strings.Cut(key.(string), " ")
		connections[method]++
		return true
	})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		require.Equal(t, 1+r.Sent[Kind{method, false}], connections[method], method)
	}
}

func TestFailuresAreCounted(t *testing.T) {
	s := newSite(t)
	l := Start(s.target())
	time.Sleep(100 * time.Millisecond)
	s.broken.Store(true)
	broken := time.Now()
	time.Sleep(200 * time.Millisecond)
	r := l.Stop()
	for _, kind := range Kinds {
		require.Positive(t, r.FailedOf(kind), kind)
		require.Less(t, r.FailedOf(kind), r.Sent[kind], kind)
	}
	require.NotEmpty(t, r.After(broken))
	require.Empty(t, r.After(time.Now()))
	require.Contains(t, r.Failed[0].String(), " to m1, sent at ")
	require.Contains(t, r.Failed[0].String(), "502 Bad Gateway: no instance")
	require.Regexp(t, `^\d+ of \d+ requests failed \(GET new \d+ of \d+, GET kept \d+ of \d+, POST new \d+ of \d+, POST kept \d+ of \d+\), the slowest took `, r.String())
}

func TestBodyThatIsCutOffFails(t *testing.T) {
	s := newSite(t)
	s.cut.Store(true)
	l := Start(s.target())
	time.Sleep(100 * time.Millisecond)
	r := l.Stop()
	require.Positive(t, r.FailedOf(Kind{http.MethodPost, false}))
	require.Zero(t, r.FailedOf(Kind{http.MethodGet, false}))
}

func TestClosedPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	l := Start(Target{Name: "m1", Address: address})
	time.Sleep(50 * time.Millisecond)
	r := l.Stop()
	require.Len(t, r.Failed, r.Total())
}

func TestSomeKindsByManySenders(t *testing.T) {
	s := newSite(t)
	kind := Kind{http.MethodGet, true}
	l := Options{Kinds: []Kind{kind}, Senders: 3}.Start(s.target())
	require.Eventually(t, func() bool { return l.SoFar().Total() >= 9 }, 10*time.Second, time.Millisecond)
	r := l.Stop()
	require.Equal(t, map[Kind]int{kind: r.Total()}, r.Sent)
	require.Equal(t, map[Answer]int{{kind, "m1", "web@1"}: r.Total()}, r.Answered)
	connections := 0
	s.connections.Range(func(any, any) bool { connections++; return true })
	require.Equal(t, 3, connections, "one for each sender")
}

func TestSilenceIsAFailure(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	l := Options{Kinds: Kinds[:1], Patience: 50 * time.Millisecond}.Start(Target{Name: "m1", Address: listener.Addr().String()})
	time.Sleep(10 * time.Millisecond)
	r := l.Stop()
	require.Len(t, r.Failed, r.Total())
	require.ErrorContains(t, r.Failed[0].Err, "Timeout")
}

func TestClosedIdle(t *testing.T) {
	kept := Kind{http.MethodPost, true}
	require.True(t, Failure{Kind: kept, Err: &net.OpError{Err: syscall.ECONNRESET}}.ClosedIdle())
	require.True(t, Failure{Kind: kept, Err: fmt.Errorf("Post: %w", io.EOF)}.ClosedIdle())
	require.False(t, Failure{Kind: kept, Err: io.EOF, Took: time.Second}.ClosedIdle())
	require.False(t, Failure{Kind: Kind{http.MethodPost, false}, Err: io.EOF}.ClosedIdle())
	require.False(t, Failure{Kind: kept, Err: errors.New("502 Bad Gateway")}.ClosedIdle())
}
