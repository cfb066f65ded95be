package etcdctl

import (
	"errors"
	"fmt"
	"io"

	"github.com/fleet-starter/fleet/internal/store"
)

// The exit codes of etcd 2's etcdctl.
const (
	exitOK            = 0
	exitBadArgs       = 1
	exitBadConnection = 2
	exitServerError   = 4
)

// Error is an error of etcd 2's API.
type Error struct {
	Code           int
	Message, Cause string
	Index          int64
}

// Error has the form of etcd 2's client.
func (e *Error) Error() string {
	return fmt.Sprintf("%d: %s (%s) [%d]", e.Code, e.Message, e.Cause, e.Index)
}

// The codes of etcd 2 that the commands return.
const (
	codeKeyNotFound  = 100
	codeTestFailed   = 101
	codeNotFile      = 102
	codeNotDir       = 104
	codeNodeExist    = 105
	codeRootReadOnly = 107
	codeDirNotEmpty  = 108
	codeUnauthorized = 110
)

var messages = map[int]string{
	codeKeyNotFound: "Key not found", codeTestFailed: "Compare failed", codeNotFile: "Not a file", codeNotDir: "Not a directory",
	codeNodeExist: "Key already exists", codeRootReadOnly: "Root is read only", codeDirNotEmpty: "Directory not empty",
	codeUnauthorized: "The request requires user authentication",
}

func fail(code int, cause string, index int64) error {
	return &Error{Code: code, Message: messages[code], Cause: cause, Index: index}
}

// usageError is a wrong command line.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// errDirectory is the answer of get to a directory, which is no error of the API.
type errDirectory string

func (e errDirectory) Error() string { return string(e) + ": is a directory" }

// report writes an error as etcdctl does and returns the exit code.
func report(err error, c *Command, stderr io.Writer) int {
	var api *Error
	var wrong usageError
	var dir errDirectory
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &dir):
		fmt.Fprintln(stderr, err)
		return exitBadArgs
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, "Error: ", err)
		return exitBadArgs
	case errors.Is(err, store.ErrDenied):
		api = fail(codeUnauthorized, err.Error(), 0).(*Error)
	case errors.Is(err, store.ErrUnavailable):
		fmt.Fprintf(stderr, "Error:  client: etcd cluster is unavailable or misconfigured; error #0: %v\n\nerror #0: %v\n\n", err, err)
		if c.NoSync {
			return exitServerError
		}
		return exitBadConnection
	}
	if api != nil {
		err = api
	}
	fmt.Fprintln(stderr, "Error: ", err)
	return exitServerError
}
