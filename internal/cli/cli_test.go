package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/instance"
)

func TestEveryCommandIsExplainedWithExamples(t *testing.T) {
	a := &app{IO: IO{Getenv: func(string) string { return "" }}, now: time.Now}
	for _, cmd := range a.root().Commands() {
		require.NotEmpty(t, cmd.Short, cmd.Name())
		require.NotEmpty(t, cmd.Long, cmd.Name())
		require.Contains(t, cmd.Example, "fleetctl "+cmd.Name(), cmd.Name())
		cmd.Flags().VisitAll(func(f *pflag.Flag) { require.NotEmpty(t, f.Usage, "%s --%s", cmd.Name(), f.Name) })
	}
}

func TestTablesKeepControlCharactersFromTheTerminal(t *testing.T) {
	table := &table{columns: []string{"NAME", "WHY"}}
	table.add(red, "a\nb\x1b[2J", "")
	table.add(plain, "c", "tab\there")
	var out bytes.Buffer
	require.NoError(t, table.write(&out, true, true))
	require.Equal(t, "NAME\tWHY\n"+red+"a b [2J\t-"+reset+"\nc\ttab here\n", out.String())
	out.Reset()
	require.NoError(t, table.write(&out, false, false))
	require.Equal(t, "a b [2J\t-\nc\ttab here\n", out.String())
}

func TestDropEmpty(t *testing.T) {
	table := &table{columns: []string{"A", "REASON", "B"}}
	table.add(plain, "1", "", "2")
	table.add(plain, "3", "why", "4")
	table.dropEmpty("REASON")
	require.Len(t, table.columns, 3)
	table.rows[1][1] = ""
	table.dropEmpty("REASON")
	require.Equal(t, []string{"A", "B"}, table.columns)
	require.Equal(t, [][]string{{"1", "2"}, {"3", "4"}}, table.rows)
	table.dropEmpty("NOTHING")
	require.Len(t, table.columns, 2)
}

func TestUnitNames(t *testing.T) {
	for typed, want := range map[string]string{
		"a": "a.service", "a.service": "a.service", "a.socket": "a.socket", "a@1": "a@1.service", "a@": "a@.service",
		"a.b": "a.b.service", "a b": "a b", "": "", "a@1.2": "a@1.2.service",
		"zzdata@vol1.mount": "zzdata@vol1.mount", "a.snapshot": "a.snapshot", // not valid unit names today, and not service names
	} {
		require.Equal(t, want, unitName(typed), typed)
	}
}

func TestWithStatusChangesNothingElse(t *testing.T) {
	status := &v1.AppStatus{AcceptedRevision: 3}
	for name, tt := range map[string]struct {
		text string
		ok   bool
	}{
		"plain":            {"# c\na: 1\nb:\n  - x # y", true},
		"document mark":    {"---\na: 1\n", true},
		"block scalar":     {"a: |\n  text\n\n\n", true},
		"keeping newlines": {"a: |+\n  text\n\n\n", false},
		"JSON":             {`{"a": 1}`, false},
		"has a status":     {"a: 1\nstatus: {}\n", false},
		"broken":           {"a: [", false},
		"two documents":    {"a: 1\n---\nb: 2\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := withStatus([]byte(tt.text), status)
			require.Equal(t, tt.ok, err == nil, "%v %s", err, got)
			if tt.ok {
				require.True(t, strings.HasPrefix(string(got), strings.TrimRight(tt.text, "\n")+"\nstatus:\n"), "%s", got)
			}
		})
	}
}

