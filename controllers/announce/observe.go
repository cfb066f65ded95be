package announce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

// Probe checks an instance once. The error says why it is unhealthy.
type Probe func(ctx context.Context) error

// HTTPProbe passes if the response status is 200 to 399. Every probe opens a new connection, to detect an instance that
// hangs but keeps old connections open.
func HTTPProbe(url string) Probe {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, Proxy: nil},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", "fleet-announcer")
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode < 200 || res.StatusCode > 399 {
			return fmt.Errorf("GET %s answered %s%s", url, res.Status, firstLine(res.Body))
		}
		return nil
	}
}

// firstLine is ": " and the beginning of an answer, if there is any.
func firstLine(body io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(body, 200)) // what came is better than nothing
	line, _, _ := strings.Cut(strings.TrimSpace(strings.ToValidUTF8(string(text), "")), "\n")
	if line == "" {
		return ""
	}
	return ": " + strings.TrimSpace(line)
}

// TCPProbe passes when a connection to address (host:port) is accepted.
func TCPProbe(address string) Probe {
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// ExecProbe passes if the command, run without a shell, exits with status 0.
func ExecProbe(command []string) Probe {
	return func(ctx context.Context) error {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		// Processes that the command left running must not delay the result.
		cmd.WaitDelay = 100 * time.Millisecond
		out, err := cmd.CombinedOutput()
		if err == nil || errors.Is(err, exec.ErrWaitDelay) { // returned in place of exit status 0
			return nil
		}
		if text, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n"); text != "" {
			return fmt.Errorf("%s: %w: %s", command[0], err, text)
		}
		return fmt.Errorf("%s: %w", command[0], err)
	}
}

// observe probes the instance once, within the timeout, and updates its health.
func (c *Controller) observe(ctx context.Context) Input {
	in := Input{Thresholds: c.opts.Thresholds, Interval: c.opts.Interval, Announced: c.endpoint.held()}
	probeCtx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	err := c.opts.Probe(probeCtx)
	if ctx.Err() != nil {
		// Being stopped does not make it unhealthy.
		in.Stopping, in.Health = true, c.health
		return in
	}
	if errors.Is(err, context.DeadlineExceeded) {
		noAnswer := fmt.Sprintf("no answer within %s", c.opts.Timeout)
		err = errors.New(strings.Replace(err.Error(), context.DeadlineExceeded.Error(), noAnswer, 1))
	}
	c.health = c.health.After(err)
	in.Health = c.health
	return in
}
