package lab

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCloudConfig boots a machine with manifests/provision/cloud-config.yaml as cloud-init gets it, and nothing else done to it: it is a
// cluster of one, with etcd and fleet.
func TestCloudConfig(t *testing.T) {
	text, err := os.ReadFile("../../manifests/provision/cloud-config.yaml")
	require.NoError(t, err)
	var start time.Time
	m := spares(t, 1, func(m *Machine) error {
		start = time.Now()
		urls, err := publish(t)
		if err != nil {
			return err
		}
		config := replaceLine(replaceLine(string(text), "MEMBERS=", "one="+m.Address), "PACKAGES=", urls)
		seed := "var/lib/cloud/seed/nocloud/"
		return errors.Join(
			os.Remove(filepath.Join(m.Root(), cloudInitDisabled)),
			m.Write(seed+"meta-data", "instance-id: "+m.Name+"\nlocal-hostname: "+m.Name+"\n"),
			m.Write(seed+"user-data", config),
			// The network is the lab's, and the base has neither other packages nor locales.
			m.Write("etc/cloud/cloud.cfg.d/99_lab.cfg", "network: {config: disabled}\napt: {preserve_sources_list: true}\nlocale: false\n"))
	})[0]
	said, err := m.Exec(t.Context(), "cloud-init", "status", "--wait", "--long")
	require.NoError(t, err, said)
	within(t, time.Minute, "the machine is present", func() error {
		list, err := m.Exec(t.Context(), "fleetctl", "list-machines", "--no-legend")
		if err == nil && !strings.Contains(list, m.Address) {
			err = errors.New(list)
		}
		return err
	})
	t.Logf("a machine is present %.1f s after it was given power for the first time", time.Since(start).Seconds())
	states, err := m.Exec(t.Context(), "systemctl", "is-enabled", "etcd.service", "fleetd.service")
	require.NoError(t, err)
	require.Equal(t, "enabled\nenabled\n", states)
	require.NoError(t, m.Reboot(t.Context()))
	within(t, time.Minute, "it is present after a reboot", func() error {
		_, err := m.Exec(t.Context(), "fleetctl", "list-machines")
		return err
	})
}

// replaceLine gives a variable of a shell script within the text another value.
func replaceLine(text, variable, value string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if trimmed := strings.TrimLeft(line, " "); strings.HasPrefix(trimmed, variable) {
			line = line[:len(line)-len(trimmed)] + variable + `"` + value + "\"\n"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "")
}

// publish serves the packages to the lab's machines until the test ends, and returns their addresses.
func publish(t *testing.T) (string, error) {
	debs, err := packages()
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(HostAddress, "0"))
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: http.FileServer(http.Dir("../../bin/packages"))}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	var urls []string
	for _, deb := range debs {
		urls = append(urls, "http://"+l.Addr().String()+"/"+filepath.Base(deb))
	}
	return strings.Join(urls, " "), nil
}
