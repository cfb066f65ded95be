package v1

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPlacementOptions: each rule of an App is an option of [X-Fleet].
func TestPlacementOptions(t *testing.T) {
	require.Empty(t, (*PlacementRules)(nil).Options())
	rules := &PlacementRules{
		Conflicts: []string{"a*", "b*"}, MachineOf: []string{"c.service"}, MachineID: "m1", SpreadOver: "zone",
		MachineMetadata: map[string]StringList{"zone": {"a", "b"}, "disk": {"ssd"}},
		Prefer:          &Preferences{Metadata: map[string]StringList{"disk": {"nvme"}}},
	}
	require.Equal(t, []UnitOption{
		{"MachineID", "m1"}, {"MachineOf", "c.service"}, {"Conflicts", "a*"}, {"Conflicts", "b*"},
		{"MachineMetadata", "disk=ssd"}, {"MachineMetadata", "zone=a"}, {"MachineMetadata", "zone=b"}, {"SpreadOver", "zone"},
		{"PreferMetadata", "disk=nvme"},
	}, rules.Options())
}

// TestPreferencesAreChecked: keys and values are those that machines may have.
func TestPreferencesAreChecked(t *testing.T) {
	app := App{Spec: AppSpec{Global: true, Placement: &PlacementRules{Prefer: &Preferences{Metadata: map[string]StringList{"a b": {"x"}, "disk": {}}}}}}
	text := app.Validate().Error()
	for _, want := range []string{
		`spec.placement.prefer: cannot be given with global, which runs on every machine: remove one of the two`,
		`"a b" is not a valid metadata key: use letters, digits and . _ / -`,
		`spec.placement.prefer.metadata[disk]: has no values: set at least one`,
	} {
		require.Contains(t, text, want)
	}
}
