package nginx

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// counts asks nginx what it has counted for the endpoints of the apps that ask for that, sorted by endpoint.
func (s *Server) counts(ctx context.Context, routes []routing.Route) (all []v1.EndpointCounts, err error) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeout)
	defer cancel()
	for _, r := range routes {
		if r.Count == "" {
			continue
		}
		keys, ids := map[string]string{}, []string{}
		for _, u := range r.Upstreams {
			id := strconv.FormatUint(endpointID(r.App, u.Key, u.Address), 10)
			keys[id], ids = u.Key, append(ids, id)
		}
		if len(ids) == 0 {
			continue
		}
		code, body, err := s.ask(ctx, feedName, http.MethodGet, "/-/endpoints?token="+r.Count+"&ids="+strings.Join(ids, "_"), nil)
		if err != nil || code != http.StatusOK {
			return nil, cmp.Or(err, fmt.Errorf("nginx answers %d: %s", code, strings.TrimSpace(body)))
		}
		for line := range strings.Lines(body) {
			if counts, ok := readCounts(strings.Fields(line)); ok {
				counts.Endpoint, counts.Token = keys[strings.Fields(line)[0]], r.Count
				all = append(all, counts)
			}
		}
	}
	slices.SortFunc(all, func(a, b v1.EndpointCounts) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	return all, nil
}

// readCounts reads a line: the ID, the errors, and the responses by bucket.
func readCounts(fields []string) (c v1.EndpointCounts, ok bool) {
	if len(fields) < 3 {
		return c, false
	}
	for i, field := range fields[1:] {
		n, err := strconv.ParseFloat(field, 64)
		switch {
		case err != nil:
			return c, false
		case i == 0:
			c.Errors = int64(n)
		default:
			c.Latency = append(c.Latency, int64(n))
		}
	}
	return c, true
}
