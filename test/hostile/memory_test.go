package hostile

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// TestMemory: memory allocated for an input is bounded by its size, not by the expansion of its aliases or the depth of its
// nesting. The bounds are two to three times the current use.
func TestMemory(t *testing.T) {
	const kB, MB = 1_000, 1_000_000
	put := sender()
	for _, c := range []struct {
		name, input string
		read        func(string) error
		bound       int64
		fine        bool // it is large, but valid
	}{
		{"a manifest of 2 MB", app("huge", "description: "+strings.Repeat("x", 2<<20)), manifestOf, 6 * MB, false},
		{"a request of 2 MB", app("huge", "description: "+strings.Repeat("x", 2<<20)), put, 8 * MB, false},
		{"60,000 variables", app("fields", "env: {"+variables(60_000)+"}"), manifestOf, 120 * MB, false},
		{"10,000 aliases", app("aliases", "env: &a {A: b}", "x: ["+strings.Repeat("*a,", 10_000)+"]"), manifestOf, 6 * MB, false},
		{"10,000 aliases in a request", app("aliases", "env: &a {A: b}", "x: ["+strings.Repeat("*a,", 10_000)+"]"), put, 6 * MB, false},
		{"aliases for 10 billion", bomb(), manifestOf, 200 * kB, false},
		{"aliases for 10 billion in a unit", bomb(), unitOf, 1 * MB, false},
		{"deep nesting in YAML", app("deep", "x: "+strings.Repeat("[", 9_000)+strings.Repeat("]", 9_000)), manifestOf, 15 * MB, false},
		{"deeper nesting in YAML", app("deeper", "x: "+strings.Repeat("[", 500_000)), manifestOf, 20 * MB, false},
		{"deep nesting in a request", `{"apiVersion":"fleet/v1","kind":"App","metadata":{"name":"deep"},"spec":` + nested(100_000) + "}", put, 30 * MB, false},
		{"deep nesting in a unit", `{"spec":` + nested(100_000) + "}", unitOf, 5 * MB, false},
		{"a unit file with a line of 1 MB", "[Service]\nExecStart=/bin/sleep " + strings.Repeat("x", 1<<20) + "\n", fileOf, 100 * kB, false},
		{"a unit file with 300,000 lines that go on", "[Service]\nExecStart=/bin/sleep " + strings.Repeat("x\\\n", 300_000) + "\n", fileOf, 12 * MB, true},
		{"a unit file with 80,000 options", sleeping + "[X-Fleet]\n" + strings.Repeat("Conflicts=a\n", 80_000), fileOf, 150 * MB, true},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "-"), func(t *testing.T) {
			err := c.read(c.input) // once before: one-time allocations do not count
			require.Equal(t, c.fine, err == nil, "%v", err)
			if err != nil {
				require.Less(t, len(err.Error()), 10*kB)
			}
			used := allocated(func() { _ = c.read(c.input) })
			t.Logf("%d bytes in, %d allocated", len(c.input), used)
			require.Less(t, used, c.bound)
		})
	}
}

func manifestOf(text string) error {
	_, err := v1.ParseApp([]byte(text))
	return err
}

func unitOf(text string) error {
	_, err := keys.Units().Decode([]byte(text))
	return err
}

func fileOf(text string) error {
	file, err := unitfile.Parse(text)
	if err != nil {
		return err
	}
	name, err := unitfile.ParseName("a.service")
	if err != nil {
		return err
	}
	if _, problems := unitfile.ParseFleet(file, name); len(unitfile.Errors(problems)) > 0 {
		return errors.New("X-Fleet is wrong")
	}
	return nil
}

// sender returns a function that sends manifests to an API.
func sender() func(string) error {
	s := memstore.New(memstore.Options{})
	server := api.New(api.Options{Store: s, Keys: keys, MachineID: machine, Log: logr.Discard()})
	return func(text string) error {
		w, r := httptest.NewRecorder(), httptest.NewRequest("PUT", "/apis/fleet/v1/apps/a", strings.NewReader(text))
		server.ServeHTTP(w, r)
		if w.Code < 300 {
			return nil
		}
		return fmt.Errorf("%d %s", w.Code, w.Body)
	}
}

// allocated returns how many bytes f allocates, freed or not.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func variables(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "A%d: b, ", i)
	}
	return b.String()
}

func nested(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
