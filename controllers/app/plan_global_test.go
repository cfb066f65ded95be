package app

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// rolled makes turns until all is done, and returns how many that took. At least so many machines serve meanwhile.
func (m *modes) rolled(t *testing.T, least int) (turns int) {
	for turns = 1; turns < 200; turns++ {
		require.GreaterOrEqual(t, m.turn(), least, "turn %d: %v", turns, m.log)
		settled := !m.units["web.service"].Rollout.UnderWay()
		for _, machine := range m.machines {
			settled = settled && m.served[machine]
		}
		if settled && turns > 3 {
			break
		}
	}
	for name, u := range m.units {
		require.Empty(t, u.Metadata.Annotations, name)
		for _, machine := range m.machines {
			require.Equal(t, u.Spec, m.has[[2]string{machine, name}], "%s on %s", name, machine)
		}
	}
	return turns
}

// TestGlobalIsRolled: a changed or restarted global app is away on one machine at a time, or on as many as the manifest says.
func TestGlobalIsRolled(t *testing.T) {
	for _, announced := range []bool{true, false} {
		t.Run(fmt.Sprintf("announced %t", announced), func(t *testing.T) {
			m := newModes(t, announced)
			version := func(v string) string {
				return strings.ReplaceAll(globalOf(announced), "[/bin/app, \"1\"]", fmt.Sprintf("[/bin/app, %q]", v))
			}
			m.apply("%s", version("1"))
			for range 200 {
				m.turn()
			}
			m.apply("%s", version("2"))
			one := m.rolled(t, 2)

			before := m.now
			m.restart(0, "now")
			m.rolled(t, 2)
			for _, machine := range m.machines {
				require.True(t, m.since[machine].After(before), "%s was restarted", machine)
			}

			m.apply("%s", version("3")) // and back half-way
			for range one / 2 {
				require.GreaterOrEqual(t, m.turn(), 2)
			}
			m.apply("%s", version("2"))
			m.rolled(t, 2)

			m.apply("%s", strings.Replace(version("4"), "spec:\n", "spec:\n  update: {maxUnavailable: 2}\n", 1))
			if announced { // otherwise update is there twice
				require.Less(t, m.rolled(t, 1), one)
			}
		})
	}
}

// TestGlobalPauses: a paused roll-out comes to no further machine.
func TestGlobalPauses(t *testing.T) {
	m := newModes(t, true)
	m.apply("%s", globalOf(true))
	for range 200 {
		m.turn()
	}
	m.apply("%s", strings.Replace(globalOf(true), `"1"`, `"2"`, 1))
	for len(list(m.units["web.service"].Metadata.Annotations[v1.AnnotationFormer])) != 2 {
		m.turn()
	}
	m.wish.Paused = true
	for range 200 {
		require.GreaterOrEqual(t, m.turn(), 2)
	}
	require.Equal(t, "m2,m3", m.units["web.service"].Metadata.Annotations[v1.AnnotationFormer])
	m.wish.Paused = false
	m.rolled(t, 2)
}

// TestGlobalWaitsForAFailure: what does not get ready on one machine goes to no other one.
func TestGlobalWaitsForAFailure(t *testing.T) {
	m := newModes(t, true)
	m.apply("%s", globalOf(true))
	for range 200 {
		m.turn()
	}
	was := m.units["web.service"].Spec.Hash
	m.apply("%s", strings.Replace(globalOf(true), `"1"`, `"2"`, 1))
	m.fails = func(spec v1.UnitSpec) bool { return spec.Hash != was }
	for range 200 {
		require.GreaterOrEqual(t, m.turn(), 2)
	}
	news := 0
	for _, machine := range m.machines {
		if m.has[[2]string{machine, "web.service"}].Hash != was {
			news++
		}
	}
	require.Equal(t, 1, news)
}

// TestGlobalLosesNoRequests: where a person has stopped the sidekick, or the health check fails, requests may be under way to the
// instances nevertheless. Each is replaced when they have ended, and the sidekick stays as the person has it.
func TestGlobalLosesNoRequests(t *testing.T) {
	for name, withdraw := range map[string]func(m *modes){
		"stopped": func(m *modes) { m.overrides["web-discovery.service"] = v1.Override{DesiredState: v1.Loaded} },
		"stopped right after a start": func(m *modes) {
			m.overrides["web-discovery.service"] = v1.Override{DesiredState: v1.Loaded}
			m.since["m2"] = m.now
		},
		"unhealthy": func(m *modes) {
			was := m.units["web.service"].Spec.Hash
			m.fails = func(spec v1.UnitSpec) bool { return spec.Hash == was }
		},
	} {
		t.Run(name, func(t *testing.T) { requireDrained(t, withdraw) })
	}
}

func requireDrained(t *testing.T, withdraw func(*modes)) {
	m := newModes(t, true)
	m.apply("%s", globalOf(true))
	for range 200 {
		m.turn()
	}
	withdraw(m)
	desired := v1.Launched
	if o, stopped := m.overrides["web-discovery.service"]; stopped {
		desired = o.DesiredState
	}
	m.turn()
	m.routers["m9"] = v1.Router{Draining: []v1.Draining{{Endpoint: "/services/web/" + v1.GlobalEndpointName("web", "m2"), Requests: 1}}}
	was := m.units["web.service"].Spec.Hash
	m.apply("%s", strings.Replace(globalOf(true), `"1"`, `"2"`, 1))
	for range 200 {
		m.turn()
	}
	has := func(machine string) string { return m.has[[2]string{machine, "web.service"}].Hash }
	require.Equal(t, was, has("m2"), "a request is under way to it")
	delete(m.routers, "m9")
	for range 200 {
		m.turn()
	}
	for _, machine := range m.machines {
		require.NotEqual(t, was, has(machine), machine)
	}
	require.Equal(t, desired, m.units["web-discovery.service"].Spec.DesiredState)
}
