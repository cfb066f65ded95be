// Package containertest is what fleetd relies on in a container runtime. Docker passes it, on real machines, and so does the model
// that stands in for it.
package containertest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/container"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Machine is a machine with the runtime under test and a registry that does what the test says.
type Machine interface {
	Present(ctx context.Context, image unitfile.Image) bool
	Pull(ctx context.Context, image unitfile.Image, progress func(string)) error
	List(ctx context.Context, machine string) ([]container.Container, error)
	Remove(ctx context.Context, id string) error

	// Image is the image with that tag, of the registry.
	Image(tag string) unitfile.Image
	// Push has the tag mean another image.
	Push(tag string)
	// Kept identifies the image that the machine has under the tag; "" if it has none.
	Kept(tag string) string
	// SetAway has the registry refuse connections, or answer again.
	SetAway(away bool)
	// SetHanging has the registry send no answer to requests for images, or send them again.
	SetHanging(hanging bool)
	// Run runs a container with fleet's labels; with ends it has ended when Run returns.
	Run(name, unit, machine string, ends bool) (id string)
}

// Test tests a runtime. start returns a machine that has none of the images.
func Test(t *testing.T, start func(t *testing.T) Machine) {
	for name, test := range map[string]func(t *testing.T, m Machine){
		"an image is pulled":                     pulled,
		"a tag that was pushed again":            pushedAgain,
		"an image that is not there":             unknown,
		"a registry that is away":                away,
		"a registry that hangs":                  hangs,
		"a pull goes on when the registry does":  goesOn,
		"two pulls of one image":                 two,
		"containers are listed by their machine": listed,
	} {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}

func pull(t *testing.T, m Machine, tag string) error {
	t.Helper()
	return m.Pull(t.Context(), m.Image(tag), func(string) {})
}

func pulled(t *testing.T, m Machine) {
	m.Push("1")
	require.False(t, m.Present(t.Context(), m.Image("1")))
	var progress []string
	require.NoError(t, m.Pull(t.Context(), m.Image("1"), func(p string) { progress = append(progress, p) }))
	require.True(t, m.Present(t.Context(), m.Image("1")))
	require.Equal(t, "1 of 1 layers", progress[len(progress)-1])
	require.NoError(t, pull(t, m, "1"), "it is there")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.False(t, m.Present(ended, m.Image("1")))
}

func pushedAgain(t *testing.T, m Machine) {
	m.Push("1")
	require.NoError(t, pull(t, m, "1"))
	before := m.Kept("1")
	m.Push("1")
	require.Equal(t, before, m.Kept("1"), "nothing is pulled by itself")
	require.NoError(t, pull(t, m, "1"))
	require.NotEqual(t, before, m.Kept("1"))
	require.NotEmpty(t, m.Kept("1"))
}

func unknown(t *testing.T, m Machine) {
	m.Push("1")
	err := pull(t, m, "none")
	require.ErrorContains(t, err, "manifest unknown")
	require.NotContains(t, err.Error(), "\n")
	require.False(t, m.Present(t.Context(), m.Image("none")))
}

func away(t *testing.T, m Machine) {
	m.Push("1")
	require.NoError(t, pull(t, m, "1"))
	kept := m.Kept("1")
	m.Push("1")
	m.Push("2")
	m.SetAway(true)
	for _, tag := range []string{"1", "2"} {
		require.ErrorContains(t, pull(t, m, tag), "connection refused")
	}
	require.Equal(t, kept, m.Kept("1"))
	require.True(t, m.Present(t.Context(), m.Image("1")), "what the machine has stays")
	require.False(t, m.Present(t.Context(), m.Image("2")))
	m.SetAway(false)
	require.NoError(t, pull(t, m, "2"))
}

func hangs(t *testing.T, m Machine) {
	m.Push("1")
	require.NoError(t, pull(t, m, "1"))
	m.Push("2")
	m.SetHanging(true)
	for _, tag := range []string{"1", "2"} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		begun := time.Now()
		err := m.Pull(ctx, m.Image(tag), func(string) {})
		require.Error(t, err)
		require.Less(t, time.Since(begun), 6*time.Second, "one that is given up ends")
		cancel()
	}
	require.True(t, m.Present(t.Context(), m.Image("1")), "the machine answers")
	require.False(t, m.Present(t.Context(), m.Image("2")))
	m.SetHanging(false)
	require.NoError(t, pull(t, m, "2"), "what was given up can be pulled again")
}

func goesOn(t *testing.T, m Machine) {
	m.Push("1")
	m.SetHanging(true)
	done := make(chan error, 1)
	go func() { done <- m.Pull(t.Context(), m.Image("1"), func(string) {}) }()
	select {
	case err := <-done:
		require.Fail(t, "it does not wait", "%v", err)
	case <-time.After(time.Second):
	}
	m.SetHanging(false)
	require.NoError(t, <-done)
	require.True(t, m.Present(t.Context(), m.Image("1")))
}

func two(t *testing.T, m Machine) {
	m.Push("1")
	var both sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		both.Go(func() { errs[i] = m.Pull(t.Context(), m.Image("1"), func(string) {}) })
	}
	both.Wait()
	require.Equal(t, make([]error, 2), errs)
}

func listed(t *testing.T, m Machine) {
	m.Push("1")
	require.NoError(t, pull(t, m, "1"))
	runs := m.Run("contract.1", "contract@1.service", "m1", false)
	ended := m.Run("contract.2", "contract@2.service", "m1", true)
	other := m.Run("contract.3", "contract@3.service", "m2", false)
	list := func(machine string) (found []container.Container) {
		list, err := m.List(t.Context(), machine)
		require.NoError(t, err)
		return list
	}
	docker := unitfile.RuntimeDocker
	require.ElementsMatch(t, []container.Container{
		{Runtime: docker, ID: runs, Name: "contract.1", Unit: "contract@1.service", Running: true},
		{Runtime: docker, ID: ended, Name: "contract.2", Unit: "contract@2.service"},
	}, list("m1"))
	for _, id := range []string{runs, ended, other, other, strings.Repeat("0", 64)} { // also one that is gone
		require.NoError(t, m.Remove(t.Context(), id))
	}
	require.Empty(t, list("m1"))
	require.Empty(t, list("m2"))
}
