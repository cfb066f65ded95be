package memstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Backend {
		s := memstore.New(memstore.Options{})
		return storetest.Backend{Store: s, Compact: s.Compact, Fill: func() { s.SetFull(true) }}
	})
}
