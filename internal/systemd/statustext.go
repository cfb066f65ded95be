package systemd

import (
	"context"
	"strings"
)

// StatusText returns what a service last said of itself, in STATUS= of sd_notify(3); "" if it has said nothing or does not run.
// It is read when a person asks: the text may change many times a second, so no state of a unit contains it.
func (c *Client) StatusText(ctx context.Context, name string) (text string, err error) {
	if !strings.HasSuffix(name, ".service") {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	l, err := c.current()
	if err != nil {
		return "", wrap("status", name, err)
	}
	found := l.list(ctx, []string{name})[0]
	if found.err != nil || found.row.LoadState != "loaded" {
		return "", found.err
	}
	return text, wrap("status", name, l.get(ctx, found.row.Path, serviceInterface, "StatusText").Store(&text))
}
