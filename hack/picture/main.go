// Command picture draws docs/architecture.txt, a diagram of boxes and arrows in text form, as two SVGs: for light and for
// dark pages.
//
// A line is one of:
//
//	box NAME COLUMN ROW WIDTH TEXT | SECOND LINE
//	group COLUMN ROW WIDTH HEIGHT TEXT
//	arrow FROM TO TEXT
//
// Columns and rows are cells of a grid. An arrow connects the sides that face each other.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The grid, in pixels.
const (
	cellWidth, cellHeight = 110, 84
	boxHeight             = 50
	margin                = 16
)

// palette is the set of colours of one picture.
type palette struct{ name, text, soft, line, box, group string }

var palettes = []palette{
	{"light", "#1f2328", "#59636e", "#59636e", "#eef4fb", "#d1d9e0"},
	{"dark", "#f0f6fc", "#9198a1", "#9198a1", "#1c2a3a", "#3d444d"},
}

func main() {
	check := flag.Bool("check", false, "write nothing, fail if a picture is not up to date")
	top := flag.String("top", ".", "the checkout's directory")
	flag.Parse()
	if err := run(*top, *check); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(top string, check bool) error {
	text, err := os.ReadFile(filepath.Join(top, "docs/architecture.txt"))
	if err != nil {
		return err
	}
	d, err := read(string(text))
	if err != nil {
		return err
	}
	for _, p := range palettes {
		path := filepath.Join(top, "docs/architecture-"+p.name+".svg")
		drawn := d.draw(p)
		stored, err := os.ReadFile(path)
		switch {
		case err == nil && bytes.Equal(stored, drawn):
		case check:
			return fmt.Errorf("%s is not up to date: run hack/update-picture.sh", path)
		default:
			if err := os.WriteFile(path, drawn, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// rect is a box or a group, in pixels.
type rect struct {
	x, y, w, h float64
	lines      []string
}

type arrow struct {
	from, to rect
	text     string
}

type drawing struct {
	boxes, groups []rect
	arrows        []arrow
	width, height float64
}

func read(text string) (*drawing, error) {
	d := &drawing{}
	boxes := map[string]rect{}
	for i, line := range strings.Split(text, "\n") {
		fail := func(why string) error { return fmt.Errorf("line %d: %s: %s", i+1, why, line) }
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		switch {
		case f[0] == "box" && len(f) > 5:
			n, err := numbers(f[2:5])
			if err != nil {
				return nil, fail("column, row and width must be numbers")
			}
			b := rect{x: margin + n[0]*cellWidth, y: margin + n[1]*cellHeight, w: n[2]*cellWidth - 20, h: boxHeight}
			for part := range strings.SplitSeq(strings.Join(f[5:], " "), "|") {
				b.lines = append(b.lines, strings.TrimSpace(part))
			}
			boxes[f[1]] = b
			d.boxes = append(d.boxes, b)
			d.grow(b)
		case f[0] == "group" && len(f) > 5:
			n, err := numbers(f[1:5])
			if err != nil {
				return nil, fail("column, row, width and height must be numbers")
			}
			g := rect{x: margin + n[0]*cellWidth - 10, y: margin + n[1]*cellHeight - 22, w: n[2] * cellWidth, h: n[3]*cellHeight - 4, lines: []string{strings.Join(f[5:], " ")}}
			d.groups = append(d.groups, g)
			d.grow(g)
		case f[0] == "arrow" && len(f) > 2:
			from, known := boxes[f[1]]
			to, knownToo := boxes[f[2]]
			if !known || !knownToo {
				return nil, fail("no such box before this line")
			}
			d.arrows = append(d.arrows, arrow{from, to, strings.Join(f[3:], " ")})
		default:
			return nil, fail("expected box, group or arrow")
		}
	}
	return d, nil
}

func numbers(words []string) (list []float64, err error) {
	for _, w := range words {
		n, err := strconv.ParseFloat(w, 64)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

func (d *drawing) grow(r rect) {
	d.width, d.height = max(d.width, r.x+r.w+margin), max(d.height, r.y+r.h+margin)
}

func (d *drawing) draw(p palette) []byte {
	out := &bytes.Buffer{}
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" font-family="system-ui, sans-serif" font-size="13">`+"\n",
		d.width, d.height, d.width, d.height)
	fmt.Fprintf(out, `<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="%s"/></marker></defs>`+"\n", p.line)
	for _, g := range d.groups {
		fmt.Fprintf(out, `<rect x="%g" y="%g" width="%g" height="%g" rx="8" fill="none" stroke="%s"/>`+"\n", g.x, g.y, g.w, g.h, p.group)
		write(out, g.x+10, g.y+15, "start", p.soft, 12, g.lines[0])
	}
	for _, b := range d.boxes {
		fmt.Fprintf(out, `<rect x="%g" y="%g" width="%g" height="%g" rx="6" fill="%s" stroke="%s"/>`+"\n", b.x, b.y, b.w, b.h, p.box, p.line)
		for i, line := range b.lines {
			y := b.y + b.h/2 + 4.5 + (float64(i)-float64(len(b.lines)-1)/2)*17
			colour, size := p.text, 13
			if i > 0 {
				colour, size = p.soft, 11
			}
			write(out, b.x+b.w/2, y, "middle", colour, size, line)
		}
	}
	for _, a := range d.arrows {
		x1, y1, x2, y2 := a.ends()
		fmt.Fprintf(out, `<line x1="%g" y1="%g" x2="%g" y2="%g" stroke="%s" stroke-width="1.4" marker-end="url(#head)"/>`+"\n", x1, y1, x2, y2, p.line)
		switch {
		case a.text == "":
		case x1 == x2:
			write(out, x1+6, (y1+y2)/2+4, "start", p.soft, 11, a.text)
		default:
			write(out, (x1+x2)/2, (y1+y2)/2-6, "middle", p.soft, 11, a.text)
		}
	}
	out.WriteString("</svg>\n")
	return out.Bytes()
}

// ends returns where an arrow begins and ends: vertical if the boxes are above each other, else horizontal.
func (a arrow) ends() (x1, y1, x2, y2 float64) {
	left, right := max(a.from.x, a.to.x), min(a.from.x+a.from.w, a.to.x+a.to.w)
	switch {
	case left < right && a.from.y < a.to.y:
		return (left + right) / 2, a.from.y + a.from.h, (left + right) / 2, a.to.y
	case left < right:
		return (left + right) / 2, a.from.y, (left + right) / 2, a.to.y + a.to.h
	case a.from.x < a.to.x:
		return a.from.x + a.from.w, a.from.y + a.from.h/2, a.to.x, a.to.y + a.to.h/2
	}
	return a.from.x, a.from.y + a.from.h/2, a.to.x + a.to.w, a.to.y + a.to.h/2
}

func write(out *bytes.Buffer, x, y float64, anchor, colour string, size int, text string) {
	fmt.Fprintf(out, `<text x="%g" y="%g" text-anchor="%s" fill="%s" font-size="%d">%s</text>`+"\n", x, y, anchor, colour, size, html.EscapeString(text))
}
