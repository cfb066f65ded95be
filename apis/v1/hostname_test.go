package v1_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func TestLabels(t *testing.T) {
	for _, s := range []string{"a", "7", "a-b", "a--b", "0a", "example-app", strings.Repeat("a", 63)} {
		require.True(t, v1.IsLabel(s), s)
	}
	for _, s := range []string{"", "-", "-a", "a-", "A", "a.b", "a_b", "a b", "ä", "a\n", "\na", "*", strings.Repeat("a", 64)} {
		require.False(t, v1.IsLabel(s), s)
	}
}

func TestHosts(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 49)+".", 5) // 250 bytes
	for _, s := range []string{"a", "a.b", "www.example.com", "1.example.com", "xn--bcher-kva.example", "127.0.0.1", "1.2.3.4a", long + "com"} {
		require.True(t, v1.IsHost(s), s)
		require.True(t, v1.IsRouteHost(s), s)
		require.False(t, v1.IsHost("*."+s), s)
		require.True(t, v1.IsRouteHost("*."+s), s)
	}
	for _, s := range []string{"", ".", "a.", ".a", "a..b", "A.b", "a.b:80", "[::1]", "::1", "a.-b", "*", "*.", "**.a", "a.*", "*.*.a", "a.b\n",
		"1", "010.1", "1.2.3", "1.2.3.256", "1.2.3.4.5", "a.1", long + "coms", strings.Repeat("a", 64) + ".b"} {
		require.False(t, v1.IsHost(s), s)
		require.False(t, v1.IsRouteHost(s), s)
	}
}
