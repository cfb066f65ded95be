// Package pages finds the code blocks in pages of the documentation, for tests that run them.
package pages

import (
	"iter"
	"strings"
)

// Block is a code block between two fences.
type Block struct {
	// Line is the number of its first line.
	Line int
	// Language is the word behind the fence, such as console.
	Language string
	// Before is the paragraph above the block.
	Before string
	// Lines are its lines, without the indentation of the fence.
	Lines []string
}

// Text is a block as it would be pasted.
func (b Block) Text() string { return strings.Join(b.Lines, "\n") + "\n" }

// Lines are those of a page by their numbers.
func Lines(page string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		number := 0
		for line := range strings.Lines(page) {
			number++
			if !yield(number, strings.TrimSuffix(line, "\n")) {
				return
			}
		}
	}
}

const fence = "```"

// Blocks returns the code blocks among lines.
func Blocks(lines iter.Seq2[int, string]) (blocks []Block) {
	var paragraph []string
	inside, ended := false, false
	indent := ""
	for number, line := range lines {
		text := strings.TrimLeft(line, " ")
		switch {
		case strings.HasPrefix(text, fence) && inside:
			inside, paragraph = false, nil
		case strings.HasPrefix(text, fence):
			indent = line[:len(line)-len(text)]
			blocks = append(blocks, Block{Line: number + 1, Language: text[len(fence):], Before: strings.Join(paragraph, " ")})
			inside = true
		case inside:
			last := &blocks[len(blocks)-1]
			last.Lines = append(last.Lines, strings.TrimPrefix(line, indent))
		case text == "":
			ended = true
		default:
			if ended {
				paragraph = nil
			}
			ended = false
			paragraph = append(paragraph, text)
		}
	}
	return blocks
}
