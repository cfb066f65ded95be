package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fleet-starter/fleet/internal/machine"
)

// supervisor owns the cluster's processes. They die with it.
type supervisor struct {
	cfg  Config
	info Info
	down context.CancelFunc

	mu     sync.Mutex  // one change at a time
	etcd   *etcdServer // nil if an existing etcd is used
	cables *cables     // nil if machines share this computer's network
	nodes  []*node
}

// Run runs the cluster until ctx ends or it is asked to go down, then takes it down and removes what it created. It calls
// ready when every machine is up.
func Run(ctx context.Context, cfg Config, ready func(Info)) (err error) {
	if err := cfg.validate(); err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return err
	}
	unlock, err := lock(cfg.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := sweep(cfg.Dir); err != nil {
		return err
	}
	ctx, down := context.WithCancel(ctx)
	defer down()
	s := &supervisor{cfg: cfg, down: down}
	if err := s.prepare(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	ready(s.info)
	<-ctx.Done()
	return nil
}

// lock keeps a second supervisor out of dir while this process lives.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("a local cluster already runs from %s: run \"fleet-dev down\"", dir)
	}
	return func() { f.Close() }, nil
}

// Sweep removes what a killed supervisor of dir left behind. It fails if one is running.
func Sweep(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	return sweep(dir)
}

// sweep is Sweep for a caller that holds the lock.
func sweep(dir string) error {
	data, err := os.ReadFile(infoFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var old Info
	if err := json.Unmarshal(data, &old); err != nil || old.RuntimeDir == "" {
		return os.Remove(infoFile(dir))
	}
	for n := 1; n <= old.Machines; n++ {
		if err := machine.Sweep(old.machineRuntimeDir(n)); err != nil {
			return err
		}
	}
	if old.Cables != "" {
		if err := (&cables{name: old.Cables, machines: old.Machines}).remove(); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(old.RuntimeDir), os.Remove(infoFile(dir)))
}

// prepare creates the directories and files that describe the cluster.
func (s *supervisor) prepare() error {
	runtimeDir, err := os.MkdirTemp("", "fleet-")
	if err != nil {
		return err
	}
	s.info = Info{PID: os.Getpid(), RuntimeDir: runtimeDir, Machines: s.cfg.Machines}
	if err := errors.Join(s.prepareCables(), s.prepareEtcd()); err != nil {
		return errors.Join(err, os.RemoveAll(runtimeDir))
	}
	for n := 1; n <= s.cfg.Machines; n++ {
		m := &node{n: n, cfg: s.cfg}
		if s.cables != nil {
			m.network = s.cables.namespace(n)
		}
		s.nodes = append(s.nodes, m)
	}
	data, err := json.MarshalIndent(s.info, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(infoFile(s.cfg.Dir), data, 0o644), writeEnv(s.cfg, s.info))
}

func (s *supervisor) prepareCables() (err error) {
	if !s.cfg.Cables {
		return nil
	}
	if s.cables, err = newCables(s.cfg.Machines); err != nil {
		return err
	}
	s.info.Cables = s.cables.name
	return nil
}

func (s *supervisor) prepareEtcd() (err error) {
	if len(s.cfg.EtcdServers) > 0 {
		s.info.EtcdEndpoint = strings.Join(s.cfg.EtcdServers, ",")
		return nil
	}
	dir, host := filepath.Join(s.cfg.Dir, "etcd"), localhost
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if s.cables != nil {
		host = cablesHost
	}
	if s.etcd, err = newEtcd(dir, host, s.cfg.EtcdPort); err != nil {
		return err
	}
	s.info.EtcdEndpoint = s.etcd.client.String()
	return nil
}

func (s *supervisor) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cables != nil {
		if err := s.cables.lay(); err != nil {
			return err
		}
	}
	if s.etcd != nil {
		if err := s.etcd.start(); err != nil {
			return err
		}
	}
	if err := s.serve(); err != nil {
		return err
	}
	errs := make([]error, len(s.nodes))
	var wg sync.WaitGroup
	for i, n := range s.nodes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			if errs[i] = n.start(ctx, s.info); errs[i] == nil {
				errs[i] = n.waitReady(ctx)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// stop takes everything down, machines first: they may still write to etcd.
func (s *supervisor) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(s.nodes))
	var wg sync.WaitGroup
	for i, n := range s.nodes {
		wg.Go(func() { errs[i] = n.stop() })
	}
	wg.Wait()
	if s.etcd != nil && s.etcd.running() {
		errs = append(errs, s.etcd.stop())
	}
	if s.cables != nil {
		errs = append(errs, s.cables.remove())
	}
	errs = append(errs, os.RemoveAll(s.info.RuntimeDir), os.Remove(infoFile(s.cfg.Dir)))
	return errors.Join(errs...)
}

