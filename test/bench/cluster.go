package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/fleet-starter/fleet/internal/dev"
)

// clusterConfig configures a local cluster.
type clusterConfig struct {
	Dir string
	// BinDir holds the programs, as an absolute path.
	BinDir   string
	Machines int
}

// serveCluster runs a local cluster: etcd in this process, and machines that are each a real systemd with the real fleetd.
func serveCluster(config string) (questions, func(), error) {
	var c clusterConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan dev.Info, 1), make(chan error, 1)
	go func() {
		ended <- dev.Run(ctx, dev.Config{Dir: c.Dir, Machines: c.Machines, BinDir: c.BinDir, AgentTTL: dev.DefaultAgentTTL},
			func(info dev.Info) { ready <- info })
	}()
	end := func() {
		cancel()
		if err := <-ended; err != nil {
			fmt.Fprintln(os.Stderr, "cluster:", err)
		}
	}
	select {
	case <-ready:
	case err := <-ended:
		cancel()
		return nil, nil, errors.Join(errors.New("the local cluster did not start"), err)
	case <-time.After(time.Minute):
		end()
		return nil, nil, errors.New("the local cluster was not ready within a minute")
	}
	return questions{"requests": func(context.Context, string) (any, error) { return etcdRequests() }}, end, nil
}
