package nginx

import (
	"os"

	"golang.org/x/sys/unix"
)

// journalSocket is where the journal listens for syslog messages: systemd-journald.service(8).
const journalSocket = "/dev/log"

// StdoutLog returns the Settings.AccessLog that ends up where stdout does: nginx opens its logs by name, and the socket
// that systemd passes as stdout cannot be opened. In that case it is the journal's syslog socket; if there is none, the
// log is off.
func StdoutLog(stdout *os.File) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(stdout.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return "stdout"
	}
	if _, err := os.Stat(journalSocket); err != nil {
		return "off"
	}
	return "syslog:server=unix:" + journalSocket + ",nohostname,tag=router"
}