// serve answers Client on the control socket until the process ends.
func (s *supervisor) serve() error {
	listener, err := net.Listen("unix", s.info.controlSocket())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.handleStatus)
	mux.HandleFunc("POST /down", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		s.down()
	})
	mux.HandleFunc("POST /etcd/start", s.changeEtcd((*etcdServer).start))
	mux.HandleFunc("POST /etcd/stop", s.changeEtcd((*etcdServer).stop))
	mux.HandleFunc("POST /machines/{n}/start", s.changeNode(func(r *http.Request, n *node) error { return n.start(r.Context(), s.info) }))
	mux.HandleFunc("POST /machines/{n}/kill", s.changeNode(func(_ *http.Request, n *node) error { return n.kill() }))
	mux.HandleFunc("POST /machines/{n}/cut", s.changeCable((*cables).cut))
	mux.HandleFunc("POST /machines/{n}/mend", s.changeCable((*cables).mend))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }() // lives as long as the process
	return nil
}

func (s *supervisor) node(number string) (*node, error) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(s.nodes) {
		return nil, fmt.Errorf("no machine %q: use 1 to %d", number, len(s.nodes))
	}
	return s.nodes[n-1], nil
}

func (s *supervisor) change(do func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := do(r); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *supervisor) changeNode(do func(*http.Request, *node) error) http.HandlerFunc {
	return s.change(func(r *http.Request) error {
		n, err := s.node(r.PathValue("n"))
		if err != nil {
			return err
		}
		return do(r, n)
	})
}

func (s *supervisor) changeEtcd(do func(*etcdServer) error) http.HandlerFunc {
	return s.change(func(*http.Request) error {
		if s.etcd == nil {
			return fmt.Errorf("the local cluster does not run the etcd at %s: stop and start it where it runs", s.info.EtcdEndpoint)
		}
		return do(s.etcd)
	})
}

func (s *supervisor) changeCable(do func(*cables, int) error) http.HandlerFunc {
	return s.changeNode(func(_ *http.Request, n *node) error {
		if s.cables == nil {
			return errors.New("machines have no cables: start the cluster with \"fleet-dev --cables\", as root")
		}
		return do(s.cables, n.n)
	})
}

// Status is what runs now.
type Status struct {
	Info
	EtcdUp  bool            `json:"etcdUp"`
	Machine []MachineStatus `json:"machine"`
}

// MachineStatus is one machine, up or down.
type MachineStatus struct {
	Number  int    `json:"number"`
	Address string `json:"address"`
	Up      bool   `json:"up"`
	// XDGRuntimeDir makes systemctl --user manage the machine; JournalDir makes journalctl -D read its journal.
	XDGRuntimeDir string `json:"xdgRuntimeDir,omitempty"`
	JournalDir    string `json:"journalDir,omitempty"`
}

func (s *supervisor) handleStatus(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := Status{Info: s.info, EtcdUp: s.etcd == nil || s.etcd.running()}
	for _, n := range s.nodes {
		m := MachineStatus{Number: n.n, Address: n.address(), Up: n.up()}
		if n.vm != nil {
			m.XDGRuntimeDir, m.JournalDir = n.vm.XDGRuntimeDir(), n.vm.JournalDir()
		}
		status.Machine = append(status.Machine, m)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(status)
}
