package lab

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/container"
	"github.com/fleet-starter/fleet/internal/container/containertest"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// TestDockerKeepsTheContract: docker on a machine passes the contract test that the model of it passes.
func TestDockerKeepsTheContract(t *testing.T) {
	on := withLab(t).Machines[0]
	on.copy(t, built(t, "images/example-app.tar"), "root/example-app.tar", 0o644)
	_, err := on.Exec(t.Context(), "docker", "load", "--quiet", "-i", "/root/example-app.tar")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := on.Exec(context.Background(), "docker", "rmi", "--force", "localhost:5000/example-app:latest")
		require.NoError(t, err)
	})
	registry := &smallRegistry{machine: on, blobs: map[string][]byte{}, tags: map[string][]byte{}, answers: make(chan struct{})}
	close(registry.answers)
	require.NoError(t, registry.listen())
	t.Cleanup(registry.close)
	client := filepath.Join(t.TempDir(), "docker")
	script := fmt.Sprintf("#!/bin/sh\nexec nsenter -t %d -m -n /usr/bin/docker \"$@\"\n", leader(on.Name))
	require.NoError(t, os.WriteFile(client, []byte(script), 0o755))
	tests := 0
	containertest.Test(t, func(t *testing.T) containertest.Machine {
		tests++
		m := &realMachine{container.Runtime{Name: unitfile.RuntimeDocker, Path: client}, registry, on, t, fmt.Sprintf("contract%d", tests)}
		t.Cleanup(func() {
			_, err := on.Exec(context.Background(), "sh", "-c", "docker ps -aq --filter name=^contract | xargs -r docker rm -f; docker images -q "+
				registryAddress+"/"+m.repository+" | xargs -r docker rmi -f")
			require.NoError(t, err)
		})
		return m
	})
}

// realMachine is a machine of the lab, as containertest sees one.
type realMachine struct {
	container.Runtime
	*smallRegistry
	on         *Machine
	t          *testing.T
	repository string
}

func (m *realMachine) Image(tag string) unitfile.Image {
	return unitfile.Image{Runtime: unitfile.RuntimeDocker, Name: registryAddress + "/" + m.repository + ":" + tag}
}

func (m *realMachine) Push(tag string)   { m.push(m.repository, tag) }
func (m *realMachine) SetAway(away bool) { require.NoError(m.t, m.setAway(away)) }

func (m *realMachine) Kept(tag string) string {
	id, err := m.on.Exec(m.t.Context(), "docker", "images", "--quiet", "--no-trunc", m.Image(tag).Name)
	require.NoError(m.t, err)
	return strings.TrimSpace(id)
}

func (m *realMachine) Run(name, unit, machine string, ends bool) string {
	id, err := m.on.Exec(m.t.Context(), "docker", "run", "--detach", "--name", name, "--label", v1.LabelUnit+"="+unit, "--label", v1.LabelMachine+"="+machine,
		"localhost:5000/example-app:latest")
	require.NoError(m.t, err)
	if ends {
		_, err := m.on.Exec(m.t.Context(), "docker", "kill", name)
		require.NoError(m.t, err)
	}
	return strings.TrimSpace(id)
}

// registryAddress is where a smallRegistry listens on its machine.
const registryAddress = "127.0.0.1:5999"

// smallRegistry is a registry in this process that listens on a machine. It serves what docker pulls, and does what a test says.
type smallRegistry struct {
	machine *Machine
	server  *http.Server

	mu      sync.Mutex
	blobs   map[string][]byte // by digest
	tags    map[string][]byte // manifests, by <repository>/manifests/<tag>
	answers chan struct{}     // closed unless it hangs
}

// listen listens on the machine, in a thread that stays there.
func (r *smallRegistry) listen() error {
	type result struct {
		net.Listener
		error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		listener, err := func() (net.Listener, error) {
			network, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", leader(r.machine.Name)))
			if err != nil {
				return nil, err
			}
			defer network.Close()
			if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil, err
			}
			return net.Listen("tcp", registryAddress)
		}()
		done <- result{listener, err}
	}()
	is := <-done
	if is.error != nil {
		return is.error
	}
	r.server = &http.Server{Handler: r}
	go func() { _ = r.server.Serve(is.Listener) }() // until close
	return nil
}

func (r *smallRegistry) close() { _ = r.server.Close() }

func (r *smallRegistry) setAway(away bool) error {
	if away {
		r.close()
		return nil
	}
	return r.listen()
}

func (r *smallRegistry) SetHanging(hanging bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if hanging {
		r.answers = make(chan struct{})
	} else {
		close(r.answers)
	}
}

// push has the tag mean a new image, with one file in it.
func (r *smallRegistry) push(repository, tag string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var plain, layer bytes.Buffer
	t, text := tar.NewWriter(&plain), rand.Text()
	_ = t.WriteHeader(&tar.Header{Name: "text", Mode: 0o644, Size: int64(len(text))}) // a Buffer takes all
	_, _ = t.Write([]byte(text))
	_ = t.Close()
	z := gzip.NewWriter(&layer)
	_, _ = z.Write(plain.Bytes())
	_ = z.Close()
	config := fmt.Sprintf(`{"architecture":%q,"os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[%q]}}`, runtime.GOARCH, digest(plain.Bytes()))
	const docker = "application/vnd.docker."
	manifest, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": docker + "distribution.manifest.v2+json",
		"config": r.keep(docker+"container.image.v1+json", []byte(config)),
		"layers": []any{r.keep(docker+"image.rootfs.diff.tar.gzip", layer.Bytes())},
	})
	r.tags[repository+"/manifests/"+tag] = manifest
	r.tags[repository+"/manifests/"+digest(manifest)] = manifest
}

func (r *smallRegistry) keep(mediaType string, blob []byte) any {
	r.blobs[digest(blob)] = blob
	return map[string]any{"mediaType": mediaType, "size": len(blob), "digest": digest(blob)}
}

func digest(blob []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(blob)) }

func (r *smallRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name := strings.TrimPrefix(req.URL.Path, "/v2/")
	r.mu.Lock()
	answers := r.answers
	manifest, blob := r.tags[name], r.blobs[filepath.Base(name)]
	r.mu.Unlock()
	if name != "" {
		select {
		case <-answers:
		case <-req.Context().Done():
			return
		}
	}
	switch {
	case name == "":
	case manifest != nil:
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
		w.Header().Set("Docker-Content-Digest", digest(manifest))
		w.Header().Set("Content-Length", fmt.Sprint(len(manifest)))
		_, _ = w.Write(manifest)
	case blob != nil:
		_, _ = w.Write(blob)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
	}
}
