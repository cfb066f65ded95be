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

// readNode reads the document's tree. Aliases are not followed here, so that the tree is in proportion to the text.
func readNode(data []byte) (root *yaml.Node, failure *ManifestError) {
	switch {
	case len(data) > MaxManifestSize:
		return nil, &ManifestError{Message: fmt.Sprintf("the manifest has %d bytes, at most %d are allowed", len(data), MaxManifestSize)}
	case bytes.Count(data, []byte(","))+bytes.Count(data, []byte("\n")) > maxManifestLines:
		return nil, &ManifestError{Message: fmt.Sprintf("the manifest has more than %d lines and list items", maxManifestLines)}
	}
	defer func() { // the YAML reader is known to panic on some odd texts
		if r := recover(); r != nil {
			root, failure = nil, &ManifestError{Message: fmt.Sprintf("the text cannot be read as YAML: %v", r)}
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
		return nil, &ManifestError{Line: next.Line, Message: "a second document begins here: only one is allowed"}
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

// brokenLine finds the line behind the longest beginning that can be read. The reader itself often tells the line
// where what is broken began, or the one before. Long texts are not searched: 0.
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

// joinSurrogates writes the characters that JSON spells as two \u escapes, which YAML does not know.
func joinSurrogates(data []byte) []byte {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) || !bytes.Contains(bytes.ToLower(data), []byte(`\ud`)) {
		return data
	}
	return surrogates.ReplaceAllFunc(data, func(match []byte) []byte {
		if len(match) != len(`\ud83d\ude00`) {
			return match // an escaped backslash: what follows it is no escape
		}
		high, _ := strconv.ParseUint(string(match[2:6]), 16, 32)
		low, _ := strconv.ParseUint(string(match[8:12]), 16, 32)
		return []byte(string(rune(0x10000 + (high-0xd800)<<10 + (low - 0xdc00))))
	})
}
