package cli

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProgressIsToldWhenItIsNew(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&app{IO: IO{Err: &out}})
	for range 12 {
		p.say("app/web", "0 of 1 ready: starting")
		p.say("app/web", "0 of 1 ready: starting")
		p.say("app/web", "0 of 1 ready: failed")
	}
	p.say("app/web", "ready")
	require.Equal(t, `app/web: 0 of 1 ready: starting
app/web: 0 of 1 ready: failed
app/web: 0 of 1 ready: starting (10 times)
app/web: 0 of 1 ready: failed (10 times)
app/web: ready
`, out.String())
}

func TestProgressIsDrawnAgainOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&app{IO: IO{Err: &out}})
	p.width = 20
	p.say("app/web", "0 of 1 ready: starting")
	p.say("app/api", "0 of 1")
	p.freeze()
	p.say("app/web", "ready")
	require.Equal(t, "app/web: 0 of 1 rea\n"+
		"\x1b[1A\x1b[Japp/web: 0 of 1 rea\napp/api: 0 of 1\n"+
		"app/web: ready\napp/api: 0 of 1\n", out.String())
}
