package daemon

import (
	"net"
	"os/user"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// named is a listener whose connections over a unix socket say which user is at the other end: in their remote address, as @alice.
// The API shows it in the history of an app.
type named struct{ net.Listener }

// Accept implements net.Listener.
func (l named) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if local, ok := conn.(*net.UnixConn); ok && err == nil {
		return &localConn{UnixConn: local}, nil
	}
	return conn, err
}

type localConn struct {
	*net.UnixConn
	once sync.Once
	user string
}

// RemoteAddr implements net.Conn.
func (c *localConn) RemoteAddr() net.Addr {
	c.once.Do(func() { c.user = peer(c.UnixConn) })
	return &net.UnixAddr{Name: "@" + c.user, Net: "unix"}
}

// peer returns the name of the user whose process opened the connection (unix(7), SO_PEERCRED), or its number if it has no name; ""
// if the kernel does not say.
func peer(conn *net.UnixConn) string {
	raw, err := conn.SyscallConn()
	if err != nil {
		return ""
	}
	var cred *unix.Ucred
	if raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return ""
	}
	uid := strconv.FormatUint(uint64(cred.Uid), 10)
	if u, err := user.LookupId(uid); err == nil {
		return u.Username
	}
	return uid
}
