package v1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"

	"go.yaml.in/yaml/v3"
)

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?((?s).*)$`)

// readNode parses the document into a tree. Aliases are not expanded, which keeps the tree proportional to the text.
func readNode(data []byte) (root *yaml.Node, failure *ManifestError) {
	switch {
	case len(data) > MaxManifestSize:
		return nil, &ManifestError{Message: fmt.Sprintf("the manifest is too large: %d bytes, the limit is %d", len(data), MaxManifestSize)}
	case bytes.Count(data, []byte(","))+bytes.Count(data, []byte("\n")) > maxManifestLines:
		return nil, &ManifestError{Message: fmt.Sprintf("the manifest is too large: more than %d lines and list items", maxManifestLines)}
	}
	defer func() { // the YAML library panics on some malformed input
		if r := recover(); r != nil {
			root, failure = nil, &ManifestError{Message: fmt.Sprintf("not YAML: %v", r)}
		}
	}()
	var node, next yaml.Node
	reader := yaml.NewDecoder(bytes.NewReader(joinSurrogates(data)))
	switch err := reader.Decode(&node); {
	case errors.Is(err, io.EOF):
		return nil, errEmpty
	case err != nil:
		return nil, syntaxError(err, data)
	}
	if len(node.Content) == 0 || isNull(node.Content[0]) {
		return nil, errEmpty
	}
	if node.Content[0].Kind != yaml.MappingNode {
		return nil, &ManifestError{Line: node.Content[0].Line, Message: fmt.Sprintf(
			"expected a mapping that begins with apiVersion: %s, got %s", APIVersion, describe(node.Content[0]))}
	}
	if err := reader.Decode(&next); err == nil {
		return nil, &ManifestError{Line: next.Line, Message: "a second document begins here, only one is allowed: remove it"}
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxError(err, data)
	}
	return node.Content[0], nil
}

func syntaxError(err error, data []byte) *ManifestError {
	match := yamlLine.FindStringSubmatch(err.Error())
	if match == nil {
		return &ManifestError{Message: "not YAML: " + err.Error()}
	}
	line, _ := strconv.Atoi(match[1])
	if broken := brokenLine(data); broken > 0 {
		line = broken
	}
	return &ManifestError{Line: line, Message: "not YAML: " + match[2]}
}

// brokenLine returns the line after the longest prefix that parses: the library often reports the line where the broken
// construct begins, or the one before. It returns 0 for long texts, which would take too long.
func brokenLine(data []byte) int {
	const longest = 300
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines) > longest || len(data) > 64<<10 {
		return 0
	}
	end := len(data)
	for k := len(lines) - 1; k >= 0; k-- {
		end -= len(lines[k])
		var node yaml.Node
		if yaml.Unmarshal(data[:end], &node) == nil {
			return k + 1
		}
	}
	return 0
}

var surrogates = regexp.MustCompile(`(?i)\\(?:\\|u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2}))`)

// joinSurrogates decodes JSON surrogate pairs (two \u escapes), which YAML does not have.
func joinSurrogates(data []byte) []byte {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) || !bytes.Contains(bytes.ToLower(data), []byte(`\ud`)) {
		return data
	}
	return surrogates.ReplaceAllFunc(data, func(match []byte) []byte {
		if len(match) != len(`\ud83d\ude00`) {
			return match // an escaped backslash: what follows is not an escape
		}
		high, _ := strconv.ParseUint(string(match[2:6]), 16, 32)
		low, _ := strconv.ParseUint(string(match[8:12]), 16, 32)
		return []byte(string(rune(0x10000 + (high-0xd800)<<10 + (low - 0xdc00))))
	})
}
