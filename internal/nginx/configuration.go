// Package nginx keeps an nginx routing to the instances of apps: it renders a routing table, tests it, installs it and
// reloads.
//
// Start reading at Server.Apply (renders each app separately, runs nginx -t on a copy, renames, reloads, waits until the
// new configuration answers). nginx does not depend on the process that started it: it keeps serving when that is killed,
// and the next Server adopts it.
package nginx

import (
	"time"

	"github.com/fleet-starter/fleet/internal/routing"
)

// Configuration is what nginx is to serve, and how.
type Configuration struct {
	Settings
	routing.Table
}

// Settings do not change while a router runs.
type Settings struct {
	// Dir is an absolute path; nginx writes only below it.
	Dir string
	// Listen are the addresses to serve, such as "80", "127.0.0.11:8080" or "[::]:80".
	Listen []string
	// StatusListen is an additional address for the status page only; empty for none.
	StatusListen string
	// Domain completes the host name of an app without hosts: <app>.<domain>. Empty for none.
	Domain string
	// AccessLog is off (default), stdout, an absolute path, or syslog:server=... in nginx's syntax. stdout must not be
	// a socket, such as the journal's: see StdoutLog.
	AccessLog string
	// ErrorLog is stderr (default), an absolute path, or syslog:server=...
	ErrorLog string
	// Workers is the number of worker processes. 0 means one per core.
	Workers int
	// User is the user of the workers if nginx is started by root. Default: nginx's default user, which is "nobody", or
	// root if that user cannot access Dir.
	User string
	// Timeout is how long an app may be silent before and during an answer. Default DefaultTimeout. Websockets have a
	// day.
	Timeout time.Duration
	// BodySize is the maximum size of a request body in bytes. Default DefaultBodySize; v1.Unlimited for no limit.
	BodySize int64
	// TrustedProxies are addresses and networks (CIDR) of proxies in front of nginx: their X-Forwarded-For, Forwarded
	// and similar headers are passed on. Those of other clients are replaced.
	TrustedProxies []string
	// ShutdownTimeout is how long requests and websockets may outlive a change of the configuration. Default
	// DefaultShutdownTimeout. See also limitRetired.
	ShutdownTimeout time.Duration
}

// The defaults of Settings.
const (
	DefaultTimeout         = 5 * time.Minute
	DefaultBodySize        = 1 << 30
	DefaultShutdownTimeout = 24 * time.Hour
)

// The reasons why something of a valid table is not served.
const (
	ReasonNotAccepted    = "NotAccepted"    // nginx -t refuses the configuration with it
	ReasonTemplateFailed = "TemplateFailed" // the router's --template fails with it
)
