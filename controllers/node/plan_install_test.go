package node

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// withoutStates leaves out what is only reported.
func withoutStates(transcript string) (rest string) {
	for line := range strings.Lines(transcript) {
		if !strings.HasPrefix(line, "state ") {
			rest += line
		}
	}
	return rest
}

// TestInstall: the links of [Install] are made before the unit is started and before systemd reads files again, made anew when
// the file changes, and removed when it has no such section any more.
func TestInstall(t *testing.T) {
	const name = "side.service"
	enabled := func(rec Record) Record { rec.Enabled = true; return rec }
	for what, tt := range map[string]struct {
		placement v1.Placement
		installs  bool
		file      string
		record    Record
		unit      SystemdUnit
		want      string
	}{
		"a new one": {launch("A"), true, "", Record{}, unit("inactive", ""),
			"writeFile side.service NewPlacement\nlink side.service NewPlacement\nenable side.service Installed\nreload FileChanged\nstart side.service NotLaunched\n"},
		"to be loaded": {load("A"), true, "", Record{}, unit("inactive", ""),
			"writeFile side.service NewPlacement\nlink side.service NewPlacement\nenable side.service Installed\nreload FileChanged\nnote side.service SetLoaded\n"},
		"as before": {launch("A"), true, "A", enabled(ran(launch("A"))), unit("active", "i1"), ""},
		"one that an older fleetd did not enable": {launch("A"), true, "A", ran(launch("A")), unit("active", "i1"),
			"enable side.service Installed\nreload FileChanged\nnote side.service AlreadyRuns\n"},
		"another file": {launch("B"), true, "A", enabled(ran(launch("A"))), unit("active", "i1"),
			"writeFile side.service FileChanged\nenable side.service Installed\nreload FileChanged\nnote side.service FileChanged\nrestart side.service FileChanged\n"},
		"a file without it": {launch("B"), false, "A", enabled(ran(launch("A"))), unit("active", "i1"),
			"writeFile side.service FileChanged\nenable side.service Installed\nreload FileChanged\nnote side.service FileChanged\nrestart side.service FileChanged\n"},
		"its file was lost": {launch("A"), true, "", enabled(ran(launch("A"))), unit("active", "i1"),
			"writeFile side.service FileLost\nlink side.service NewPlacement\nenable side.service Installed\nreload FileChanged\n"},
	} {
		in := Input{FromStore: true, Now: t0, Placements: map[string]v1.Placement{name: tt.placement}, Files: map[string]string{},
			Relations: map[string]Relations{name: {Installs: tt.installs}}, Records: map[string]Record{}, Units: map[string]SystemdUnit{name: tt.unit}}
		if tt.file != "" {
			in.Files[name] = tt.file
		}
		if tt.record != (Record{}) {
			in.Records[name] = tt.record
		}
		completeTexts(&in)
		d := Plan(in)
		require.Equal(t, tt.want, withoutStates(transcript(d)), what)
		for _, a := range d.Actions {
			if a.Kind == Enable || a.Kind == Start || a.Kind == Restart {
				require.Equal(t, tt.installs, a.Record.Enabled, what)
			}
		}
	}

	// Taken away, it is wanted by nothing any more.
	gone := Input{FromStore: true, Now: t0, Files: map[string]string{name: "A"}, Records: map[string]Record{name: enabled(Record{Loaded: "A"})},
		Units: map[string]SystemdUnit{name: unit("inactive", "")}}
	require.Contains(t, transcript(Plan(gone)), "reload Forgotten\n")
	gone.Records[name] = Record{Loaded: "A"}
	require.NotContains(t, transcript(Plan(gone)), "reload")
}
