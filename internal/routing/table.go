// Package routing holds what a router serves, as a value: the route controller plans it, nginx renders it.
package routing

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Table is what a router serves. Its values are valid: they can be rendered as they are.
type Table struct {
	// Routes are sorted by app.
	Routes []Route
	// Keys are additional keys and values for a custom template.
	Keys map[string]string
	// Revision is the etcd revision of Routes and Keys. The status page shows it; a change of the revision alone causes
	// no reload.
	Revision int64
	// Refused is what was left out.
	Refused []v1.RouteRefusal
}

// Route is an app with its hosts and the addresses of its instances.
type Route struct {
	// App is a DNS label; it names the upstream.
	App string
	// Prefix is the directory in which a custom template finds the upstreams.
	Prefix string
	// Hosts are host names in lower case, such as www.example.com or *.example.com, sorted. No other route has them.
	Hosts []string
	// Upstreams are the announced instances, sorted. Without any, requests are answered with 503.
	Upstreams []Upstream
	// Timeout and BodySize override those of the router for this app; zero means no override.
	Timeout  time.Duration
	BodySize int64
	// DrainTimeout is how long requests that are under way to a withdrawn instance are waited for. Zero means the router's
	// default.
	DrainTimeout time.Duration
	// Count: the responses of each endpoint are counted, from when this token was set; empty: they are not.
	Count string
}

// Upstream is one announced instance.
type Upstream struct {
	// Key is the etcd key that announces it, for reports.
	Key string
	// Instance is the last part of the key, such as example-app@1.
	Instance string
	// Address is ip:port, see v1.ParseEndpoint.
	Address string
	// Weight is the instance's share of requests, relative to the app's others. Zero means 1.
	Weight int
}

// IsPlain reports whether s can be used in nginx's configuration without ending a directive, a block or a string, or
// naming a variable.
func IsPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r == 0x7f || strings.ContainsRune(";{}#$\"'\\`", r)
	})
}

// Quote quotes an untrusted value, truncated for a message.
func Quote(s string) string {
	const limit = 64
	if len(s) > limit {
		return strconv.QuoteToASCII(s[:limit]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
