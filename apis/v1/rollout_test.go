package v1

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRolloutOf: what the version before has written says the same as the field. Each says it for the other one.
func TestRolloutOf(t *testing.T) {
	at := time.Date(2026, 1, 1, 1, 2, 3, 456, time.UTC)
	const noted = "2026-01-01T01:02:03.000000456Z"
	for _, tt := range []struct {
		name           string
		notes          map[string]string
		unit, sidekick DesiredState
		want           Rollout
	}{
		{"nothing", nil, Launched, Launched, Rollout{}},
		{"a person stops it", nil, Launched, Loaded, Rollout{}},
		{"withdrawn", map[string]string{annotationUpdatedAt: noted}, Launched, Loaded, Rollout{RolloutWithdrawing, at, "", ""}},
		{"withdrawn for a move", map[string]string{annotationUpdatedAt: noted, annotationMovedFrom: "m1"}, Launched, Loaded, Rollout{RolloutLeaving, at, "m1", ""}},
		{"let go", map[string]string{annotationUpdatedAt: noted, annotationMovedFrom: "m1", annotationLetGo: "m1"}, Launched, Loaded,
			Rollout{RolloutLetGo, at, "m1", "m1"}},
		{"let go by a roll-out", map[string]string{annotationUpdatedAt: noted, annotationLetGo: "m1"}, Launched, Loaded, Rollout{RolloutLetGo, at, "", "m1"}},
		{"let go, and not announced", map[string]string{annotationUpdatedAt: noted, annotationLetGo: "m1"}, Launched, "", Rollout{RolloutLetGo, at, "", "m1"}},
		{"stopped to be started", map[string]string{annotationUpdatedAt: noted}, Loaded, Loaded, Rollout{RolloutRestarting, at, "", ""}},
		{"replaced", map[string]string{annotationUpdatedAt: noted}, Launched, Launched, Rollout{RolloutUpdating, at, "", ""}},
		{"replaced, and not announced", map[string]string{annotationUpdatedAt: noted}, Launched, "", Rollout{RolloutUpdating, at, "", ""}},
		{"moved", map[string]string{annotationUpdatedAt: noted, annotationMovedFrom: "m1"}, Launched, Launched, Rollout{RolloutArriving, at, "m1", ""}},
		{"a global one leaves a machine", map[string]string{annotationUpdatedAt: noted, AnnotationExcept: "m1"}, Launched, Launched,
			Rollout{RolloutMakingRoom, at, "", ""}},
		{"no time", map[string]string{annotationUpdatedAt: "yesterday", annotationMovedFrom: "m1", annotationLetGo: "m1"}, Launched, Launched, Rollout{}},
	} {
		before := &Unit{Metadata: ObjectMeta{Annotations: tt.notes}, Spec: UnitSpec{DesiredState: tt.unit}}
		var sidekick *Unit
		if tt.sidekick != "" {
			sidekick = &Unit{Spec: UnitSpec{DesiredState: tt.sidekick}}
		}
		got := RolloutOf(before, sidekick)
		require.True(t, tt.want.Equal(got), "%s: %+v", tt.name, got)
		require.Equal(t, tt.want.LetGo, RolloutOf(before, nil).LetGo, tt.name)
		require.Equal(t, tt.want.UnderWay(), RolloutOf(before, nil).UnderWay(), tt.name)

		now := &Unit{Metadata: ObjectMeta{Annotations: tt.want.Annotate(map[string]string{"own": "x", annotationLetGo: "m9"})}, Rollout: tt.want,
			Spec: UnitSpec{DesiredState: tt.unit}}
		require.Equal(t, "x", now.Metadata.Annotations["own"], "the notes of others stay")
		text, err := json.Marshal(now)
		require.NoError(t, err)
		var read Unit
		require.NoError(t, json.Unmarshal(text, &read))
		got = RolloutOf(&read, nil)
		require.True(t, tt.want.Equal(got), "%s: %s", tt.name, text)
		if tt.want.Phase != RolloutMakingRoom { // its machines are no part of the roll-out
			read.Rollout = Rollout{}
			got = RolloutOf(&read, sidekick)
			require.True(t, tt.want.Equal(got), "%s as the version before reads it: %s", tt.name, text)
		}
	}
	require.Equal(t, Rollout{}, RolloutOf(nil, nil))
}

// TestRolloutIsRead: the field goes before the annotations, and one that serves has none.
func TestRolloutIsRead(t *testing.T) {
	var u Unit
	require.NoError(t, json.Unmarshal([]byte(`{"metadata":{"annotations":{"fleet/updated-at":"2020-01-01T00:00:00Z"}},"spec":{},
		"rollout":{"phase":"let-go","since":"2026-01-01T00:00:00Z","from":"m1","letGo":"m2"}}`), &u))
	require.Equal(t, Rollout{RolloutLetGo, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), "m1", "m2"}, RolloutOf(&u, nil))
	text, err := json.Marshal(Unit{Metadata: ObjectMeta{Annotations: Rollout{}.Annotate(map[string]string{annotationUpdatedAt: "2020-01-01T00:00:00Z"})}})
	require.NoError(t, err)
	require.JSONEq(t, `{"metadata":{},"spec":{}}`, string(text))
}

func TestRolloutOutAndBack(t *testing.T) {
	at := time.Unix(1, 0)
	for _, tt := range []struct{ is, out, back Rollout }{
		{Rollout{}, Rollout{}, Rollout{}},
		{Rollout{RolloutWithdrawing, at, "", ""}, Rollout{RolloutWithdrawing, at, "", ""}, Rollout{RolloutUpdating, at, "", ""}},
		{Rollout{RolloutLeaving, at, "m1", ""}, Rollout{RolloutLeaving, at, "m1", ""}, Rollout{RolloutArriving, at, "m1", ""}},
		{Rollout{RolloutLetGo, at, "m1", "m1"}, Rollout{RolloutLetGo, at, "m1", "m1"}, Rollout{RolloutArriving, at, "m1", ""}},
		{Rollout{RolloutLetGo, at, "", "m1"}, Rollout{RolloutLetGo, at, "", "m1"}, Rollout{RolloutUpdating, at, "", ""}},
		{Rollout{RolloutRestarting, at, "", ""}, Rollout{RolloutRestarting, at, "", ""}, Rollout{RolloutUpdating, at, "", ""}},
		{Rollout{RolloutUpdating, at, "", ""}, Rollout{RolloutWithdrawing, at, "", ""}, Rollout{RolloutUpdating, at, "", ""}},
		{Rollout{RolloutArriving, at, "m1", ""}, Rollout{RolloutLeaving, at, "m1", ""}, Rollout{RolloutArriving, at, "m1", ""}},
		{Rollout{RolloutMakingRoom, at, "", ""}, Rollout{RolloutWithdrawing, at, "", ""}, Rollout{RolloutUpdating, at, "", ""}},
	} {
		require.Equal(t, tt.out, tt.is.Out(), "%v", tt.is)
		require.Equal(t, tt.back, tt.is.Back(), "%v", tt.is)
	}
}
