// Package change changes an app in each way that users have while requests are sent to it, on whatever cluster it is given: none of them
// may be lost.
package change

import (
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/load"
)

// Cluster is a cluster of three machines.
type Cluster struct {
	// Fleetctl runs fleetctl there, and returns what it prints. It has to work after the test has ended, too.
	Fleetctl func(args ...string) (string, error)
	// Write writes a manifest where Fleetctl finds it, and returns its path.
	Write func(manifest string) (path string, err error)
	// Program is the path of the example app on each machine.
	Program string
	// Machines are the values of each machine's metadata Key.
	Machines []string
	Key      string
	// Routers are the machines' routers. Host is the app's name there.
	Routers []load.Target
	Host    string
	// Patience is how long a request may take.
	Patience time.Duration
}

// App is what a manifest of the app says. The zero value has one instance, on a port that the scheduler chooses.
type App struct {
	Version  string
	Replicas int
	Global   bool
	// Port is the port that its instances listen on, 0 for any.
	Port int
	// On is the machine that it has to run on, if there is one.
	On string
	// Env is one more variable.
	Env string
}

var manifest = template.Must(template.New("").Parse(`apiVersion: fleet/v1
kind: App
metadata: {name: greeter}
spec:
  {{if .App.Global}}global: true{{else}}replicas: {{.App.Replicas}}{{end}}
  exec: {command: ["{{.Program}}", --instance, "%n"{{if .App.Port}}, --listen, "${FLEET_MACHINE_IP}:{{.App.Port}}"{{end}}]}
  env: {EXAMPLE_VERSION: "{{.App.Version}}"{{with .App.Env}}, {{.}}: "true"{{end}}}
  ports: [{name: http, {{if .App.Port}}port: {{.App.Port}}{{else}}hostPort: auto{{end}}}]
  {{with .App.On}}placement: {machineMetadata: {{"{"}}{{$.Key}}: [{{.}}]{{"}"}}}
  {{end}}announce: {port: http}
  healthCheck: {http: {path: /healthz}, interval: 1s}
  update: {healthyDeadline: 5s, onFailure: revert}
  route: {hosts: [{{.Host}}]}
`))

func (c *Cluster) write(app App) (path string, err error) {
	app.Replicas = max(app.Replicas, 1)
	var text strings.Builder
	if err := manifest.Execute(&text, struct {
		*Cluster
		App App
	}{c, app}); err != nil {
		return "", err
	}
	return c.Write(text.String())
}

// Apply applies a manifest of the app and waits for its roll-out.
func (c *Cluster) Apply(app App) error {
	path, err := c.write(app)
	if err != nil {
		return err
	}
	return c.fleetctl("apply", "-f", path, "--wait", "--timeout", "1m")
}

