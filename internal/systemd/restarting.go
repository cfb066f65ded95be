package systemd

import (
	"context"

	"github.com/godbus/dbus/v5"
)

// Restarting reports whether the unit of a process is being stopped only to be started again: systemctl restart, or fleetd's restart
// for a new file. systemd's job for that is one of type restart until the unit has stopped.
func (c *Client) Restarting(ctx context.Context, pid int) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	l, err := c.current()
	if err != nil {
		return false, wrap("read job", "", err)
	}
	var unit dbus.ObjectPath
	if err := l.call(ctx, "GetUnitByPID", uint32(pid)).Store(&unit); err != nil {
		return false, wrap("read job", "", err)
	}
	var value dbus.Variant
	var job struct {
		ID   uint32
		Path dbus.ObjectPath
	}
	err = l.get(ctx, unit, unitInterface, "Job").Store(&value)
	if err == nil {
		err = dbus.Store([]any{value.Value()}, &job)
	}
	if err != nil || job.ID == 0 {
		return false, wrap("read job", "", err)
	}
	kind := ""
	if err = l.get(ctx, job.Path, jobInterface, "JobType").Store(&value); err == nil {
		err = value.Store(&kind)
	}
	return kind == "restart", wrap("read job", "", err)
}

func (l *link) get(ctx context.Context, object dbus.ObjectPath, of, name string) *dbus.Call {
	return l.conn.Object("org.freedesktop.systemd1", object).CallWithContext(ctx, getProperty, 0, of, name)
}
