package daemon

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/config"
)

// newLogger returns a logger and what sets its verbosity while it is used.
func newLogger(w io.Writer, format string, verbosity int) (logr.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(levelOf(verbosity))
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: nameLevel}
	var handler slog.Handler = slog.NewTextHandler(w, opts)
	if format == config.LogJSON {
		handler = slog.NewJSONHandler(w, opts)
	}
	return logr.FromSlogHandler(handler), level
}

// levelOf is the level that logr's V(verbosity) has in slog.
func levelOf(verbosity int) slog.Level { return slog.Level(-verbosity) }

// nameLevel says V1 where slog would say DEBUG+3.
func nameLevel(groups []string, a slog.Attr) slog.Attr {
	if level, ok := a.Value.Any().(slog.Level); ok && a.Key == slog.LevelKey && len(groups) == 0 && level < slog.LevelInfo {
		a.Value = slog.StringValue(fmt.Sprintf("V%d", -level))
	}
	return a
}