func (c *Cluster) fleetctl(args ...string) error {
	out, err := c.Fleetctl(args...)
	if err != nil {
		return fmt.Errorf("fleetctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Machine is the ID of the machine that an instance runs on. One that has just been placed has not been reported yet.
func (c *Cluster) Machine(instance string) (id string, err error) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if id, err = c.reported(instance); err == nil {
			break
		}
	}
	return id, err
}

func (c *Cluster) reported(instance string) (string, error) {
	rows, err := c.Fleetctl("list-units", "--no-legend", "--full", "--fields", "unit,machine")
	if err != nil {
		return "", err
	}
	for row := range strings.Lines(rows) {
		if unit, machine, _ := strings.Cut(strings.TrimSpace(row), "\t"); unit == instance+".service" {
			id, _, _ := strings.Cut(strings.TrimSpace(machine), "/")
			return id, nil
		}
	}
	return "", fmt.Errorf("%s is on no machine:\n%s", instance, rows)
}

// row is one change: to is the app after it. do is what makes it, where that is not apply.
type row struct {
	name string
	to   App
	do   func(c *Cluster) error
	// back: the change is taken back, and to is what stays.
	back *App
}

// table are the changes, one after the other: each starts with what the former left.
func (c *Cluster) table() []row {
	first, second := c.Machines[0], c.Machines[1]
	return []row{
		{name: "new version", to: App{Version: "2"}},
		{name: "restart", to: App{Version: "2"}, do: restart},
		{name: "drain and uncordon", to: App{Version: "2"}, do: drain},
		{name: "pinned to a machine", to: App{Version: "2", On: first}},
		{name: "pinned to another machine", to: App{Version: "2", On: second}},
		{name: "another version on another machine", to: App{Version: "3", On: first}},
		{name: "1 to 3 replicas", to: App{Version: "3", Replicas: 3}},
		{name: "new version of 3 replicas", to: App{Version: "4", Replicas: 3}},
		{name: "3 replicas to 1", to: App{Version: "4"}},
		{name: "replicas to global", to: App{Version: "4", Global: true}},
		{name: "restart, global", to: App{Version: "4", Global: true}, do: restart},
		{name: "new version, global", to: App{Version: "5", Global: true}},
		{name: "global to replicas", to: App{Version: "5", Replicas: 3}},
		{name: "a fixed port", to: App{Version: "5", Replicas: 3, Port: 3391}},
		{name: "another fixed port", to: App{Version: "5", Replicas: 3, Port: 3392}},
		{name: "new version, in place", to: App{Version: "6", Replicas: 3, Port: 3392}},
		{name: "restart, in place", to: App{Version: "6", Replicas: 3, Port: 3392}, do: restart},
		{name: "any port again", to: App{Version: "6"}},
		{name: "never ready, taken back", to: App{Version: "6"}, back: &App{Version: "7", Env: "EXAMPLE_FAIL_HEALTH"}},
	}
}

func restart(c *Cluster) error {
	return c.fleetctl("restart", "app/greeter")
}

func drain(c *Cluster) error {
	from, err := c.Machine("greeter@1")
	if err != nil {
		return err
	}
	drained := c.fleetctl("drain", from, "--timeout", "1m")
	now, err := c.Machine("greeter@1")
	if err == nil && now == from {
		err = errors.New("greeter@1 did not move")
	}
	return errors.Join(drained, err, c.fleetctl("uncordon", from))
}

// failedAndTakenBack is fleetctl's exit code.
const failedAndTakenBack = 5

func (r row) make(c *Cluster) error {
	switch {
	case r.do != nil:
		return r.do(c)
	case r.back != nil:
		err := c.Apply(*r.back)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != failedAndTakenBack {
			return fmt.Errorf("not taken back: %w", err)
		}
		return nil
	default:
		return c.Apply(r.to)
	}
}

// enough is how many requests are sent at least while something changes.
const enough = 400

// Test makes each change while GETs and POSTs are sent through all routers, over new connections and kept ones, and logs a table of them.
func (c *Cluster) Test(t *testing.T) {
	require.NoError(t, c.Apply(App{Version: "1"}))
	t.Cleanup(func() { require.NoError(t, c.fleetctl("delete", "app", "greeter")) })
	require.NoError(t, c.serves(App{Version: "1"}))
	lines := []string{"| change | requests | GET new | GET kept | POST new | POST kept | lost | slowest | took |", "|---|---|---|---|---|---|---|---|---|"}
	for _, r := range c.table() {
		t.Run(r.name, func(t *testing.T) {
			result, took := c.under(t, r)
			line := fmt.Sprintf("| %s | %d |", r.name, result.Total())
			for _, kind := range load.Kinds {
				line += fmt.Sprintf(" %d |", result.Sent[kind])
			}
			lines = append(lines, fmt.Sprintf("%s %d | %.0f ms | %.1f s |", line, len(result.Failed), float64(result.Slowest.Milliseconds()), took.Seconds()))
			require.Empty(t, result.Failed, "answered: %v", result.Answered)
			require.NoError(t, c.serves(r.to))
		})
	}
	t.Logf("changes under load:\n%s", strings.Join(lines, "\n"))
}

// under makes a change under load.
func (c *Cluster) under(t *testing.T, r row) (result load.Result, took time.Duration) {
	targets := slices.Clone(c.Routers)
	for i := range targets {
		targets[i].Host = c.Host
	}
	stream := load.Options{Patience: c.Patience}.Start(targets...)
	t.Cleanup(func() { stream.Stop() })
	start := time.Now()
	require.NoError(t, r.make(c))
	took = time.Since(start)
	require.Eventually(t, func() bool { return stream.SoFar().Total() >= enough }, 30*time.Second, 50*time.Millisecond)
	return stream.Stop(), took
}

// serves waits until each router serves that version, and that version alone.
func (c *Cluster) serves(app App) error {
	client := &http.Client{Timeout: 5 * time.Second}
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = c.version(client, app.Version); err == nil {
			return nil
		}
	}
	return err
}

func (c *Cluster) version(client *http.Client, want string) error {
	for _, router := range c.Routers {
		for range 6 { // of up to three instances
			req, err := http.NewRequest(http.MethodGet, "http://"+router.Address+"/version", nil)
			if err != nil {
				return err
			}
			req.Host = c.Host
			res, err := client.Do(req)
			if err != nil {
				return err
			}
			_ = res.Body.Close()
			if got := res.Header.Get("X-Version"); got != want {
				return fmt.Errorf("%s serves version %q (%s), not %q", router.Name, got, res.Status, want)
			}
		}
	}
	return nil
}
