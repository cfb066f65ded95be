package v1_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func TestHostPort(t *testing.T) {
	for text, want := range map[string]v1.HostPort{`"auto"`: v1.HostPortAuto, "1": 1, "65535": 65535, "0": 0} {
		var p v1.HostPort
		require.NoError(t, json.Unmarshal([]byte(text), &p), text)
		require.Equal(t, want, p)
		again, err := json.Marshal(p)
		require.NoError(t, err)
		require.Equal(t, text, string(again))
	}
	for _, text := range []string{"-1", "65536", "1.5", `"80"`, `"Auto"`, "true", "[1]"} {
		var p v1.HostPort
		require.Error(t, json.Unmarshal([]byte(text), &p), text)
	}
}

func TestAutoPorts(t *testing.T) {
	app, err := v1.ParseApp([]byte(`{apiVersion: fleet/v1, kind: App, metadata: {name: a}, spec: {exec: {command: [/a]}, announce: {},
		ports: [{name: http, hostPort: auto}, {port: 81}, {port: 82, hostPort: auto}]}}`))
	require.NoError(t, err)
	require.Equal(t, []string{"http", "82"}, app.Spec.AutoPorts())
	require.Equal(t, []v1.Port{{Name: "http", HostPort: v1.HostPortAuto}, {Name: "81", Port: 81, HostPort: 81}, {Name: "82", Port: 82, HostPort: v1.HostPortAuto}}, app.Spec.Ports)
	require.Equal(t, "http", app.Spec.Announce.Port)
	_, found := app.Spec.FindPort("0")
	require.False(t, found)
	require.Equal(t, "PORT_ADMIN_UI", v1.PortVariable("admin-ui"))
}
