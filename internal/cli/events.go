package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

func (a *app) eventsCommand() *cobra.Command {
	var object string
	cmd := &cobra.Command{
		Use: "events", Short: "Show recent events",
		Long:    "Shows events, oldest first; they are kept for some hours. --for app/NAME includes the events of the app's units.",
		Example: "  fleetctl events\n  fleetctl events --for app/hello -w\n  fleetctl events --for unit/a.service -o wide",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := url.Values{}
			if object != "" {
				words := splitArgs([]string{object})
				if len(words) != 2 || words[1] == "" {
					return usage("invalid --for %q: use app/NAME, unit/NAME or machine/ID", object)
				}
				if words[0] == "unit" {
					words[1] = unitName(words[1])
				}
				q.Set("for", words[0]+"/"+words[1])
			}
			return eventKind.show(cmd.Context(), a, nil, q)
		},
	}
	cmd.Flags().StringVar(&object, "for", "", "only events of this object: app/NAME, unit/NAME or machine/ID")
	return cmd
}

// logOptions are the flags of logs.
type logOptions struct {
	follow  bool
	lines   int
	since   string
	machine string
}

func (a *app) logsCommand() *cobra.Command {
	var o logOptions
	cmd := &cobra.Command{
		Use: "logs UNIT|app/NAME", Short: "Show the logs of units on any machine",
		Long: `Shows the journal of a unit from its machine, or of all instances of an app, with the unit on each line.
Logs of other machines are fetched through their fleetd.` + nameHelp,
		Example: "  fleetctl logs example-app@1 -f\n  fleetctl logs app/example-app -n 20 --since 10m\n  fleetctl logs router --machine 8abff2e7",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("expected one unit or app/NAME, got %d arguments", len(args))
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return a.logs(cmd.Context(), args[0], o) },
		ValidArgsFunction: a.completeNames(func() shower { return &unitKind }),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "keep streaming new entries")
	f.IntVarP(&o.lines, "lines", "n", 10, "number of past lines to show; 0 for all")
	f.StringVar(&o.since, "since", "", "only newer entries: an age such as 10m, or a time such as 2006-01-02T15:04:05Z")
	f.StringVar(&o.machine, "machine", "", "the machine, if the unit runs on several")
	return cmd
}

func (a *app) logs(ctx context.Context, what string, o logOptions) error {
	name, isApp := strings.CutPrefix(what, "app/")
	if !isApp {
		err := a.unitLogs(ctx, unitName(name), o, a.logLine(false))
		if client.NotFound(err) && !strings.ContainsAny(name, "@.") {
			return fmt.Errorf("%w; use app/%s for an app", err, name)
		}
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	if _, err := client.Get[wire.App](ctx, c, client.Path("apps", name), nil); err != nil {
		return err
	}
	units, err := client.List[v1.Unit](ctx, c, client.Path("units"), url.Values{"owner": {name}})
	if err != nil {
		return err
	}
	print := a.logLine(true)
	if !o.follow {
		return a.each(logged(name, units), func(unit string) error { return a.unitLogs(ctx, unit, o, print) })
	}
	var wg sync.WaitGroup
	var lock sync.Mutex
	for _, unit := range logged(name, units) {
		wg.Go(func() {
			err := a.unitLogs(ctx, unit, o, func(e wire.LogEntry) error {
				lock.Lock()
				defer lock.Unlock()
				return print(e)
			})
			if err != nil && ctx.Err() == nil {
				lock.Lock()
				defer lock.Unlock()
				a.report(err)
			}
		})
	}
	wg.Wait()
	return nil
}

// logged returns the units of an app that are on machines, without its sidekicks.
func logged(app string, units []v1.Unit) (names []string) {
	for _, unit := range units {
		_, sidekick, ours := v1.ParseAppUnit(app, unit.Metadata.Name)
		if ours && !sidekick && len(unit.Status.Machines) > 0 {
			names = append(names, unit.Metadata.Name)
		}
	}
	return names
}

// logLine returns a function that writes an entry in journalctl's short-iso format; withUnit adds the unit.
func (a *app) logLine(withUnit bool) func(wire.LogEntry) error {
	return func(e wire.LogEntry) error {
		who := e.Identifier
		if e.PID != "" {
			who += "[" + e.PID + "]"
		}
		if withUnit {
			who = shortName(e.Unit) + " " + who
		}
		_, err := fmt.Fprintf(a.Out, "%s %s: %s\n", e.Time.UTC().Format(time.RFC3339), who, a.safe(e.Message))
		return err
	}
}

// safe strips control characters from logged text if the output is a terminal.
func (a *app) safe(text string) string {
	if !a.Terminal {
		return text
	}
	return printable(text)
}

func (a *app) unitLogs(ctx context.Context, unit string, o logOptions, print func(wire.LogEntry) error) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	q := url.Values{"lines": {strconv.Itoa(o.lines)}}
	for key, value := range map[string]string{"since": o.since, "machine": o.machine} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if o.follow {
		q.Set("follow", "true")
	}
	for entry, err := range client.Lines[wire.LogEntry](ctx, c, client.Request{Method: http.MethodGet, Path: client.Path("units", unit, "logs"), Query: q}) {
		switch {
		case err != nil && o.follow && ctx.Err() != nil:
			return nil // interrupted by the user
		case err != nil:
			return err
		case entry.Error != nil:
			return entry.Error
		}
		if err := print(entry); err != nil {
			return err
		}
	}
	return nil
}
