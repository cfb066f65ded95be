package machine

import (
	"net"
	"os"
	"strings"
	"syscall"
)

// readySocket receives sd_notify(3) messages of the machine's service manager.
type readySocket struct {
	conn *net.UnixConn
	pid  chan int // the manager's PID as this process sees it, once the manager is ready
	done chan struct{}
}

// listenReady listens at path until close.
func listenReady(path string) (*readySocket, error) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		controlErr := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1) })
		if err == nil {
			err = controlErr
		}
	}
	if err != nil {
		conn.Close()
		return nil, os.NewSyscallError("setsockopt SO_PASSCRED", err)
	}
	s := &readySocket{conn: conn, pid: make(chan int, 1), done: make(chan struct{})}
	go s.read()
	return s, nil
}

func (s *readySocket) read() {
	defer close(s.done)
	buf, oob := make([]byte, 4096), make([]byte, syscall.CmsgSpace(syscall.SizeofUcred))
	for {
		n, oobn, _, _, err := s.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return // closed
		}
		if !strings.Contains("\n"+string(buf[:n])+"\n", "\nREADY=1\n") {
			continue
		}
		// The kernel translates the sender's PID between the namespaces: this is how the host learns it.
		messages, err := syscall.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) == 0 {
			continue
		}
		if cred, err := syscall.ParseUnixCredentials(&messages[0]); err == nil {
			s.pid <- int(cred.Pid)
			return
		}
	}
}

func (s *readySocket) close() {
	s.conn.Close() // removes the socket, too
	<-s.done
}
