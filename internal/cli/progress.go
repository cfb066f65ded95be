package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// progress reports what is being waited for. On a terminal it keeps one line per object up to date; elsewhere it writes
// a line when it is new, and repeated lines with a count at increasing intervals.
type progress struct {
	app   *app
	width int // of the terminal; 0 if there is none

	mu    sync.Mutex
	order []string
	lines map[string]string
	said  map[string]int // count by line
	drawn int            // lines on the terminal that may be redrawn
}

func newProgress(a *app) *progress {
	return &progress{app: a, width: terminalWidth(a.Err), lines: map[string]string{}, said: map[string]int{}}
}

// terminalWidth returns the number of columns; 0 if out is not a terminal.
func terminalWidth(out io.Writer) int {
	file, ok := out.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// say reports the state of an object.
func (p *progress) say(what, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := what + ": " + text
	if p.lines[what] == line {
		return
	}
	if p.lines[what] == "" {
		p.order = append(p.order, what)
	}
	p.lines[what] = line
	if p.width > 0 {
		p.draw()
		return
	}
	p.said[line]++
	switch n := p.said[line]; {
	case n == 1:
		p.app.note("%s", line)
	case tenfold(n):
		p.app.note("%s (%d times)", line, n)
	}
}

// tenfold reports whether n is 10, 100, 1000 ...
func tenfold(n int) bool {
	for n%10 == 0 {
		n /= 10
	}
	return n == 1
}

// freeze leaves the drawn lines in place, because other output follows.
func (p *progress) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drawn = 0
}

// draw replaces the lines drawn before.
func (p *progress) draw() {
	var b strings.Builder
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", p.drawn)
	}
	for _, what := range p.order {
		line := []rune(strings.ReplaceAll(p.lines[what], "\n", " "))
		b.WriteString(string(line[:min(len(line), p.width-1)]) + "\n")
	}
	p.drawn = len(p.order)
	p.app.telling.Lock()
	defer p.app.telling.Unlock()
	_, _ = io.WriteString(p.app.Err, b.String())
}
