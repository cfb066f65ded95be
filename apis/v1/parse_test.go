package v1_test

import (
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestParseErrors pins the text of every error.
func TestParseErrors(t *testing.T) {
	const file = "testdata/errors.txtar"
	archive, err := txtar.ParseFile(file)
	require.NoError(t, err)
	cases := 0
	for i := 0; i+1 < len(archive.Files); i++ {
		name, isInput := strings.CutSuffix(archive.Files[i].Name, ".yaml")
		if !isInput {
			continue
		}
		cases++
		input, want := archive.Files[i], &archive.Files[i+1]
		require.Equal(t, name+".err", want.Name)
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			app, err := v1.ParseApp(input.Data)
			require.Less(t, time.Since(started), 5*time.Second)
			require.Error(t, err)
			require.Nil(t, app)
			if *update {
				want.Data = []byte(err.Error() + "\n")
			}
			require.Equal(t, strings.TrimSpace(string(want.Data)), err.Error())
		})
	}
	require.Greater(t, cases, 50)
	if *update {
		require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
	}
}

const full = `# everything that can be said
apiVersion: fleet/v1
kind: App
metadata: {name: hello, labels: {team: web}}
spec:
  replicas: 3
  container:
    image: localhost:5000/hello:latest
    args: [--name, "%i", "--ip=${FLEET_MACHINE_IP}"]
    volumes: ["/srv:/srv:ro", "%S/hello:/data", named:/n]
    options: [-e, "HOST_IP=${COREOS_PRIVATE_IPV4}"]
  env: {PORT: 3000, DEBUG: true, EMPTY: "", PERCENT: "100% $HOME \"x\" 'y' \\"}
  envFiles: [-/etc/default/hello]
  ports:
  - {name: web, port: 80, hostPort: 3000}
  - port: 9090
  resources:
    requests: {cpu: 0.25, memory: 64M}
    limits: {cpu: 500m, memory: 128Mi}
  placement:
    conflicts: [hello@*.service]
    machineOf: [cache@%i.service]
    machineMetadata: {disk: ssd, zone: [a, b]}
    spreadOver: zone
  announce: {port: 9090, ttl: 10s}
  healthCheck:
    http: {path: /healthz}
    interval: 1s
  route: {hosts: [hello.example.com, "*.hello.example.com"]}
  unit:
    Unit: {After: [a.service, b.service]}
    Service: {TimeoutStopSec: 90, Restart: on-failure}
status: {anything: [that, is, "not looked at"]}
`

