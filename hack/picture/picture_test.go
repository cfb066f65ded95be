package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPictureIsUpToDate(t *testing.T) {
	require.NoError(t, run("../..", true))
}

func TestStalePictureIsFound(t *testing.T) {
	top := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(top, "docs"), 0o755))
	text := filepath.Join(top, "docs/architecture.txt")
	require.NoError(t, os.WriteFile(text, []byte("box a 0 0 1 A\n"), 0o644))
	require.ErrorContains(t, run(top, true), "run hack/update-picture.sh")
	require.NoError(t, run(top, false))
	require.NoError(t, run(top, true))
}

// The drawing is well-formed, and has every box and arrow; an invalid line is an error with its position.
func TestDraw(t *testing.T) {
	d, err := read("# comment\n\nbox a 0 0 1 A & B | under it\nbox b 2 0 1 C\ngroup 0 0 3 1 all\narrow a b to\n")
	require.NoError(t, err)
	svg := string(d.draw(palettes[0]))
	for decoder := xml.NewDecoder(strings.NewReader(svg)); ; {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	require.Equal(t, 3, strings.Count(svg, "<rect "))
	require.Contains(t, svg, ">A &amp; B</text>")
	require.Contains(t, svg, `<line x1="106" y1="41" x2="236" y2="41"`, "from the right side of a to the left side of b")

	for text, wrong := range map[string]string{
		"box a 0 0 1":              "line 1: expected box, group or arrow",
		"box a 0 x 1 A":            "line 1: column, row and width must be numbers",
		"group 0 0 1 y all":        "line 1: column, row, width and height must be numbers",
		"box a 0 0 1 A\narrow a b": "line 2: no such box before this line",
	} {
		_, err := read(text)
		require.ErrorContains(t, err, wrong, text)
	}
}
