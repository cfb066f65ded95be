package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// TestAppState: of an app that is ready it is said when another one has its host; of one that is not, what is wrong first.
func TestAppState(t *testing.T) {
	app := func(conditions ...v1.Condition) wire.App {
		var o wire.App
		o.Status = &v1.AppStatus{}
		for _, c := range conditions {
			o.Status.Conditions = v1.SetCondition(o.Status.Conditions, c, time.Time{})
		}
		return o
	}
	ready := v1.Condition{Type: v1.Ready, Status: v1.ConditionTrue}
	taken := v1.Condition{Type: v1.Routed, Status: v1.ConditionFalse, Reason: "HostTaken", Message: "host a belongs to app b"}
	stalled := v1.Condition{Type: v1.Progressing, Status: v1.ConditionFalse, Reason: "MoveStalled", Message: "m"}
	over := v1.Condition{Type: v1.Progressing, Status: v1.ConditionFalse, Reason: "Updated"}
	require.Equal(t, "Pending", appState(app()))
	require.Equal(t, "Ready", appState(app(ready, over)))
	require.Equal(t, "HostTaken: host a belongs to app b", appState(app(ready, taken)))
	require.Equal(t, "MoveStalled: m", appState(app(stalled, taken)))
}
