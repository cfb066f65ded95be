package store_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		etcd := etcdtest.Start(t, etcdtest.WithQuota(16<<20))
		client := etcd.Client()
		return storetest.Backend{Store: client, Compact: etcd.Compact, Fill: func() { fill(t, client) }}
	})
}

func fill(t *testing.T, s store.Interface) {
	for {
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/fill", Value: bytes.Repeat([]byte("x"), 1<<20)}}})
		if errors.Is(err, store.ErrNoSpace) {
			return
		}
		require.NoError(t, err)
	}
}

var _ = context.Background
var _ = time.Second