func TestLeftOnAMachine(t *testing.T) {
	const id = "8abff2e7000000000000000000000000"
	at := func(machine string, p *v1.Placement, state string) v1.UnitOnMachine {
		return v1.UnitOnMachine{Machine: machine, Placement: p, State: &v1.UnitState{ActiveState: state}}
	}
	for name, tt := range map[string]struct {
		on   v1.UnitOnMachine
		left bool
	}{
		"placed":          {v1.UnitOnMachine{Machine: id, Placement: &v1.Placement{}}, true},
		"placed, stopped": {at(id, &v1.Placement{}, "inactive"), true},
		"still runs":      {at(id, nil, "deactivating"), true},
		"stopped":         {at(id, nil, "inactive"), false},
		"failed":          {at(id, nil, "failed"), false},
		"elsewhere":       {at("other", &v1.Placement{}, "active"), false},
	} {
		_, left := leftOn(id, v1.Unit{Status: &v1.UnitStatus{Machines: []v1.UnitOnMachine{tt.on}}})
		require.Equal(t, tt.left, left, name)
	}
	why, _ := leftOn(id, v1.Unit{Status: &v1.UnitStatus{Unplaced: &v1.Unplaced{Message: "full"}, Machines: []v1.UnitOnMachine{at(id, &v1.Placement{}, "active")}}})
	require.Equal(t, "1 left: a; a: full", unitsLeft(map[string]string{"a": why}))
	prepares := at("other", nil, "inactive")
	prepares.State.Prepared = v1.Prepared{State: v1.PreparedPulling, Message: "pulling web:2 since noon (1 of 2 layers)"}
	moves := v1.Unit{Status: &v1.UnitStatus{Machines: []v1.UnitOnMachine{at(id, &v1.Placement{}, "active"), prepares}}}
	why, _ = leftOn(id, moves)
	require.Equal(t, "machine other first has to have its image: pulling web:2 since noon", why)
	prepares.State.Prepared = v1.Prepared{State: v1.PreparedFailed, Message: "cannot pull web:2 (no such image)"}
	why, _ = leftOn(id, moves)
	require.Equal(t, "machine other first has to have its image: cannot pull web:2 (no such image)", why)
	_, left := leftOn("other", moves)
	require.False(t, left)
	require.Equal(t, "5 left: a, b, c, d and 1 more; b: full", unitsLeft(map[string]string{"e": "no", "d": "", "c": "", "b": "full", "a": ""}))
}

// TestAUnitHasItsState covers the answers of this fleetd and of an older one, which has fewer fields.
func TestAUnitHasItsState(t *testing.T) {
	a := &app{}
	const id = "8abff2e7000000000000000000000000"
	at := func(p *v1.Placement, s *v1.UnitState) v1.Unit {
		return v1.Unit{Status: &v1.UnitStatus{Machines: []v1.UnitOnMachine{{Machine: id, Address: "10.0.0.1", Placement: p, State: s}}}}
	}
	launched := &v1.Placement{Hash: "h", DesiredState: v1.Launched, RequestedAt: "now"}
	loaded := &v1.Placement{Hash: "h", DesiredState: v1.Loaded}
	state := func(active string, desired v1.DesiredState) *v1.UnitState {
		return &v1.UnitState{Hash: "h", ActiveState: active, DesiredState: desired, RequestedAt: "now", InvocationID: "i", Result: "success"}
	}
	why := func(s *v1.UnitState, job, message, output string) *v1.UnitState {
		s.JobResult, s.Message, s.Output, s.Result = job, message, output, ""
		return s
	}
	var notes strings.Builder
	a.Err = &notes
	for name, tt := range map[string]struct {
		unit  v1.Unit
		state v1.DesiredState
		done  bool
		fault string
	}{
		"its job failed":       {at(launched, why(state("inactive", v1.Launched), "assert", "AssertUser=x is not met", "")), v1.Launched, false, "8abff2e7.../10.0.0.1: AssertUser=x is not met"},
		"its job was skipped":  {at(launched, why(state("inactive", v1.Launched), "skipped", "ConditionUser=x is not met", "")), v1.Launched, true, ""},
		"failed with words":    {at(launched, why(state("failed", v1.Launched), "", "its ExecStartPre= failed", "one\ntwo")), v1.Launched, false, "failed (-): its ExecStartPre= failed; last log lines:\n  one\n  two"},
		"started by its timer": {at(loaded, why(state("active", v1.Loaded), "", v1.StartedOnMachine, "")), v1.Loaded, true, ""},
		"about to be stopped":  {at(loaded, state("active", v1.Loaded)), v1.Loaded, false, ""},
		"active":               {at(launched, state("active", v1.Launched)), v1.Launched, true, ""},
		"activating":           {at(launched, state("activating", v1.Launched)), v1.Launched, false, ""},
		"not reported":         {at(launched, nil), v1.Launched, false, ""},
		"of an older request":  {at(launched, &v1.UnitState{Hash: "h", ActiveState: "failed", DesiredState: v1.Launched, RequestedAt: "before"}), v1.Launched, false, ""},
		"of an older file":     {at(launched, &v1.UnitState{Hash: "g", ActiveState: "active", DesiredState: v1.Launched, RequestedAt: "now"}), v1.Launched, false, ""},
		"failed":               {at(launched, state("failed", v1.Launched)), v1.Launched, false, "failed (success)"},
		"done":                 {at(launched, state("inactive", v1.Launched)), v1.Launched, true, ""},
		"still placed":         {at(loaded, state("inactive", v1.Loaded)), v1.Inactive, false, ""},
		"stopped":              {at(loaded, state("inactive", v1.Loaded)), v1.Loaded, true, ""},
		"stopping":             {at(loaded, state("deactivating", v1.Loaded)), v1.Loaded, false, ""},
		"nowhere":              {v1.Unit{Status: &v1.UnitStatus{}}, v1.Launched, false, ""},
		"fits nowhere":         {v1.Unit{Status: &v1.UnitStatus{Unplaced: &v1.Unplaced{Message: "too full"}}}, v1.Launched, false, "too full"},
		"gone":                 {v1.Unit{Status: &v1.UnitStatus{}}, v1.Inactive, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			request := ""
			if tt.state == v1.Launched {
				request = "now"
			}
			for range 2 {
				_, done, err := a.unitHas(tt.unit, tt.state, request)
				require.Equal(t, tt.done, done)
				if tt.fault == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, tt.fault)
				}
				instance.Show(&tt.unit, time.Now())
			}
		})
	}
	require.Contains(t, notes.String(), "8abff2e7.../10.0.0.1: ConditionUser=x is not met\n")
	require.Contains(t, notes.String(), "8abff2e7.../10.0.0.1: started on the machine, not by fleet\n")
}

