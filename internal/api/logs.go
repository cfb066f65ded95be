package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// hopHeader marks a request forwarded by another fleetd: it is answered here or refused, never forwarded again.
const hopHeader = "X-Fleet-Forwarded"

// maxLines bounds ?lines=.
const maxLines = 1_000_000

// unitOnMachine serves what only a unit's machine knows, from this machine or through the fleetd of another one.
type unitOnMachine struct {
	reader     *reader
	journal    Journal                                                // nil if no journal is read here
	statusText func(ctx context.Context, unit string) (string, error) // nil if systemd cannot be asked here
	limits     *limits
	machineID  string
	version    string
	now        func() time.Time
	transport  http.RoundTripper
}

// logs streams a unit's journal as JSON lines. ?lines= limits past entries, ?since= excludes older ones, ?follow=true keeps
// streaming, ?machine= selects one of several machines. Logs of other machines are fetched from the fleetd there.
func (l *unitOnMachine) logs(w http.ResponseWriter, r *http.Request) error {
	q, err := l.journalQuery(r)
	if err != nil {
		return err
	}
	return l.onItsMachine(w, r, q.Unit, onMachine{path: "logs", none: "has no log", advice: "run journalctl -u " + q.Unit + " there",
		here: func() error { return l.localLogs(w, r, q) }})
}

// onMachine is a request that the unit's machine answers.
type onMachine struct {
	path   string // of the request, below that of the unit
	none   string // what a unit that is on no machine lacks
	advice string // what to do if its machine's fleetd does not answer
	here   func() error
}

// onItsMachine answers a request if the unit is on this machine, and has the fleetd of its machine answer it if not.
func (l *unitOnMachine) onItsMachine(w http.ResponseWriter, r *http.Request, name string, o onMachine) error {
	machine, err := l.where(r.Context(), name, r.URL.Query().Get("machine"), o.none)
	if err != nil {
		return err
	}
	if machine == l.machineID {
		return o.here()
	}
	if r.Header.Get(hopHeader) != "" {
		return wire.Fail(wire.ReasonElsewhere, "unit %s is on machine %s, not on %s", name, machine, l.machineID)
	}
	return l.forward(w, r, name, o, machine)
}

func (l *unitOnMachine) journalQuery(r *http.Request) (JournalQuery, error) {
	values := r.URL.Query()
	q := JournalQuery{Unit: r.PathValue("name"), Follow: flag(values.Get("follow"))}
	if _, err := checkUnitName(q.Unit); err != nil {
		return q, err
	}
	if text := values.Get("lines"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > maxLines {
			return q, wire.Fail(wire.ReasonBadRequest, "?lines=%s: must be a number from 0 to %d", text, maxLines)
		}
		q.Lines = n
	}
	var err error
	q.Since, err = parseSince(values.Get("since"), l.now())
	return q, err
}

// where returns the machine to ask. What an instance of an app has written that is gone, such as one of a revision that was taken back,
// is still on its machine: that has to be named by its whole ID then.
func (l *unitOnMachine) where(ctx context.Context, name, wanted, none string) (machine string, err error) {
	unit, err := l.reader.units.read(ctx, name)
	if err == nil {
		machine, err = l.machineOf(unit, wanted, none)
	}
	var status *wire.Status
	if err == nil || wanted == "" || !errors.As(err, &status) || status.Reason != wire.ReasonNotFound {
		return machine, err
	}
	if wanted != l.machineID {
		if _, unknown := l.reader.machines.read(ctx, wanted); unknown != nil {
			return "", err
		}
	}
	for _, app := range v1.AppsOfUnit(name) { // no unit that is not fleet's
		if _, unknown := l.reader.apps.read(ctx, app); unknown == nil {
			return wanted, nil
		}
	}
	return "", err
}

