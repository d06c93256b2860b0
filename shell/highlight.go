package shell

import (
	"strings"
	"sync/atomic"
	"unicode"
)

// kind is what a character of a program is part of.
type kind uint8

const (
	kindPlain    kind = iota
	kindCommand       // the name of a command
	kindUnknown       // where a command should be named, and there is none of that name
	kindKeyword       // if, do, { and their like
	kindOperator      // what separates commands, and redirections
	kindQuote         // quoted strings and here-documents
	kindVariable      // variables and other expansions
	kindComment
	kinds int = iota
)

// pens is how each kind begins to be written; "": as everything else.
type pens [kinds]string

// penUp ends a colour.
const penUp = "\x1b[m"

// paintLimit is the length in characters up to which a program is painted, and with it how long a key can take.
const paintLimit = 64 << 10

// highlighter paints the line that is being typed. It is readline's Painter.
type highlighter struct {
	pens  pens
	known func(command string) bool
	// before is a []rune: the lines of the same program that have been read already.
	before atomic.Value
}

// Paint returns the line with colours; they take no place on the screen. What readline appends when the line
// is interrupted is no part of it.
func (h *highlighter) Paint(line []rune, _ int) []rune {
	if h.pens == (pens{}) {
		return line
	}
	typed := len(line)
	if n := len(interruptPrompt + "\n"); strings.HasSuffix(string(line[max(0, typed-n):]), interruptPrompt+"\n") {
		typed -= n
	}
	before, _ := h.before.Load().([]rune)
	return append(h.paint(before, line[:typed]), line[typed:]...)
}

// paint returns the line, which goes on from before, with colours.
func (h *highlighter) paint(before, line []rune) []rune {
	if len(before)+len(line) > paintLimit || strings.ContainsFunc(string(line), misleads) {
		return append([]rune(nil), line...)
	}
	marks := kindsOf(append(before[:len(before):len(before)], line...), h.known)[len(before):]
	out := make([]rune, 0, 2*len(line))
	pen := ""
	for i, c := range line {
		if p := h.pens[marks[i]]; p != pen {
			if pen != "" {
				out = appendString(out, penUp)
			}
			out = appendString(out, p)
			pen = p
		}
		out = append(out, c)
	}
	if pen != "" {
		out = appendString(out, penUp)
	}
	return out
}

func appendString(out []rune, text string) []rune {
	for _, c := range text {
		out = append(out, c)
	}
	return out
}

// misleads reports whether a character, from the history perhaps, could swallow a colour after it.
func misleads(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }
