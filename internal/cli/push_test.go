package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestPush runs scripts with a registry, and with stand-ins for the two programs that push runs: docker, which has the images
// below images/, and ssh, whose far side is this computer.
func TestPush(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/push", UpdateScripts: *update, RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			r := newRegistry()
			env.Defer(r.server.Close)
			env.Values["registry"] = r
			env.Setenv("REGISTRY", r.server.Listener.Addr().String())
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "image": image, "away": away, "requests": requests},
	})
}

// pushRegistry is the registry of a script. It notes what is asked for.
type pushRegistry struct {
	server *httptest.Server
	mu     sync.Mutex
	asked  []string
	away   bool
}

func newRegistry() *pushRegistry {
	r := &pushRegistry{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.asked = append(r.asked, request.Method+" "+request.URL.Path)
		away := r.away
		r.mu.Unlock()
		if away {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"errors":[{"code":"UNAVAILABLE","message":"storage is away: connection refused"}]}`))
			return
		}
		handler.ServeHTTP(w, request)
	}))
	return r
}

// away says whether the registry's storage is away: away yes, away no.
func away(ts *testscript.TestScript, _ bool, args []string) {
	r := ts.Value("registry").(*pushRegistry)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.away = args[0] == "yes"
}

// requests N PREFIX requires so many requests that begin so since the last time.
func requests(ts *testscript.TestScript, _ bool, args []string) {
	r := ts.Value("registry").(*pushRegistry)
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []string
	for _, line := range r.asked {
		if strings.HasPrefix(line, args[1]) {
			found = append(found, line)
		}
	}
	if got := fmt.Sprint(len(found)); got != args[0] {
		ts.Fatalf("%s requests %q, want %s:\n%s", got, args[1], args[0], strings.Join(r.asked, "\n"))
	}
	if len(args) == 3 && args[2] == "forget" {
		r.asked = nil
	}
}

// image FORM PATH NAME LAYER... writes an image of such layers, as docker, oci (an archive), dir (an OCI layout), index (an OCI
// layout with one index of two platforms) or two (an OCI layout with two images).
func image(ts *testscript.TestScript, _ bool, args []string) {
	form, path, ref := args[0], ts.MkAbs(args[1]), args[2]
	made := empty.Image
	for _, text := range args[3:] {
		var err error
		made, err = mutate.AppendLayers(made, static.NewLayer(bytes.Repeat([]byte(text), 1000), types.DockerUncompressedLayer))
		ts.Check(err)
	}
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	if form == "docker" {
		tags := map[name.Tag]v1.Image{}
		for tag := range strings.SplitSeq(ref, ",") {
			parsed, err := name.NewTag(tag)
			ts.Check(err)
			tags[parsed] = made
		}
		ts.Check(tarball.MultiWriteToFile(path, tags))
		return
	}
	dir := path
	if form == "oci" {
		dir = ts.MkAbs("unpacked-" + filepath.Base(path))
	}
	to, err := layout.Write(dir, empty.Index)
	ts.Check(err)
	named := layout.WithAnnotations(map[string]string{"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": "latest"})
	switch form {
	case "index":
		two, err := mutate.Config(made, v1.Config{Labels: map[string]string{"arch": "arm64"}})
		ts.Check(err)
		ts.Check(to.AppendIndex(mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: made}, mutate.IndexAddendum{Add: two}), named))
	case "two":
		ts.Check(to.AppendImage(made, named))
		ts.Check(to.AppendImage(empty.Image, layout.WithAnnotations(map[string]string{"io.containerd.image.name": "other:1"})))
	default:
		ts.Check(to.AppendImage(made, named))
	}
	if form == "oci" {
		ts.Check(ts.Exec("tar", "-C", dir, "-cf", path, "."))
	}
}

// fakeDocker is "docker save --output FILE IMAGE".
func fakeDocker() {
	if len(os.Args) != 5 || os.Args[1] != "save" || os.Args[2] != "--output" {
		fmt.Fprintln(os.Stderr, "unexpected:", os.Args[1:])
		os.Exit(125)
	}
	data, err := os.ReadFile(filepath.Join(os.Getenv("WORK"), "images", strings.NewReplacer("/", "_", ":", "_").Replace(os.Args[4])))
	if os.Getenv("DOCKER_DOWN") != "" {
		fmt.Fprintln(os.Stderr, "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
		os.Exit(1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "Error response from daemon: reference does not exist")
		os.Exit(1)
	}
	if err := os.WriteFile(os.Args[3], data, 0o600); err != nil {
		os.Exit(1)
	}
}

// fakeSSH is "ssh -N -o ExitOnForwardFailure=yes [-p PORT] -L SOCKET:ADDRESS HOST". Each address leads to $REGISTRY.
func fakeSSH() {
	args := os.Args[1:]
	fmt.Fprintln(os.Stderr, "Warning: Permanently added the host key")
	if args[len(args)-1] != "core@machine" || !slices.Contains(args, "-N") || !slices.Contains(args, "ExitOnForwardFailure=yes") {
		fmt.Fprintln(os.Stderr, "ssh: Could not resolve hostname", args[len(args)-1])
		os.Exit(255)
	}
	forward := args[slices.Index(args, "-L")+1]
	_ = os.WriteFile(filepath.Join(os.Getenv("WORK"), "forwarded"), []byte(strings.Join(args, " ")), 0o644)
	socket, _, _ := strings.Cut(forward, ":")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		os.Exit(255)
	}
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", os.Getenv("REGISTRY"))
		if err != nil {
			near.Close()
			continue
		}
		go func() { _, _ = io.Copy(far, near); far.Close() }()
		go func() { _, _ = io.Copy(near, far); near.Close() }()
	}
}
