package registry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/require"
)

// machine runs a registry that can be stopped and started again at the same address.
type machine struct {
	address             string
	config, credentials string
	stop                func()
	log                 *logged
}

// logged is a log that tests read.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(data)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newMachine(t *testing.T, b backend) *machine {
	m := &machine{address: "127.0.0.1:0", log: &logged{}}
	m.config, m.credentials = b.files(t)
	m.start(t)
	t.Cleanup(func() { m.stop() })
	return m
}

func (m *machine) load(t *testing.T) *configuration.Configuration {
	config, err := Load(m.config, m.credentials)
	require.NoError(t, err)
	return config
}

func (m *machine) start(t *testing.T) {
	config := m.load(t)
	listener, err := net.Listen("tcp", m.address)
	require.NoError(t, err)
	m.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serveOn(ctx, listener, config, slog.New(slog.NewTextHandler(m.log, nil))) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("registry ended: %v", err)
		}
	})
}

// ready waits until the registry serves.
func (m *machine) ready(t *testing.T) *machine {
	require.Eventually(t, func() bool {
		code, _ := m.ask(t, http.MethodGet, "/healthz", 15*time.Second)
		return code == http.StatusOK
	}, 20*time.Second, 20*time.Millisecond, "%s", m.log)
	return m
}

// ask makes one request and returns status and body.
func (m *machine) ask(t *testing.T, method, path string, limit time.Duration) (int, string) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if !strings.HasPrefix(path, "http") {
		path = "http://" + m.address + path
	}
	request, err := http.NewRequestWithContext(ctx, method, path, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

func (m *machine) ref(t *testing.T, image string) name.Reference {
	ref, err := name.ParseReference(m.address + "/" + image)
	require.NoError(t, err)
	return ref
}

func (m *machine) push(t *testing.T, tag string, image v1.Image) {
	require.NoError(t, remote.Write(m.ref(t, tag), image, remote.WithContext(t.Context())))
}

// pull fetches all of an image and compares it with what was pushed.
func (m *machine) pull(t *testing.T, tag string, want v1.Image) {
	image, err := remote.Image(m.ref(t, tag), remote.WithContext(t.Context()))
	require.NoError(t, err)
	require.NoError(t, validate.Image(image))
	require.Equal(t, digest(t, want), digest(t, image))
}

func digest(t *testing.T, image v1.Image) string {
	d, err := image.Digest()
	require.NoError(t, err)
	return d.String()
}

func newImage(t *testing.T) v1.Image {
	image, err := random.Image(100_000, 3)
	require.NoError(t, err)
	return image
}

func TestMachinesShareImages(t *testing.T) {
	backends(t, func(t *testing.T, b backend) {
		one, two, three := newMachine(t, b).ready(t), newMachine(t, b).ready(t), newMachine(t, b).ready(t)
		image := newImage(t)
		one.push(t, "shop:1", image)
		two.pull(t, "shop:1", image)
		three.pull(t, "shop:1", image)

		one.stop()
		one.start(t)
		one.ready(t).pull(t, "shop:1", image)

		one.stop()
		next := newImage(t)
		two.push(t, "shop:1", next)
		three.pull(t, "shop:1", next)
	})
}

// An upload goes on at another machine, or at the same one after a restart: they sign its state with the same key.
func TestUploadGoesOnElsewhere(t *testing.T) {
	b := newAzurite(t)
	one, two := newMachine(t, b).ready(t), newMachine(t, b).ready(t)
	answer, err := http.Post("http://"+one.address+"/v2/shop/blobs/uploads/", "", nil)
	require.NoError(t, err)
	answer.Body.Close()
	require.Equal(t, http.StatusAccepted, answer.StatusCode)
	location := strings.Replace(answer.Header.Get("Location"), one.address, two.address, 1)
	require.Contains(t, location, two.address)
	request, err := http.NewRequest(http.MethodPatch, location, strings.NewReader("data"))
	require.NoError(t, err)
	answer, err = http.DefaultClient.Do(request)
	require.NoError(t, err)
	answer.Body.Close()
	require.Equal(t, http.StatusAccepted, answer.StatusCode)
}

// While storage is away each request is answered 503 soon, with the reason, and at once when the registry knows. When storage
// is back the registry serves without being restarted.
func TestStorageAway(t *testing.T) {
	backends(t, func(t *testing.T, b backend) {
		m := newMachine(t, b).ready(t)
		image := newImage(t)
		m.push(t, "shop:1", image)
		for _, way := range b.away() {
			t.Run(way, func(t *testing.T) {
				b.set(t, way)
				began := time.Now()
				for _, request := range []struct{ method, path string }{
					{http.MethodGet, "/v2/shop/manifests/1"},
					{http.MethodPost, "/v2/shop/blobs/uploads/"},
					{http.MethodGet, "/v2/"},
				} {
					code, body := m.ask(t, request.method, request.path, 15*time.Second)
					require.Equal(t, http.StatusServiceUnavailable, code, "%s %s: %s", request.method, request.path, body)
					require.Contains(t, body, `"code":"UNAVAILABLE","message":"storage is away: `)
				}
				require.Less(t, time.Since(began), 10*time.Second)
				known := time.Now()
				code, _ := m.ask(t, http.MethodGet, "/v2/shop/manifests/1", time.Second)
				require.Equal(t, http.StatusServiceUnavailable, code)
				require.Less(t, time.Since(known), 200*time.Millisecond)
				require.Contains(t, m.log.String(), "storage is away, trying again")

				b.set(t, "")
				m.ready(t).pull(t, "shop:1", image)
				m.push(t, "shop:2", image)
			})
		}
	})
}

// A machine that boots while storage is away has a registry that waits for it.
func TestStorageAwayAtBoot(t *testing.T) {
	backends(t, func(t *testing.T, b backend) {
		for i, way := range b.away() {
			t.Run(way, func(t *testing.T) {
				b.set(t, way)
				m := newMachine(t, b)
				code, body := m.ask(t, http.MethodGet, "/v2/", time.Second)
				require.Equal(t, http.StatusServiceUnavailable, code)
				require.Contains(t, body, "storage is away")
				require.Eventually(t, func() bool {
					_, body := m.ask(t, http.MethodGet, "/healthz", time.Second)
					return strings.Contains(body, map[string]string{
						"not mounted": "does not exist: mount or create it", "refuses": "connection refused", "hangs": "does not answer",
					}[way])
				}, 10*time.Second, 50*time.Millisecond, "%s", m.log)
				b.set(t, "")
				image := newImage(t)
				m.ready(t).push(t, fmt.Sprintf("shop:%d", i), image)
			})
		}
	})
}

// systemd is told why the registry waits, and "ready" at last also when storage stays away.
func TestNotify(t *testing.T) {
	path := t.TempDir() + "/notify"
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	b := &directory{path: t.TempDir() + "/images"}
	newMachine(t, b)
	told := func() (string, time.Duration) {
		data := make([]byte, 1000)
		began := time.Now()
		require.NoError(t, socket.SetReadDeadline(began.Add(2*readyAnyway)))
		n, err := socket.Read(data)
		require.NoError(t, err)
		return string(data[:n]), time.Since(began)
	}
	status, _ := told()
	require.Equal(t, "STATUS=storage is away: directory "+b.path+" does not exist: mount or create it", status)
	state, after := told()
	require.Equal(t, "READY=1", state)
	require.Greater(t, after, readyAnyway/2)
}

func TestNotifyReady(t *testing.T) {
	path := t.TempDir() + "/notify"
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	newMachine(t, &directory{path: t.TempDir()})
	data := make([]byte, 1000)
	for _, want := range []string{"STATUS=Storage answers", "READY=1"} {
		require.NoError(t, socket.SetReadDeadline(time.Now().Add(readyAnyway/2)))
		n, err := socket.Read(data)
		require.NoError(t, err)
		require.Equal(t, want, string(data[:n]))
	}
}

// With maintenance.readonly the registry serves and takes nothing, also where the environment says so.
func TestReadOnly(t *testing.T) {
	b := &directory{path: t.TempDir()}
	image := newImage(t)
	newMachine(t, b).ready(t).push(t, "shop:1", image)
	t.Setenv("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true")
	m := newMachine(t, b).ready(t)
	m.pull(t, "shop:1", image)
	code, _ := m.ask(t, http.MethodPost, "/v2/shop/blobs/uploads/", 5*time.Second)
	require.Equal(t, http.StatusMethodNotAllowed, code)
}
