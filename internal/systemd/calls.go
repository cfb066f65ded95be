package systemd

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/godbus/dbus/v5"
)

// do calls a method of the manager whose result does not matter.
func (c *Client) do(ctx context.Context, op, unit, method string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	l, err := c.current()
	if err != nil {
		return wrap(op, unit, err)
	}
	if unit != "" {
		l.expectJob(unit)
	}
	call := l.call(ctx, method, args...)
	if unit != "" && call.Err == nil {
		l.ownJob(unit, call.Body)
	}
	return wrap(op, unit, call.Err)
}

// Link implements Manager.
func (c *Client) Link(ctx context.Context, paths ...string) error {
	if len(paths) == 0 {
		return nil
	}
	const runtime, force = true, true
	return c.do(ctx, "link", "", "LinkUnitFiles", paths, runtime, force)
}

// Enable implements Manager.
func (c *Client) Enable(ctx context.Context, paths ...string) error {
	if len(paths) == 0 {
		return nil
	}
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = filepath.Base(p)
	}
	if err := c.Unlink(ctx, names...); err != nil {
		return err
	}
	const runtime, force = true, true
	if err := c.do(ctx, "enable", "", "EnableUnitFiles", paths, runtime, force); err != nil {
		return errors.Join(err, c.Link(ctx, paths...))
	}
	// systemd links a file by enabling it, unless there is nothing to enable.
	return c.Link(ctx, paths...)
}

// Unlink implements Manager.
func (c *Client) Unlink(ctx context.Context, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	err := c.unlink(ctx, names)
	if isRefusal(err) && len(names) > 1 {
		// systemd stops at the first name that it rejects or that has no file. That is rare, so go one by one.
		err = nil
		for _, name := range names {
			err = errors.Join(err, ignoreNoLink(c.unlink(ctx, []string{name})))
		}
	}
	if l, currentErr := c.current(); currentErr == nil {
		l.unfollow(names)
	}
	return ignoreNoLink(err)
}

// ignoreNoLink drops errors for names without a link: there is no such unit, or the name is invalid.
func ignoreNoLink(err error) error {
	if errors.Is(err, ErrBadUnit) {
		return nil
	}
	return ignoreNotLoaded(err)
}

// isRefusal reports whether systemd answered and the error concerns one of the names.
func isRefusal(err error) bool { return errors.Is(err, ErrNoSuchUnit) || errors.Is(err, ErrBadUnit) }

func (c *Client) unlink(ctx context.Context, names []string) error {
	const runtime = true
	return c.do(ctx, "unlink", "", "DisableUnitFiles", names, runtime)
}

// Reload implements Manager.
func (c *Client) Reload(ctx context.Context) error {
	return c.do(ctx, "reload", "", "Reload")
}

// Start implements Manager.
func (c *Client) Start(ctx context.Context, name string) error {
	return c.do(ctx, "start", name, "StartUnit", name, "replace")
}

// Stop implements Manager.
func (c *Client) Stop(ctx context.Context, name string) error {
	return ignoreNotLoaded(c.do(ctx, "stop", name, "StopUnit", name, "replace"))
}

// Restart implements Manager.
func (c *Client) Restart(ctx context.Context, name string) error {
	return c.do(ctx, "restart", name, "RestartUnit", name, "replace")
}

// ResetFailed implements Manager.
func (c *Client) ResetFailed(ctx context.Context, name string) error {
	return ignoreNotLoaded(c.do(ctx, "reset-failed", name, "ResetFailedUnit", name))
}

// ignoreNotLoaded drops the error of calls that stop or reset a unit that is not loaded.
func ignoreNotLoaded(err error) error {
	if errors.Is(err, ErrNoSuchUnit) {
		return nil
	}
	return err
}

// listed is one row of ListUnitsByNames.
type listed struct {
	Name        string
	Description string
	LoadState   string
	ActiveState string
	SubState    string
	Followed    string
	Path        dbus.ObjectPath
	JobID       uint32
	JobType     string
	JobPath     dbus.ObjectPath
}
