// Package globalconf does what the original fleetd asks of github.com/rakyll/globalconf, which has no tagged version to
// require: it sets flags from the environment and from a file of key=value lines.
package globalconf

import (
	"bufio"
	"flag"
	"os"
	"strings"
)

// Options say where the values come from.
type Options struct {
	Filename  string // empty: no file
	EnvPrefix string
}

// GlobalConf holds the values of the file.
type GlobalConf struct {
	prefix string
	values map[string]string
}

// Register has nothing to do: ParseSet is given the flags.
func Register(string, *flag.FlagSet) {}

// NewWithOptions reads the file.
func NewWithOptions(o *Options) (*GlobalConf, error) {
	g := &GlobalConf{prefix: o.EnvPrefix, values: map[string]string{}}
	if o.Filename == "" {
		return g, nil
	}
	file, err := os.Open(o.Filename)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		g.values[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), `"'`)
	}
	return g, lines.Err()
}

// ParseSet sets the flags; the environment has precedence over the file.
func (g *GlobalConf) ParseSet(_ string, flags *flag.FlagSet) {
	flags.VisitAll(func(f *flag.Flag) {
		value, ok := os.LookupEnv(g.prefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")))
		if !ok {
			value, ok = g.values[f.Name]
		}
		if ok {
			_ = flags.Set(f.Name, value) // a wrong value leaves the default, as the original's library does
		}
	})
}
