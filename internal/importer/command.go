package importer

import (
	"regexp"
	"strings"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Doubled signs are kept through the splitting: an App's arguments have them like a unit file, but for a dollar sign, which is only
// doubled before {NAME}.
const (
	percent = "\uE000"
	dollar  = "\uE001"
)

var braced = regexp.MustCompile(dollar + `(\{[A-Za-z_][A-Za-z0-9_]*\})`)

// command splits a command line into words as an App's arguments have them; nil if it is none, or several.
func command(line string) []string {
	line = strings.TrimLeft(line, "-+!@:")
	if strings.ContainsAny(line, percent+dollar) {
		return nil
	}
	words, err := unitfile.SplitCommand(strings.NewReplacer("%%", percent, "$$", dollar).Replace(line))
	if err != nil {
		return nil
	}
	for i, w := range words {
		w = braced.ReplaceAllString(strings.ReplaceAll(w, percent, "%%"), "$$$$$1")
		words[i] = strings.ReplaceAll(w, dollar, "$")
	}
	return words
}

var bare = regexp.MustCompile(`^\$[A-Za-z_][A-Za-z0-9_]*$`)

// splits reports whether systemd would split a variable in the words into several.
func splits(line string) (variable string, ok bool) {
	for _, w := range strings.Fields(line) {
		if bare.MatchString(w) {
			return w, true
		}
	}
	return "", false
}

// expands reports whether systemd expands something in a word.
func expands(word string) bool { return strings.ContainsAny(word, "%$") }

// about reports whether a command is one of docker's on this container, such as "docker rm -f NAME".
func about(words []string, container string, verbs ...string) bool {
	if len(words) < 3 || !isDocker(words[0]) {
		return false
	}
	verb := false
	for _, v := range verbs {
		verb = verb || words[1] == v
	}
	return verb && words[len(words)-1] == container
}
