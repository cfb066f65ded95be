package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/version"
)

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
	a.connected = c
	return c, nil
}

// transport is how --endpoint is reached.
func (a *app) transport() (via client.Transport, err error) {
	if a.debug {
		via.Debug = a.tellDebug
	}
	if a.tunnel != "" {
		return via, fmt.Errorf("--tunnel %s: this version cannot connect through ssh", a.tunnel)
	}
	via.TLS, err = a.tls()
	return via, err
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
