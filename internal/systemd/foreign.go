package systemd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/godbus/dbus/v5"
)

// linkedRuntime is the state of the files that Link links, see systemctl(1), is-enabled.
const linkedRuntime = "linked-runtime"

// madeBySystemd is the origin of units without a file: init.scope, slices, mounts, devices.
const madeBySystemd = "made by systemd itself"

// Foreign implements Manager. It pipelines the calls for all names. Only units that have a file are asked about as files.
func (c *Client) Foreign(ctx context.Context, names []string) (map[string]string, error) {
	foreign := map[string]string{}
	if len(names) == 0 {
		return foreign, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	l, err := c.current()
	if err != nil {
		return nil, wrap("look up", "", err)
	}
	l.follow(names)
	dirs, err := l.unitPath(ctx)
	if err != nil {
		return nil, wrap("look up", "", err)
	}
	units := l.ask(ctx, "GetUnit", names, func(string) bool { return true })
	files := l.ask(ctx, "GetUnitFileState", names, func(name string) bool { return hasFile(dirs, name) })
	for i, name := range names {
		var state string
		known := false
		if call := files[i]; call != nil {
			if known, err = answer(ctx, call, &state); err != nil {
				return nil, wrap("look up", name, err)
			}
		}
		var path dbus.ObjectPath
		loaded, err := answer(ctx, units[i], &path)
		if err != nil {
			return nil, wrap("look up", name, err)
		}
		origin := ""
		if loaded {
			if origin, err = l.origin(ctx, path); err != nil {
				return nil, wrap("look up", name, err)
			}
		}
		switch {
		case known && state == linkedRuntime:
		case !known && c.isRuntimeLink(origin): // its link was removed while it was running
		case origin != "":
			foreign[name] = origin
		case known:
			foreign[name] = "unit file, " + state
		}
	}
	return foreign, nil
}

// isRuntimeLink reports whether Link could have made this path: beside the manager's socket.
func (c *Client) isRuntimeLink(path string) bool {
	runtime := filepath.Dir(c.socket)
	dir := filepath.Dir(path)
	return dir == filepath.Join(runtime, "system") || dir == filepath.Join(runtime, "user")
}

// unitPath returns the directories where systemd looks for unit files.
func (l *link) unitPath(ctx context.Context) (dirs []string, err error) {
	var value dbus.Variant
	manager := l.conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	if err := manager.CallWithContext(ctx, getProperty, 0, managerInterface, "UnitPath").Store(&value); err != nil {
		return nil, err
	}
	return dirs, dbus.Store([]any{value.Value()}, &dirs)
}

// hasFile reports whether a unit may have a file, or its template one. Most new units have none, and systemd takes long to say so:
// it looks for its own directories again for each name.
func hasFile(dirs []string, name string) bool {
	files := []string{name}
	if at, dot := strings.IndexByte(name, '@'), strings.LastIndexByte(name, '.'); at >= 0 && at < dot {
		files = append(files, name[:at+1]+name[dot:])
	}
	for _, dir := range dirs {
		for _, file := range files {
			if _, err := os.Lstat(filepath.Join(dir, file)); !errors.Is(err, fs.ErrNotExist) {
				return true
			}
		}
	}
	return false
}

// ask calls a method of the manager for each of the names that is to be asked about; the others have no call.
func (l *link) ask(ctx context.Context, method string, names []string, about func(name string) bool) []*dbus.Call {
	manager := l.conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	calls := make([]*dbus.Call, len(names))
	for i, name := range names {
		if about(name) {
			calls[i] = manager.GoWithContext(ctx, managerInterface+"."+method, 0, make(chan *dbus.Call, 1), name)
		}
	}
	return calls
}

// answer waits for the answer. "Not found" is an answer, not an error.
func answer(ctx context.Context, call *dbus.Call, to any) (bool, error) {
	select {
	case <-call.Done:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	err := call.Store(to)
	var remote dbus.Error
	if errors.As(err, &remote) && !errors.Is(wrap("", "", err), ErrDisconnected) {
		return false, nil
	}
	return err == nil, err
}

// origin returns where a loaded unit comes from; "" if systemd only knows its name from other units.
func (l *link) origin(ctx context.Context, unit dbus.ObjectPath) (string, error) {
	object := l.conn.Object("org.freedesktop.systemd1", unit)
	var load, path string
	for name, to := range map[string]any{"LoadState": &load, "FragmentPath": &path} {
		var value dbus.Variant
		ok, err := answer(ctx, object.GoWithContext(ctx, getProperty, 0, make(chan *dbus.Call, 1), unitInterface, name), &value)
		if err != nil || !ok { // it was unloaded meanwhile
			return "", err
		}
		if err := dbus.Store([]any{value.Value()}, to); err != nil {
			return "", err
		}
	}
	switch {
	case load == "not-found":
		return "", nil
	case path != "":
		return path, nil
	}
	return madeBySystemd, nil
}
