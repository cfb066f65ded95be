package announce

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestAddress: an announcer rejects addresses that no router would route to.
func TestAddress(t *testing.T) {
	for address, want := range map[string]string{
		"10.0.0.1:3000":      "",
		"[fd00::1]:3000":     "",
		"127.0.0.1:3000":     "", // the router decides whether it accepts that
		"":                   `address: want ip:port such as 10.0.0.1:3000 or [fd00::1]:3000, not ""`,
		":3000":              `address: want ip:port such as 10.0.0.1:3000 or [fd00::1]:3000, not ":3000"`,
		"10.0.0.1:0":         `address: want ip:port such as 10.0.0.1:3000 or [fd00::1]:3000, not "10.0.0.1:0"`,
		"10.0.0.1:65536":     `address: want ip:port such as 10.0.0.1:3000 or [fd00::1]:3000, not "10.0.0.1:65536"`,
		"db.example.com:80":  `address: want the instance's IP address and port such as 10.0.0.1:3000, not the name "db.example.com:80"`,
		"169.254.169.254:80": `address: 169.254.169.254 is a link-local address: it means a different host on each machine`,
		"0.0.0.0:80":         `address: 0.0.0.0 is the unspecified address, which identifies no host`,
		"224.0.0.1:80":       `address: 224.0.0.1 is a multicast address, which identifies no single host`,
	} {
		o := Options{App: "a", Instance: "a@1", Address: address, Interval: time.Second, Timeout: time.Second, TTL: time.Minute}
		_, err := New(o)
		if want == "" {
			require.NoError(t, err, address)
			continue
		}
		require.EqualError(t, err, want, address)
	}
}
