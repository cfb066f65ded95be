package generate

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// FuzzUnits: the unit files of every valid App contain what it says and nothing else: systemd's parser has no warnings, and
// every command, variable and option is where it belongs.
func FuzzUnits(f *testing.F) {
	f.Add([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  replicas: 2\n  exec: {command: [/bin/app, \"1; } \\\\ %% $x\"]}\n  ports: [{port: 3000}]\n  announce: {}\n"))
	f.Add([]byte(`{"apiVersion":"fleet/v1","kind":"App","metadata":{"name":"a"},"spec":{"global":true,"exec":{"command":["/bin/a","%i"]},"env":{"A":"b\\nc \"'$%"},"unit":{"Service":{"Restart":["no"]}}}}`))
	f.Add([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: c}\nspec:\n  container: {image: a/b:c, args: [\"x y\", \"'\"], volumes: [\"/a:/b:ro\"]}\n  ports: [{port: 80, hostPort: 8080}]\n  announce: {}\n  healthCheck: {http: {path: /x?y=%20}}\n  placement: {conflicts: [\"c@*.service\"], machineMetadata: {zone: [a]}, spreadOver: zone}\n"))
	f.Fuzz(func(t *testing.T, manifest []byte) {
		app, err := v1.ParseApp(manifest)
		if err != nil {
			return
		}
		files, err := Units(app.Metadata.Name, &app.Spec)
		if err != nil {
			require.NotContains(t, err.Error(), "\x00")
			return
		}
		for unit, text := range map[string]string{v1.AppUnit(app.Metadata.Name, 1): files.Unit, v1.SidekickUnit(app.Metadata.Name, 1): files.Sidekick} {
			if text == "" {
				continue
			}
			parsed, err := unitfile.Parse(text)
			require.NoError(t, err, "%s", text)
			require.Empty(t, parsed.Warnings(), "%s", text)
			name, err := unitfile.ParseName(unit)
			require.NoError(t, err)
			fleet, problems := unitfile.ParseFleet(parsed, name)
			require.Empty(t, unitfile.Errors(problems), "%s", text)
			require.Equal(t, app.Spec.Global, fleet.Global)
		}
	})
}
