// Package logging creates the loggers of all programs: logr on log/slog, as text or JSON.
package logging

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"
)

// The formats.
const (
	Text = "text"
	JSON = "json"
)

// Level is the verbosity of a logger: 0 logs changes, more logs the rest. It may be set while the logger is in use.
type Level struct{ level slog.LevelVar }

// Set changes the verbosity.
func (l *Level) Set(verbosity int) { l.level.Set(slog.Level(-verbosity)) }

// New returns a logger that writes lines in that format. A nil level means verbosity 0. Where w is a Queue, that tells in the same format
// how many lines were lost.
func New(w io.Writer, format string, level *Level) (logr.Logger, error) {
	if level == nil {
		level = new(Level)
	}
	opts := &slog.HandlerOptions{Level: &level.level, ReplaceAttr: replace}
	var handler func(io.Writer) slog.Handler
	switch format {
	case Text, "":
		handler = func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, opts) }
	case JSON:
		handler = func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, opts) }
	default:
		return logr.Discard(), fmt.Errorf("log format %q: use %s or %s", format, Text, JSON)
	}
	if q, ok := w.(*Queue); ok {
		q.telling(func(lost int) []byte {
			var line bytes.Buffer
			slog.New(handler(&line)).Warn("Lines of the log were lost", "lines", lost)
			return line.Bytes()
		})
	}
	return logr.FromSlogHandler(handler(w)), nil
}

// replace writes the verbosity as a number: slog has no name for logr's V(1).
func replace(groups []string, a slog.Attr) slog.Attr {
	level, ok := a.Value.Any().(slog.Level)
	if len(groups) > 0 || a.Key != slog.LevelKey || !ok || level >= slog.LevelInfo {
		return a
	}
	return slog.String(slog.LevelKey, fmt.Sprintf("V(%d)", -int(level)))
}
