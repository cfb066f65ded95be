package v1_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestLeeway: how many instances may be beside and below the wanted ones, and why none is beside them.
func TestLeeway(t *testing.T) {
	const exec, container = "  exec: {command: [/bin/web]}\n", "  container: {image: web"
	for _, tt := range []struct {
		name, spec string
		want       v1.Leeway
	}{
		{"no port", exec, v1.Leeway{Surge: 1}},
		{"a fixed port", exec + "  ports: [{port: 3000}]\n", v1.Leeway{Unavailable: 1, InPlace: "port 3000 of the machine is fixed"}},
		{"an automatic port", exec + "  ports: [{name: http, hostPort: auto}]\n", v1.Leeway{Surge: 1}},
		{"one port of each kind", exec + "  ports: [{name: http, hostPort: auto}, {port: 3000}]\n", v1.Leeway{Unavailable: 1, InPlace: "port 3000 of the machine is fixed"}},
		{"a fixed port, and several may be missing", exec + "  replicas: 9\n  ports: [{port: 3000}]\n  update: {maxUnavailable: 25%}\n",
			v1.Leeway{Unavailable: 2, Chosen: true, InPlace: "port 3000 of the machine is fixed"}},
		{"in conflict with itself", exec + "  placement: {conflicts: [\"web@*.service\"]}\n",
			v1.Leeway{Unavailable: 1, InPlace: "its instances are in conflict with each other (placement.conflicts)"}},
		{"in conflict with itself, and there are more machines", exec + "  placement: {conflicts: [\"web@*.service\"]}\n  update: {maxSurge: 1}\n", v1.Leeway{Surge: 1}},
		{"bound to numbers", exec + "  placement: {machineOf: [\"db@%i.service\"]}\n",
			v1.Leeway{Unavailable: 1, InPlace: "each number needs its own db@%i.service (placement.machineOf)"}},
		{"bound to one unit", exec + "  placement: {machineOf: [db.service]}\n", v1.Leeway{Surge: 1}},
		{"global", exec + "  global: true\n", v1.Leeway{Unavailable: 1, InPlace: "a global app has one instance on each machine"}},
		{"a container", container + "}\n", v1.Leeway{Surge: 1}},
		{"a container with one name", container + ", name: web}\n", v1.Leeway{Unavailable: 1, InPlace: "all instances have the container name web"}},
		{"a container that publishes a port", container + ", options: [\"--publish=80:80\"]}\n",
			v1.Leeway{Unavailable: 1, InPlace: "its container takes ports of the machine (container.options)"}},
		{"a container on the machine's network", container + ", options: [--network, host]}\n",
			v1.Leeway{Unavailable: 1, InPlace: "its container takes ports of the machine (container.options)"}},
		{"a container on another network", container + ", options: [--network=inside]}\n", v1.Leeway{Surge: 1}},
		{"shares", exec + "  replicas: 10\n  update: {maxSurge: 25%, maxUnavailable: 25%}\n", v1.Leeway{Surge: 3, Unavailable: 2, Chosen: true}},
		{"shares of nothing", exec + "  replicas: 3\n  update: {maxSurge: 0%, maxUnavailable: 25%}\n", v1.Leeway{Unavailable: 1, Chosen: true}},
		{"only in place", exec + "  update: {maxSurge: 0}\n", v1.Leeway{Unavailable: 1}},
		{"one of each", exec + "  update: {maxUnavailable: 1}\n", v1.Leeway{Surge: 1, Unavailable: 1, Chosen: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app, err := v1.ParseApp([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n" + tt.spec))
			require.NoError(t, err)
			require.Equal(t, tt.want, app.Spec.Leeway("web"))
			if surge := app.Spec.Update.MaxSurge; surge != nil {
				require.Contains(t, tt.spec, "maxSurge: "+surge.String())
			}
		})
	}
}

// TestCanaryThatCannotBe: one clear error each.
func TestCanaryThatCannotBe(t *testing.T) {
	const auto, fixed = "ports: [{name: http, hostPort: auto}]", "ports: [{port: 3000}]"
	for _, c := range []struct{ spec, want string }{
		{"replicas: 2\n  " + auto + "\n  announce: {}\n  update: {canary: {}}", ""},
		{"replicas: 2\n  update: {canary: {pause: true}}", ""},
		{"replicas: 2\n  " + auto + "\n  announce: {}\n  update: {canary: {}}\n  release: {command: [/bin/migrate]}", ""},
		{"replicas: 2\n  " + auto + "\n  announce: {}\n  update: {canary: {instances: 3}}", "spec.update.canary.instances: 3 is more than replicas, which is 2: use fewer"},
		{"global: true\n  update: {canary: {}}", "spec.update.canary: a global app has one instance on each machine, and no canary: remove it"},
		{"replicas: 2\n  " + fixed + "\n  announce: {}\n  update: {canary: {}}", "spec.update.canary: no instance can be started beside another one: port 3000 of the machine is fixed: remove canary"},
		{"replicas: 2\n  update: {canary: {pause: true}, maxSurge: 0}", "spec.update.canary: needs an instance beside the others, and maxSurge is 0"},
		{"replicas: 2\n  update: {canary: {}}", "spec.update.canary: there are no requests to compare, because the app is not announced (spec.announce): add pause: true"},
		{"replicas: 2\n  update: {canary: {pause: true, requests: -1}}", "spec.update.canary: instances and requests are numbers above 0"},
		{"replicas: 2\n  " + auto + "\n  announce: {}\n  update: {canary: {weight: 5%, pause: true}}", ""},
		{"replicas: 2\n  " + auto + "\n  announce: {}\n  update: {canary: {weight: 99%}}", ""},
		{"replicas: 2\n  " + auto + "\n  announce: {}\n  update: {canary: {weight: 0%}}", "spec.update.canary.weight: 0% is out of range: use 1% to 99%, so that both revisions get requests"},
		{"replicas: 2\n  " + auto + "\n  announce: {}\n  update: {canary: {weight: -5%}}", "spec.update.canary.weight: -5% is out of range"},
		{"replicas: 2\n  " + auto + "\n  announce: {}\n  update: {canary: {weight: 100%}}", "spec.update.canary.weight: 100% is out of range"},
		{"replicas: 2\n  " + auto + "\n  announce: {}\n  update: {canary: {weight: 5}}", "spec.update.canary.weight: 5 is not a share: use a percentage such as 5%"},
		{"replicas: 2\n  update: {canary: {weight: 5%, pause: true}}", "spec.update.canary.weight: there are no requests to share, because the app is not announced (spec.announce): remove weight"},
		{"global: true\n  announce: {}\n  update: {canary: {weight: 5%}}", "spec.update.canary: a global app has one instance on each machine, and no canary: remove it"},
	} {
		_, err := v1.ParseApp([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: a}\nspec:\n  exec: {command: [/bin/true]}\n  " + c.spec + "\n"))
		if c.want == "" {
			require.NoError(t, err, c.spec)
			continue
		}
		require.ErrorContains(t, err, c.want)
	}
}
