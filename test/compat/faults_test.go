package compat

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// api sends a request below /fleet/v1 to a machine's fleetd over TCP.
func (n *node) api(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	code, _, answer, err := do(t, dialer("tcp", n.address), method, "/fleet/v1"+path, "application/json", body)
	require.NoError(t, err)
	return code, compact(answer)
}

// metadata changes one value of a machine's metadata; "" removes it.
func (n *node) metadata(t *testing.T, through *node, name, value string) {
	t.Helper()
	op := "add"
	if value == "" {
		op = "remove"
	}
	code, answer := through.api(t, http.MethodPatch, "/machines", fmt.Sprintf(`[{"op":%q,"path":"/%s/metadata/%s","value":{"value":%q}}]`, op, n.ID(), name, value))
	require.Equal(t, 204, code, answer)
}

// runsOn waits until the API says that the unit is active on that machine and nowhere else.
func runsOn(t *testing.T, through, on *node, unit string) {
	t.Helper()
	want := fmt.Sprintf(`"machineID":%q,"systemdLoadState":"loaded","systemdActiveState":"active"`, on.ID())
	eventually(t, 15*time.Second, func() error {
		code, states := through.api(t, http.MethodGet, "/state?unitName="+unit, "")
		if code != 200 || strings.Count(states, `"machineID"`) != 1 || !strings.Contains(states, want) {
			return fmt.Errorf("%s does not run on %s alone: %s", unit, on.ID(), states)
		}
		return nil
	})
}

// TestMetadataMovesUnits: a unit follows the metadata that it asks for.
func TestMetadataMovesUnits(t *testing.T) {
	c := newCluster(t, ours, 2)
	a, b := c.nodes[0], c.nodes[1]
	a.metadata(t, b, "role", "web")
	code, answer := b.api(t, http.MethodPut, "/units/m.service", `{"desiredState":"launched","options":[{"section":"Service","name":"ExecStart","value":"/bin/sleep 3001"},`+
		`{"section":"X-Fleet","name":"MachineMetadata","value":"role=web"}]}`)
	require.Equal(t, 201, code, answer)
	runsOn(t, a, a, "m.service")
	b.metadata(t, a, "role", "web")
	a.metadata(t, a, "role", "")
	runsOn(t, a, b, "m.service")
	a.metadata(t, a, "role", "web")
	b.metadata(t, a, "role", "db")
	runsOn(t, b, a, "m.service")
}

// TestUnchangedOptionsRestartNothing: a client that writes back what it read, or sends the same options again, changes nothing.
func TestUnchangedOptionsRestartNothing(t *testing.T) {
	c := newCluster(t, ours, 1)
	n, s := c.nodes[0], &session{T: t, c: c, client: ours, dir: t.TempDir()}
	s.run("start", s.file("u.service", "# mine\n[Service]\nExecStart = /bin/sleep \\\n  3002\n"))
	before := s.invocation("u.service")
	_, read := n.api(t, http.MethodGet, "/units/u.service", "")
	for _, body := range []string{read, `{"desiredState":"launched"}`, strings.Replace(read, `"currentState":"launched"`, `"more":1`, 1)} {
		code, answer := n.api(t, http.MethodPut, "/units/u.service", body)
		require.Equal(t, 204, code, "%s: %s", body, answer)
	}
	s.run("start", s.file("u.service", "[Service]\nExecStart=/bin/sleep 3002\n# the same\n"))
	runsOn(t, n, n, "u.service")
	require.Equal(t, before, s.invocation("u.service"))
	require.Contains(t, s.run("cat", "u"), "# mine", "the stored file is still the first")
}

// TestSecondMachineWithAnID: its API answers with 503 at once, it changes nothing, and it ends with the reason.
func TestSecondMachineWithAnID(t *testing.T) {
	c := newCluster(t, ours, 2)
	first, second := c.nodes[0], c.nodes[1]
	c.stop(second)
	file := filepath.Join(second.dir, "same-id")
	require.NoError(t, os.WriteFile(file, []byte(first.ID()+"\n"), 0o600))
	second.conf["machine_id"] = file
	began := time.Now()
	c.launch(second)
	client := dialer("tcp", second.address)
	eventually(t, agentTTL, func() error { // after that it ends, and answers nothing any more
		code, _, answer, err := do(t, client, http.MethodGet, "/fleet/v1/machines", "", "")
		if err == nil && (code != 503 || !strings.Contains(answer, "fleet server unable to communicate with etcd")) {
			err = fmt.Errorf("%d %s", code, answer)
		}
		return err
	})
	t.Logf("503 after %s", time.Since(began).Round(time.Millisecond))
	out, err := c.fleetctl(theirs, second, "list-machines")
	require.Error(t, err)
	require.Contains(t, out, "fleet server unable to communicate with etcd")
	require.Error(t, second.fleetd.Wait(), "it ends")
	second.fleetd = nil
	require.Contains(t, second.log.String(), "the machine ID is in use: machine "+first.ID()+" is present and alive at 127.0.0.21, this one is at 127.0.0.22")
	_, machines := first.api(t, http.MethodGet, "/machines", "")
	require.Contains(t, machines, `"primaryIP":"127.0.0.21"`)
}

// TestMachineThatIsGone: its units run elsewhere, and no listing tells of it.
func TestMachineThatIsGone(t *testing.T) {
	c := newCluster(t, ours, 2)
	stays, goes := c.nodes[0], c.nodes[1]
	for _, name := range []string{"pinned", "free"} {
		goes.metadata(t, stays, name, "here")
		code, answer := stays.api(t, http.MethodPut, "/units/"+name+".service", `{"desiredState":"launched","options":[{"section":"Service","name":"ExecStart","value":"/bin/sleep 3003"},`+
			`{"section":"X-Fleet","name":"MachineMetadata","value":"`+name+`=here"}]}`)
		require.Equal(t, 201, code, answer)
		runsOn(t, stays, goes, name+".service")
	}
	stays.metadata(t, stays, "free", "here")
	require.NoError(t, goes.Kill())
	eventually(t, 15*time.Second, func() error {
		_, machines := stays.api(t, http.MethodGet, "/machines", "")
		_, states := stays.api(t, http.MethodGet, "/state", "")
		_, pinned := stays.api(t, http.MethodGet, "/units/pinned.service", "")
		if all := machines + states + pinned; strings.Contains(all, goes.ID()) || !strings.Contains(pinned, `"currentState":"inactive"`) {
			return fmt.Errorf("%s %s %s", machines, states, pinned)
		}
		return nil
	})
	runsOn(t, stays, stays, "free.service")
	code, _ := stays.api(t, http.MethodGet, "/state/pinned.service", "")
	require.Equal(t, 404, code)
}
