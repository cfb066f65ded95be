package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/fleet-starter/fleet/internal/store"
)

// etcdConfig is the directory of an etcd's data and sockets.
type etcdConfig struct{ Dir string }

func (c etcdConfig) endpoint() string { return "unix://" + filepath.Join(c.Dir, "etcd.sock") }

// serveEtcd runs etcd with its defaults, except that it does not sync: the disk is not measured.
func serveEtcd(config string) (questions, func(), error) {
	var c etcdConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return nil, nil, err
	}
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = "bench", filepath.Join(c.Dir, "data")
	parse := func(text string) []url.URL {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		return []url.URL{*u}
	}
	cfg.ListenClientUrls = parse(c.endpoint())
	cfg.ListenPeerUrls = parse("unix://" + filepath.Join(c.Dir, "peer.sock"))
	cfg.AdvertiseClientUrls, cfg.AdvertisePeerUrls = parse("http://localhost:1"), parse("http://localhost:2") // not used
	cfg.InitialCluster = cfg.Name + "=http://localhost:2"
	cfg.WarningUnaryRequestDuration = embed.DefaultWarningUnaryRequestDuration // if this is 0, every request is formatted as a slow one
	cfg.UnsafeNoFsync = true
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
		etcd.Close()
		return nil, nil, fmt.Errorf("etcd was not ready within 30 s")
	}
	return questions{"requests": func(context.Context, string) (any, error) { return etcdRequests() }}, etcd.Close, nil
}

// requests are etcd's own counts.
type requests struct{ Puts, Deletes, Ranges float64 }

func etcdRequests() (r requests, err error) {
	families, err := prometheus.DefaultGatherer.Gather()
	for _, f := range families {
		for name, to := range map[string]*float64{"put": &r.Puts, "delete": &r.Deletes, "range": &r.Ranges} {
			if strings.TrimPrefix(f.GetName(), "etcd_mvcc_") == name+"_total" {
				*to = f.GetMetric()[0].GetCounter().GetValue()
			}
		}
	}
	return r, err
}

// rawInFlight is the number of concurrent transactions when etcd is measured alone. More do not help.
const rawInFlight = 16

// alone measures how long etcd takes for that many puts and bytes, in transactions of 128 operations, when it has nothing
// else to do, and the CPU time that it uses.
func alone(ctx context.Context, dir string, puts, bytes int64) (took, processor time.Duration, err error) {
	config := etcdConfig{Dir: dir}
	etcd, err := start(ctx, childEtcd, config)
	if err != nil {
		return 0, 0, err
	}
	defer etcd.end()
	client, err := store.Dial(store.Config{Endpoints: []string{config.endpoint()}})
	if err != nil {
		return 0, 0, err
	}
	defer client.Close()
	if _, _, _, err := client.Get(ctx, "/connect"); err != nil {
		return 0, 0, err
	}
	txns := rawTxns(puts, bytes)
	queue := make(chan store.Txn)
	var failed error
	var mu sync.Mutex
	var workers sync.WaitGroup
	var before, after time.Duration
	if err := etcd.ask(&before, "processor"); err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	for range rawInFlight {
		workers.Go(func() {
			for txn := range queue {
				if _, err := client.Commit(ctx, txn); err != nil {
					mu.Lock()
					failed = err
					mu.Unlock()
				}
			}
		})
	}
	for _, txn := range txns {
		queue <- txn
	}
	close(queue)
	workers.Wait()
	took = time.Since(begin)
	if err := etcd.ask(&after, "processor"); err != nil {
		return 0, 0, err
	}
	return took, after - before, failed
}

func rawTxns(puts, bytes int64) (txns []store.Txn) {
	key := func(i int64) string { return fmt.Sprintf("/raw/placements/%032x/%010d", i%5000, i) }
	value := []byte(strings.Repeat("x", max(1, int(bytes/puts)-len(key(0)))))
	for i := int64(0); i < puts; {
		var txn store.Txn
		for ; i < puts && len(txn.Ops) < store.MaxTxnOps; i++ {
			txn.Ops = append(txn.Ops, store.Op{Key: key(i), Value: value})
		}
		txns = append(txns, txn)
	}
	return txns
}
