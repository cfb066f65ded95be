package generate

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// A container on the machine's own network has no ports to publish: docker would ignore them, and warn at each start.
func TestPortsOfTheHostNetwork(t *testing.T) {
	for _, tc := range []struct {
		options []string
		ports   string
	}{
		{nil, " -p 8080:80 "},
		{[]string{"--network", "host"}, ""},
		{[]string{"--network=host"}, ""},
		{[]string{"--net", "host"}, ""},
		{[]string{"--cap-add", "NET_ADMIN", "--net=host"}, ""},
		{[]string{"--network", "web"}, " -p 8080:80 "},
		{[]string{"--network", "host", "--network", "web"}, " -p 8080:80 "},
		{[]string{"--hostname", "host"}, " -p 8080:80 "},
		{[]string{"--network"}, " -p 8080:80 "},
	} {
		app := &v1.App{Spec: v1.AppSpec{Container: &v1.Container{Image: "web", Options: tc.options}, Ports: []v1.Port{{Port: 80, HostPort: 8080}}}}
		app.Metadata.Name = "web"
		app.Default()
		run := (&generator{spec: &app.Spec, app: "web"}).run(app.Spec.Container, clientOf(app.Spec.Container), "web")
		if tc.ports == "" {
			require.NotContains(t, run, "-p ", tc.options)
		} else {
			require.Contains(t, run, tc.ports, tc.options)
		}
	}
}
