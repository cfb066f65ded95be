package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestPlanPorts: the variables with a unit's ports are there before anything starts it, also from the copy on the disk, and until what
// stops it has read them.
func TestPlanPorts(t *testing.T) {
	const name, text = "web@1.service", "PORT=20017\nPORT=20017\n"
	with := func(pl v1.Placement) v1.Placement { pl.Assigned = "http=20017"; return pl }
	env := v1.Assignment("http=20017").Environment()
	for what, tt := range map[string]struct {
		placement v1.Placement
		file      string // what is there; "": nothing
		record    Record
		unit      SystemdUnit
		copied    bool // the placement is that of the disk
		want      string
	}{
		"a new one": {placement: with(launch("A")), unit: unit("inactive", ""),
			want: "writePorts web@1.service PortsAssigned\nwriteFile web@1.service NewPlacement\nlink web@1.service NewPlacement\nstart web@1.service NotLaunched\n"},
		"after a boot, without etcd": {placement: with(launch("A")), unit: unit("inactive", ""), copied: true,
			want: "writePorts web@1.service PortsAssigned\nwriteFile web@1.service NewPlacement\nlink web@1.service NewPlacement\nstart web@1.service NotLaunched\n"},
		"as before":      {placement: with(launch("A")), file: env, record: ran(launch("A")), unit: unit("active", "i1"), want: ""},
		"they were lost": {placement: with(launch("A")), record: ran(launch("A")), unit: unit("active", "i1"), want: "writePorts web@1.service PortsAssigned\n"},
		"another file": {placement: with(launch("B")), file: text, record: ran(launch("A")), unit: unit("active", "i1"),
			want: "writePorts web@1.service PortsAssigned\nwriteFile web@1.service FileChanged\nreload FileChanged\nnote web@1.service FileChanged\nrestart web@1.service FileChanged\n"},
		"it needs none any more, and may still stop": {placement: launch("A"), file: env, record: ran(launch("A")), unit: unit("active", "i1"), want: ""},
	} {
		in := Input{FromStore: !tt.copied, Now: t0, Placements: map[string]v1.Placement{name: tt.placement}, Files: map[string]string{},
			Ports: map[string]string{}, Records: map[string]Record{}, Units: map[string]SystemdUnit{name: tt.unit}}
		if tt.file != "" {
			in.Ports[name] = tt.file
		}
		if tt.record != (Record{}) {
			in.Records[name], in.Files[name] = tt.record, "A"
		}
		completeTexts(&in)
		require.Equal(t, tt.want, withoutStates(transcript(Plan(in))), what)
	}

	gone := Input{FromStore: true, Now: t0, Ports: map[string]string{name: env}, Files: map[string]string{name: "A"}, Records: map[string]Record{name: ran(launch("A"))},
		Units: map[string]SystemdUnit{name: unit("active", "i1")}}
	require.NotContains(t, transcript(Plan(gone)), "removePorts", "it is about to stop")
	gone.Units[name] = unit("inactive", "")
	require.Contains(t, transcript(Plan(gone)), "removePorts web@1.service NotPlaced\n")
	gone.Files, gone.Records = nil, nil
	require.Contains(t, transcript(Plan(gone)), "removePorts web@1.service NotPlaced\n", "left by a crash")
}