// TestAnOlderFleetd: fields that it does not send are left out.
func TestAnOlderFleetd(t *testing.T) {
	a := &app{}
	ready := wire.App{App: v1.App{Status: &v1.AppStatus{Conditions: []v1.Condition{{Type: v1.Ready, Status: v1.ConditionTrue}}}}}
	waits := wire.App{App: v1.App{Status: &v1.AppStatus{Conditions: []v1.Condition{{Type: v1.Ready, Status: v1.ConditionFalse, Message: "1 of 2"}}}}}
	require.Equal(t, v1.AppSummary{Phase: v1.AppPending, Message: "Pending"}, summary(wire.App{}))
	require.Equal(t, v1.AppSummary{Phase: v1.AppReady, Message: "Ready"}, summary(ready))
	require.Equal(t, v1.AppSummary{Phase: v1.AppProgressing, Message: "1 of 2"}, summary(waits))
	placed := v1.UnitOnMachine{Machine: "m", Address: "10.0.0.1", Placement: &v1.Placement{}, State: &v1.UnitState{ActiveState: "active"}}
	unit := v1.Unit{Metadata: v1.ObjectMeta{Name: "web.service"}, Status: &v1.UnitStatus{Machines: []v1.UnitOnMachine{placed}}}
	require.False(t, isGlobal(unit))
	unit.Status.Machines = append(unit.Status.Machines, placed)
	require.True(t, isGlobal(unit), "it is on two machines")
	table := unitKind.tabulate(a, unitKind.fields, []v1.Unit{unit}, apart)
	require.Len(t, table.rows, 2)
	require.Equal(t, "active", table.rows[0][3])
	table = machineKind.tabulate(a, machineKind.fields, []v1.Machine{{}}, nil)
	require.Len(t, table.rows, 1)
}

// TestColumns: column names are unique within a kind, and a kind shows only its own columns.
func TestColumns(t *testing.T) {
	columns(t, unitKind)
	columns(t, appKind)
	columns(t, machineKind)
	columns(t, eventKind)
	columns(t, endpointKind)
	require.Equal(t, "unit, hash, sha256, dstate, state, target, desc, global, tmachine, owner", unitKind.fields.whole().names())
}

func columns[T any](t *testing.T, k kind[T]) {
	seen := map[string]bool{}
	for _, f := range k.fields {
		require.False(t, seen[f.name], "%s: %s", k.plural, f.name)
		seen[f.name] = true
	}
	require.NotEmpty(t, k.fields.must(k.table+","+k.wide))
	_, err := k.fields.choose("nothing")
	require.ErrorContains(t, err, k.fields.names())
}
