package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

// result is one row of the table.
type result struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// N is the number of objects or repetitions behind the value.
	N int `json:"n"`
}

// bench holds the selection and the results.
type bench struct {
	small   bool
	only    string
	cluster dimensions // of the control plane
	results []result
}

// report adds a row if its name is selected.
func (b *bench) report(name string, value float64, unit string, n int) {
	if b.wants(name) {
		b.results = append(b.results, result{name, value, unit, n})
		fmt.Fprintf(os.Stderr, "%s %s %s\n", name, number(value), unit)
	}
}

func (b *bench) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "name\tvalue\tunit\tn")
	for _, r := range b.results {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\n", r.Name, number(r.Value), r.Unit, r.N)
	}
	t.Flush()
}

// number formats a value with its significant digits.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func (b *bench) write(file string) error {
	data, err := json.MarshalIndent(b.results, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
