package build

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fleet-starter/fleet/internal/kustomize"
	"github.com/fleet-starter/fleet/internal/version"
)

const usage = `fleet-kustomize builds the kustomization in DIR of a tar archive, read from standard input, and writes the objects as JSON.

fleetd runs it for sources; it reads nothing but the archive.

Example:
  git archive HEAD | fleet-kustomize clusters/prod

Flags:
`

// Main is the program, and returns its exit code: 0 also if the kustomization is at fault, which the result says.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("fleet-kustomize", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, usage)
		flags.PrintDefaults()
	}
	memory := flags.Int64("memory", 512<<20, "bytes of memory that it may use")
	limit := flags.Duration("time", 20*time.Second, "processor time that it may use")
	showVersion := flags.Bool("version", false, "print the version")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case *showVersion:
		fmt.Fprintln(stdout, "fleet-kustomize version", version.String())
		return 0
	case flags.NArg() != 1:
		flags.Usage()
		return 2
	}
	if err := confine(*memory, *limit); err != nil {
		fmt.Fprintln(stderr, "fleet-kustomize:", err)
		return 1
	}
	tree, err := kustomize.ReadTree(stdin)
	if err != nil {
		fmt.Fprintln(stderr, "fleet-kustomize:", err)
		return 1
	}
	dir := strings.TrimPrefix(path.Clean("/"+flags.Arg(0)), "/")
	if err := json.NewEncoder(stdout).Encode(Build(tree, dir)); err != nil {
		fmt.Fprintln(stderr, "fleet-kustomize:", err)
		return 1
	}
	return 0
}

// confine takes from the process what a build has no need of, before it reads anything.
func confine(memory int64, limit time.Duration) error {
	seconds := uint64(limit/time.Second) + 1
	for resource, value := range map[int]uint64{
		unix.RLIMIT_DATA: uint64(memory), // not RLIMIT_AS: Go's runtime reserves more than it uses
		unix.RLIMIT_CPU:  seconds,
		unix.RLIMIT_CORE: 0,
	} {
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
			return err
		}
	}
	debug.SetMemoryLimit(memory / 4 * 3)
	log.SetOutput(io.Discard)
	http.DefaultTransport = noTransport{}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// noTransport is a network that answers nothing, where the system gives the process one.
type noTransport struct{}

// RoundTrip implements http.RoundTripper.
func (noTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nothing is read from elsewhere")
}