// machineOf returns the machine to ask for a unit: this one if the unit is here.
func (l *unitOnMachine) machineOf(unit *v1.Unit, wanted, none string) (string, error) {
	name := unit.Metadata.Name
	var ids []string
	for _, m := range unit.Status.Machines {
		if wanted != "" && strings.HasPrefix(m.Machine, wanted) || wanted == "" && m.Machine == l.machineID {
			return m.Machine, nil
		}
		ids = append(ids, m.Machine)
	}
	switch {
	case wanted != "":
		return "", wire.Fail(wire.ReasonNotFound, "unit %s is not on machine %s; it is on: %s", name, wanted, orNone(ids))
	case len(ids) == 0 && unit.Status.Unplaced != nil:
		return "", wire.Fail(wire.ReasonNotFound, "unit %s is not on any machine and %s: %s", name, none, unit.Status.Unplaced.Message)
	case len(ids) == 0:
		return "", wire.Fail(wire.ReasonNotFound, "unit %s is not on any machine and %s", name, none)
	}
	if placed := placedOn(unit.Status.Machines); len(placed) > 0 {
		return placed[0].Machine, nil
	}
	return ids[0], nil
}

func orNone(ids []string) string {
	if len(ids) == 0 {
		return "none"
	}
	return strings.Join(ids, ", ")
}

// localLogs reads this machine's journal.
func (l *unitOnMachine) localLogs(w http.ResponseWriter, r *http.Request, q JournalQuery) error {
	if l.journal == nil {
		return wire.Fail(wire.ReasonElsewhere, "fleetd cannot read the journal here: run journalctl -u %s on machine %s", q.Unit, l.machineID)
	}
	done, err := l.limits.journal(q.Unit, l.machineID)
	if err != nil {
		return err
	}
	defer done()
	out := newStream(w)
	if err := out.flush(); err != nil {
		return nil // the client is gone
	}
	err = l.journal.Read(r.Context(), q, func(e wire.LogEntry) error {
		e.Machine = l.machineID
		out.send(e)
		if q.Follow {
			return out.flush()
		}
		return out.err
	})
	if err != nil && out.err == nil && r.Context().Err() == nil {
		out.send(wire.LogEntry{Unit: q.Unit, Machine: l.machineID, Error: toStatus(err)})
	}
	_ = out.flush() // the client is gone
	return nil
}

// forward forwards the request to the fleetd of another machine.
func (l *unitOnMachine) forward(w http.ResponseWriter, r *http.Request, name string, o onMachine, machine string) error {
	there, err := l.reader.machines.read(r.Context(), machine)
	var status *wire.Status
	if errors.As(err, &status) && status.Reason == wire.ReasonNotFound {
		return wire.Fail(wire.ReasonMachineUnreachable, "unit %s is on machine %s, which is away", name, machine)
	}
	if err != nil {
		return err
	}
	where := fmt.Sprintf("machine %s (%s)", machine, there.Spec.Address)
	if there.Spec.Endpoint == "" {
		return wire.Fail(wire.ReasonElsewhere, "unit %s is on %s, whose fleetd does not listen on TCP (listen=): %s", name, where, o.advice)
	}
	resp, err := l.askMachine(r, there.Spec.Endpoint, machine, o.path)
	if err != nil {
		return wire.Fail(wire.ReasonMachineUnreachable, "unit %s is on %s, whose fleetd did not answer: %v: %s", name, where, err, o.advice)
	}
	defer resp.Body.Close()
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	copyStream(newCopier(w), resp.Body)
	return nil
}

func (l *unitOnMachine) askMachine(r *http.Request, endpoint, machine, path string) (*http.Response, error) {
	target, err := url.Parse(endpoint)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
		return nil, fmt.Errorf("its endpoint %q is not an http:// address", endpoint)
	}
	values := r.URL.Query()
	values.Set("machine", machine)
	at := target.JoinPath(wire.Prefix, "units", url.PathEscape(r.PathValue("name")), path)
	at.RawQuery = values.Encode()
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(hopHeader, l.machineID)
	req.Header.Set("User-Agent", "fleetd/"+l.version)
	return l.transport.RoundTrip(req) // redirects are not followed
}

func newCopier(w http.ResponseWriter) *copier {
	return &copier{w: w, control: http.NewResponseController(w)}
}

// copier flushes after every write.
type copier struct {
	w       io.Writer
	control *http.ResponseController
}

func (c *copier) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if err == nil {
		err = c.control.Flush()
	}
	return n, err
}

// copyStream copies until either side ends.
func copyStream(to *copier, from io.Reader) { _, _ = io.Copy(to, from) }
