package unitfile

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Hash is the key of a unit file's text: the SHA-256 of its bytes, 64 lower-case hexadecimal digits.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// HashOf returns the hash of a unit's file: of the text in the unit itself (spec.contents, as people write it with etcdctl)
// if there is one, else the hash that the unit names.
func HashOf(contents, hash string) string {
	if contents != "" {
		return Hash(contents)
	}
	return hash
}

// FleetHash is the hash that the fleet v1 API and lists of units show, 40 lower-case hexadecimal digits. Clients of the original
// compute it from the options that the API has: it is the SHA-1 of these, written as the original writes a file, without
// comments. It only identifies a file for people and old clients; nothing depends on it.
func FleetHash(text string) string {
	if f, err := Parse(text); err == nil { // an unparsable file has no options
		text = f.plain()
	}
	sum := sha1.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// plain is a text with the file's options and nothing else: each section once, in the order of their first options.
func (f *File) plain() string {
	var sections []string
	lines := map[string]string{}
	for _, o := range f.options {
		if _, ok := lines[o.Section]; !ok {
			sections = append(sections, o.Section)
		}
		lines[o.Section] += o.Name + "=" + o.Value + "\n"
	}
	for i, s := range sections {
		sections[i] = "[" + s + "]\n" + lines[s]
	}
	return strings.Join(sections, "\n")
}
