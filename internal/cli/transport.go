package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/ssh"
	"github.com/fleet-starter/fleet/internal/version"
)

// sshPort is the default of --ssh-port.
const sshPort = 22

// client connects on first use: help and flag completion need no cluster.
func (a *app) client() (*client.Client, error) {
	if a.connected != nil {
		return a.connected, nil
	}
	via, err := a.transport()
	if err != nil {
		return nil, err
	}
	c, err := client.NewVia(via, a.endpoint, a.timeout, "fleetctl/"+version.String())
	if err != nil {
		return nil, usage("%v", err)
	}
	c.Warn = func(text string) { a.note("fleetctl: warning: %s", text) }
	a.connected = c
	return c, nil
}

// close closes the connections of this run.
func (a *app) close() {
	if a.connected != nil {
		a.connected.Close()
	}
	if a.tunnelled != nil {
		a.tunnelled.Close()
	}
}

// transport is how --endpoint is reached. A tunnel is set up here and not with the first request, which has a time limit:
// people may be asked about a host key.
func (a *app) transport() (via client.Transport, err error) {
	if a.debug {
		via.Debug = a.tellDebug
	}
	if via.TLS, err = a.tls(); err != nil || a.tunnel == "" {
		return via, err
	}
	a.tunnelled, err = a.sshConfig().NewTunnel(a.ctx, ssh.Address(a.tunnel, sshPort))
	if err != nil {
		return via, fmt.Errorf("--tunnel %s: %w", a.tunnel, err)
	}
	via.Dial = a.tunnelled.Dial
	return via, nil
}

// tellDebug writes a line if --debug is set.
func (a *app) tellDebug(format string, args ...any) {
	if a.debug {
		a.note("fleetctl: debug: "+format, args...)
	}
}

// tls reads the files of --ca-file, --cert-file and --key-file.
func (a *app) tls() (*tls.Config, error) {
	config := &tls.Config{}
	if a.certFile != "" {
		pair, err := tls.LoadX509KeyPair(a.home(a.certFile), a.home(a.keyFile))
		if err != nil {
			return nil, fmt.Errorf("--cert-file %s, --key-file %s: %w", a.certFile, a.keyFile, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if a.caFile != "" {
		data, err := os.ReadFile(a.home(a.caFile))
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("--ca-file %s: no certificate in PEM in it", a.caFile)
		}
	}
	return config, nil
}

// defaultKeys are the private keys that ssh(1) tries, too.
var defaultKeys = []string{"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"}

func (a *app) sshConfig() ssh.Config {
	config := ssh.Config{User: a.sshUser, Timeout: a.sshTimeout, AgentSocket: a.Getenv("SSH_AUTH_SOCK"), Debug: a.tellDebug}
	for _, path := range defaultKeys {
		config.KeyFiles = append(config.KeyFiles, a.home(path))
	}
	if !a.checkHosts {
		return config
	}
	if a.hostKeys == nil {
		a.hostKeys = &ssh.HostKeys{File: a.home(a.knownHosts), Tell: func(format string, args ...any) { a.note("fleetctl: "+format, args...) }}
		if !a.completing {
			a.hostKeys.Ask = a.askYes
		}
	}
	config.HostKeys = a.hostKeys
	return config
}

// askYes asks a person a question on standard error and reads the answer from standard input, as the original does: no
// further than the end of the line, because the rest may be for a remote command.
func (a *app) askYes(ctx context.Context, question string) bool {
	fmt.Fprint(a.Err, question)
	answered := make(chan string, 1)
	go func() { answered <- readLine(a.In) }() // if interrupted, it ends with the process
	select {
	case answer := <-answered:
		return slices.Contains([]string{"yes", "y"}, strings.ToLower(strings.TrimSpace(answer)))
	case <-ctx.Done():
		return false
	}
}

// readLine reads up to a newline, byte by byte.
func readLine(in io.Reader) string {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := in.Read(b)
		if n > 0 && b[0] != '\n' {
			line = append(line, b[0])
		}
		if err != nil || n > 0 && b[0] == '\n' {
			return string(line)
		}
	}
}
