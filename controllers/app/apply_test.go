package app

import (
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestConcurrentChangesAreKept: if a key was changed or created after the plan was made, nothing of the plan overwrites it.
func TestConcurrentChangesAreKept(t *testing.T) {
	keys := keyspace.New("")
	unit := &v1.Unit{Metadata: v1.ObjectMeta{Name: "web@1.service"}, Spec: v1.UnitSpec{Hash: "new"}}
	unitKey, routeKey := keys.Units().Key("web@1.service"), keys.Routes().Key("web")
	for _, c := range []struct {
		name   string
		key    string
		action Action
		isNew  bool
	}{
		{"a unit that is put", unitKey, Action{Kind: PutUnit, Name: "web@1.service", Unit: unit}, false},
		{"a unit that is new", unitKey, Action{Kind: PutUnit, Name: "web@1.service", Unit: unit}, true},
		{"a unit that is deleted", unitKey, Action{Kind: DeleteUnit, Name: "web@1.service"}, false},
		{"a route that is put", routeKey, Action{Kind: PutRoute, Route: &v1.AppRoute{UID: "1"}}, false},
		{"a route that is new", routeKey, Action{Kind: PutRoute, Route: &v1.AppRoute{UID: "1"}}, true},
		{"a route that is deleted", routeKey, Action{Kind: DeleteRoute}, false},
		{"a revision", keys.Revisions().Key(keyspace.RevisionName("web", 3)), Action{Kind: PutRevision, NewRevision: &v1.Revision{Number: 3}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := memstore.New(memstore.Options{})
			put := func(value string) int64 {
				revision, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: c.key, Value: []byte(value)}}})
				require.NoError(t, err)
				return revision
			}
			if !c.isNew {
				c.action.If = put("as it was")
			}
			put("by another")
			controller := &Controller{Options: Options{Env: cluster.Env{Store: s, Cluster: &cluster.Cluster{Keys: keys}}}}
			err := controller.apply(logr.NewContext(t.Context(), logr.Discard()), "web", Decision{Actions: []Action{c.action}})
			require.ErrorIs(t, err, store.ErrConflict)
			kv, ok, _, err := s.Get(t.Context(), c.key)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, "by another", string(kv.Value))
		})
	}
}