func TestParseAppFillsInDefaults(t *testing.T) {
	app, err := v1.ParseApp([]byte(full))
	require.NoError(t, err)
	require.Nil(t, app.Status)
	s := app.Spec
	require.Equal(t, "hello", s.Description)
	require.Equal(t, map[string]string{"PORT": "3000", "DEBUG": "true", "EMPTY": "", "PERCENT": `100% $HOME "x" 'y' \`}, s.Env)
	require.Equal(t, []v1.Port{{Name: "web", Port: 80, HostPort: 3000}, {Name: "9090", Port: 9090, HostPort: 9090}}, s.Ports)
	require.Equal(t, v1.PullAlways, s.Container.Pull)
	require.Equal(t, v1.Announce{Port: "9090", Prefix: "/services/web", TTL: v1.Duration(10 * time.Second)}, *s.Announce)
	require.Equal(t, "9090", s.HealthCheck.HTTP.Port)
	require.EqualValues(t, 3, s.HealthCheck.UnhealthyThreshold)
	require.Equal(t, v1.StringList{"90"}, s.Unit["Service"]["TimeoutStopSec"])
	require.Equal(t, 5*time.Minute, s.Update.HealthyDeadline.Std())
}

// TestParseAppReadsWhatIsWritten: an App survives a round trip through JSON and YAML.
func TestParseAppReadsWhatIsWritten(t *testing.T) {
	app, err := v1.ParseApp([]byte(full))
	require.NoError(t, err)
	written, err := yaml.Marshal(app)
	require.NoError(t, err)
	again, err := v1.ParseApp(written)
	require.NoError(t, err)
	require.Equal(t, app, again)
	asJSON, err := yaml.YAMLToJSON(written)
	require.NoError(t, err)
	again, err = v1.ParseApp(asJSON)
	require.NoError(t, err)
	require.Equal(t, app, again)
}

func TestParseAppReadsJSONEscapes(t *testing.T) {
	app, err := v1.ParseApp([]byte(`{"apiVersion":"fleet/v1","kind":"App","metadata":{"name":"hello"},` + "\n\t" +
		`"spec":{"exec":{"command":["/bin/hello"]},"description":"\ud83d\ude00 \\ud83d\\ude00 \u00e9"}}`))
	require.NoError(t, err)
	require.Equal(t, `😀 \ud83d\ude00 é`, app.Spec.Description)
}

func TestParseAppFollowsAliases(t *testing.T) {
	app, err := v1.ParseApp([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: &n hello}\nspec:\n  description: *n\n  exec: {command: [/bin/true]}\n"))
	require.NoError(t, err)
	require.Equal(t, "hello", app.Spec.Description)
}

func TestParseAppNamed(t *testing.T) {
	_, err := v1.ParseAppNamed("hello", []byte(full))
	require.NoError(t, err)
	_, err = v1.ParseAppNamed("other", []byte(full))
	require.EqualError(t, err, `line 4: metadata.name: "hello" does not match the name "other" that the manifest is stored under: use the same name`)
}

func TestParseAppRefusesLargeTexts(t *testing.T) {
	_, err := v1.ParseApp([]byte(full + strings.Repeat("# padding\n", 1<<17)))
	require.EqualError(t, err, "the manifest is too large: 1311788 bytes, the limit is 1048576")
	_, err = v1.ParseApp([]byte("a: [" + strings.Repeat("a,", 1<<18) + "]"))
	require.EqualError(t, err, "the manifest is too large: more than 100000 lines and list items")
}

const unitManifest = "apiVersion: fleet/v1\nkind: Unit\nmetadata: {name: a@1.service}\nspec:\n  contents: |\n    [Service]\n    ExecStart=/bin/true\n"

func TestParseManifests(t *testing.T) {
	text := "# two\n---\n" + full + "---\n# nothing here\n---\n" + unitManifest + "--- \n"
	objects, err := v1.ParseManifests([]byte(text))
	require.NoError(t, err)
	require.Len(t, objects, 2)
	require.Equal(t, []string{"App", "hello", "Unit", "a@1.service"}, []string{objects[0].Kind(), objects[0].Name(), objects[1].Kind(), objects[1].Name()})
	require.Equal(t, 2, objects[0].Line)
	require.Equal(t, v1.Launched, objects[1].Unit.Spec.DesiredState)
	for _, o := range objects {
		again, err := v1.ParseManifests(o.Raw)
		require.NoError(t, err)
		require.Equal(t, o.Name(), again[0].Name())
	}

	_, err = v1.ParseManifests([]byte("---\n" + unitManifest + "---\n" + unitManifest + "  desiredState: on\n---\nkind: Pod\n"))
	require.EqualError(t, err, "line 17: spec.desiredState: unknown value \"on\": use one of inactive, loaded, launched\n"+
		"line 19: apiVersion: missing: add apiVersion: fleet/v1")
}

func TestParseUnitErrors(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"name":                {"a@1.service", "a b", `line 3: metadata.name: unit name "a b": character 2 is not one of A-Z a-z 0-9 : - _ . \ @`},
		"no type":             {"a@1.service", "a", `line 3: metadata.name: unit name "a": no type, add one such as .service`},
		"long":                {"a@1.service", strings.Repeat("a", 248) + ".service", "256 characters, at most 255 are allowed"},
		"instance of a mount": {"a@1.service", "zzdata@vol1.mount", "metadata.name: unit name \"zzdata@vol1.mount\": units of type mount have no instances"},
		"retired type":        {"a@1.service", "a.snapshot", "metadata.name: unit name \"a.snapshot\": systemd has no snapshot units"},
		"template":            {"a@1.service}\nspec:", "a@.service}\nspec:\n  desiredState: launched", `line 5: spec.desiredState: a template cannot run itself: use inactive, and start an instance such as "a@1.service"`},
		"no text":             {"contents: |\n    [Service]\n    ExecStart=/bin/true", "hash: x", `line 5: spec.hash: "x" is not a SHA-256: use 64 hexadecimal digits`},
		"field":               {"contents", "content", "line 4: spec.contents: missing: set the unit file's text"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v1.ParseUnit([]byte(strings.Replace(unitManifest, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.want)
		})
	}
}
