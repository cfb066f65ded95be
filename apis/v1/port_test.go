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

func TestAssignment(t *testing.T) {
	ports := v1.Assignment("").With("http", 20017).With("admin-ui", 20018)
	require.Equal(t, v1.Assignment("http=20017 admin-ui=20018"), ports)
	require.Equal(t, "PORT=20017\nPORT_HTTP=20017\nPORT_ADMIN_UI=20018\n", ports.Environment())
	require.Equal(t, 20018, ports.Get("admin-ui"))
	require.Zero(t, ports.Get("http2"))
	require.True(t, ports.Has(20017) && !ports.Has(2))
	require.Equal(t, v1.Assignment("admin-ui=20018"), ports.Without("x=20017"))
	text, err := json.Marshal(ports)
	require.NoError(t, err)
	require.Equal(t, `{"http":20017,"admin-ui":20018}`, string(text))
	var again v1.Assignment
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, ports, again)
	for _, bad := range []string{`{"a b":1}`, `{"a":0}`, `{"a":65536}`, `{"A":1}`, `[1]`, `{"a":"1"}`, `"a=1"`, `{"a\n":1}`} {
		require.Error(t, json.Unmarshal([]byte(bad), &again), bad)
	}
}

func TestPortRange(t *testing.T) {
	for text, want := range map[string]v1.PortRange{"20000-29999": v1.DefaultPortRange, "1-65535": {First: 1, Last: 65535}, "7-7": {First: 7, Last: 7}} {
		r, err := v1.ParsePortRange(text)
		require.NoError(t, err)
		require.Equal(t, want, r)
		require.Equal(t, text, r.String())
	}
	for _, text := range []string{"", "7", "8-7", "0-7", "1-65536", "a-b", "1-2-3", "-1-2"} {
		_, err := v1.ParsePortRange(text)
		require.Error(t, err, text)
	}
	require.Equal(t, 10000, v1.DefaultPortRange.Size())
	require.Zero(t, v1.PortRange{}.Size())
}
