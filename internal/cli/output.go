package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"
)

// table is rows of cells with column names.
type table struct {
	columns []string
	rows    [][]string
	// colours has one entry per row; nil if there are none.
	colours []string
}

// The colours of a row on a terminal.
const (
	plain  = ""
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	reset  = "\x1b[0m"
)

func (t *table) add(colour string, cells ...string) {
	t.rows = append(t.rows, cells)
	t.colours = append(t.colours, colour)
}

// dropEmpty removes the column if it is empty in every row.
func (t *table) dropEmpty(column string) {
	at := -1
	for i, name := range t.columns {
		if name == column {
			at = i
		}
	}
	for _, row := range t.rows {
		if at >= 0 && row[at] != "" {
			at = -1
		}
	}
	if at < 0 {
		return
	}
	t.columns = append(t.columns[:at:at], t.columns[at+1:]...)
	for i, row := range t.rows {
		t.rows[i] = append(row[:at:at], row[at+1:]...)
	}
}

// write aligns the cells with tabs, as the original does.
func (t *table) write(out io.Writer, legend, colour bool) error {
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 8, 1, '\t', 0)
	if legend {
		fmt.Fprintln(w, strings.Join(t.columns, "\t"))
	}
	for _, row := range t.rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	line := 0
	if legend {
		line--
	}
	for l := range strings.Lines(text.String()) {
		if colour && line >= 0 && t.colours[line] != plain {
			l = t.colours[line] + strings.TrimSuffix(l, "\n") + reset + "\n"
		}
		if _, err := io.WriteString(out, l); err != nil {
			return err
		}
		line++
	}
	return nil
}

// printable replaces characters in external text that would move the cursor or break the table.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if s == "" {
		return "-"
	}
	return s
}

// printTable writes a table according to the flags.
func (a *app) printTable(t *table) error { return t.write(a.Out, !a.noLegend, a.Terminal && !a.Plain) }

// printJSON writes a value with two spaces of indentation.
func (a *app) printJSON(value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "%s\n", data)
	return err
}

// printYAML writes one document.
func (a *app) printYAML(value any) error {
	data, err := yaml.Marshal(value)
	if err != nil {
		return err
	}
	_, err = a.Out.Write(data)
	return err
}
