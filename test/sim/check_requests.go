package sim

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// wantedHosts are the hosts that routers are to know, and the app of each: of two that ask for one, the first that did.
func (c *checker) wantedHosts() map[string]string {
	app, since := map[string]string{}, map[string]int64{}
	for _, name := range c.names(c.keys.Routes().Prefix()) {
		route, err := c.keys.Routes().Decode(c.kv[c.keys.Routes().Key(name)].Value)
		if err != nil || len(route.Hosts) == 0 {
			continue
		}
		for host, at := range route.Hosts {
			if host == "" {
				host = name + ".localhost"
			}
			if app[host] == "" || at < since[host] {
				app[host], since[host] = name, at
			}
		}
	}
	return app
}

// endpointsOf are what is announced of an app.
func (c *checker) endpointsOf(app string) (keys []string) {
	for _, name := range c.names(v1.DefaultAnnouncePrefix + "/" + app + "/") {
		keys = append(keys, v1.DefaultAnnouncePrefix+"/"+app+"/"+name)
	}
	return keys
}

// hostsProblem: nginx sends requests for each host to all that its app has announced, and to nothing else.
func (c *checker) hostsProblem(h *host) string {
	conf, wanted := h.front.serving(), c.wantedHosts()
	if conf == nil {
		return "nginx on " + h.name + " does not run"
	}
	for _, host := range sortedKeys(wanted) {
		var keys []string
		for _, u := range conf.hosts[host] {
			keys = append(keys, u.Key)
		}
		slices.Sort(keys)
		if want := c.endpointsOf(wanted[host]); conf.of[host] != wanted[host] || !slices.Equal(keys, want) {
			return fmt.Sprintf("nginx on %s sends requests for %s to %s (%s) instead of %s (%s)", h.name, host,
				conf.of[host], strings.Join(keys, " "), wanted[host], strings.Join(want, " "))
		}
	}
	for _, host := range sortedKeys(conf.of) {
		if wanted[host] == "" {
			return fmt.Sprintf("nginx on %s has the host %s of %s, which does not ask for it", h.name, host, conf.of[host])
		}
	}
	return ""
}
