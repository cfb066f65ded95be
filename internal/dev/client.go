package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Client talks to the supervisor of a running cluster.
type Client struct {
	dir  string
	info Info
	http *http.Client
}

// Connect finds the cluster that runs from dir. It returns ErrNotRunning if there is none.
func Connect(dir string) (*Client, error) {
	info, err := ReadInfo(dir)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", info.controlSocket())
	}
	return &Client{dir: dir, info: info, http: &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: time.Minute}}, nil
}

// Do requests a change: "machines/2/kill", "machines/2/start", "etcd/stop" or "etcd/start".
func (c *Client) Do(change string) error {
	_, err := c.call(http.MethodPost, change)
	return err
}

// Status returns what runs now.
func (c *Client) Status() (Status, error) {
	var status Status
	data, err := c.call(http.MethodGet, "status")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(data, &status)
}

// Down takes the cluster down and returns when its last process has ended.
func (c *Client) Down(ctx context.Context) error {
	if err := c.Do("down"); err != nil {
		return err
	}
	for {
		if err := syscall.Kill(c.info.PID, 0); errors.Is(err, syscall.ESRCH) || zombie(c.info.PID) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d has not ended: %w", c.info.PID, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// zombie reports whether the process has ended and only waits to be reaped.
func zombie(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(data), ") ")
	return strings.HasPrefix(after, "Z")
}

// Exec returns a command that runs with machine n as its user's systemd: systemctl --user and journalctl work on it.
func (c *Client) Exec(n int, argv []string) (*exec.Cmd, error) {
	status, err := c.Status()
	if err != nil {
		return nil, err
	}
	if n < 1 || n > len(status.Machine) {
		return nil, fmt.Errorf("no machine %d: use 1 to %d", n, len(status.Machine))
	}
	m := status.Machine[n-1]
	if !m.Up {
		return nil, fmt.Errorf("machine %d is down: start it with \"fleet-dev start-machine %d\"", n, n)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+m.XDGRuntimeDir, "DBUS_SESSION_BUS_ADDRESS=unix:path="+m.XDGRuntimeDir+"/bus")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd, nil
}

// Logs returns a command that follows the logs of every fleetd.
func (c *Client) Logs(args []string) (*exec.Cmd, error) {
	status, err := c.Status()
	if err != nil {
		return nil, err
	}
	argv := []string{"journalctl", "-o", "short-precise", "-t", "fleetd"}
	for _, m := range status.Machine {
		if m.JournalDir != "" {
			argv = append(argv, "--file="+filepath.Join(m.JournalDir, "*/*.journal"))
		}
	}
	if len(argv) == 5 { // without root, machines write to the user's own journal
		argv = append(argv, "--user")
	}
	cmd := exec.Command(argv[0], append(argv[1:], args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd, nil
}

func (c *Client) call(method, path string) ([]byte, error) {
	req, err := http.NewRequest(method, "http://dev/"+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= 300 {
		err = errors.New(strings.TrimSpace(string(data)))
	}
	return data, err
}
