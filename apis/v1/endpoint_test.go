package v1

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseNetwork(t *testing.T) {
	for s, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/8": "10.0.0.0/8", "10.1.2.3": "10.1.2.3/32", "fd00::1/8": "fd00::/8", "fd00::1": "fd00::1/128", "::ffff:10.0.0.1": "10.0.0.1/32",
		"": "", "10.0.0.0/33": "", "10.0.0.0/8; }": "", "lb.example.com": "", "fe80::1%eth0": "", "::ffff:10.0.0.0/104": "", "10.0.0.1:80": "",
	} {
		network, err := ParseNetwork(s)
		if want == "" {
			require.ErrorContains(t, err, "want a network such as 10.0.0.0/8 or fd00::/8, or an address, not ", s)
			continue
		}
		require.NoError(t, err, s)
		require.Equal(t, want, network.String(), s)
	}
}

func TestMaxBody(t *testing.T) {
	for size, want := range map[string]int64{"": 0, "0": Unlimited, "100": 100, "1.5G": 3 << 29, "nonsense": 0} {
		require.Equal(t, want, (&Route{BodySize: size}).MaxBody(), size)
	}
	require.Zero(t, (*Route)(nil).MaxBody())
}

// TestReservedPorts: ports that routers refuse cannot be announced to routers; under other prefixes they can.
func TestReservedPorts(t *testing.T) {
	for _, c := range []struct {
		spec    string
		refused bool
	}{
		{"ports: [{port: 49153}], announce: {}", true},
		{"ports: [{port: 2380}], announce: {}", true},
		{"ports: [{port: 49154}, {port: 2379}], announce: {}", false},
		{"ports: [{port: 2379}], announce: {prefix: /services/etcd}", false},
		{"ports: [{port: 2379}]", false},
	} {
		_, err := ParseApp([]byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: a}\nspec: {exec: {command: [/bin/a]}, " + c.spec + "}\n"))
		if c.refused {
			require.ErrorContains(t, err, "spec.announce.port: ", c.spec)
		} else {
			require.NoError(t, err, c.spec)
		}
	}
}

// TestEndpointsDigest pins the format: routers and leaders of different versions compare digests. A digest covers keys
// and values, so swapping two values changes it.
func TestEndpointsDigest(t *testing.T) {
	const one, two = "/services/web/shop/shop@1", "/services/web/shop/shop@2"
	for _, c := range []struct {
		endpoints map[string]string
		want      string // first 16 hex digits of sha256(key NUL value NUL ...), sorted by key
	}{
		{nil, "e3b0c44298fc1c14"},
		{map[string]string{one: "10.0.0.1:3000"}, "e9df5ba0b846f0d0"},
		{map[string]string{one: "10.0.0.1:3000", two: "10.0.0.2:3000"}, "53fb4460fe3c0ac2"},
		{map[string]string{"/a": "b", "/c": "d"}, "77a30f84f805f6f3"},
		{map[string]string{"/a": "b/c", "": "d"}, "87b77787a59a02c6"},
	} {
		require.Equal(t, c.want, EndpointsDigest(c.endpoints), "%v", c.endpoints)
	}
}
