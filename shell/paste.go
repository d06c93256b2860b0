package shell

import (
	"bytes"
	"io"
	"strings"
)

// The escape sequences of bracketed paste, and how it is switched on and off.
const (
	pasteBegin = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
	pasteOn    = "\x1b[?2004h"
	pasteOff   = "\x1b[?2004l"
)

// pastedNewline stands for a newline within a paste, which must not submit the line.
const pastedNewline = '␊'

// unused are control characters that mean nothing at the prompt. readline would make most of them part of the line, take the first for its end, and after that
// or Ctrl-Z read what is typed for the next command.
const unused = "\x00\x0f\x11\x16\x18\x1a\x1c\x1d\x1e\x1f"

// pasteReader takes the brackets off pastes, replaces newlines inside by pastedNewline and tabs by
// a space, which would otherwise complete. Keys that mean nothing it leaves out. What is behind the end of a line is not the line's: it goes back.
type pasteReader struct {
	r      io.Reader
	ahead  *typeahead
	inside bool
	held   []byte // the beginning of a bracket, perhaps
	out    []byte
}

func (p *pasteReader) Read(b []byte) (int, error) {
	for len(p.out) == 0 {
		buf := make([]byte, 4096)
		n, err := p.r.Read(buf)
		if err != nil {
			return 0, err
		}
		p.filter(buf[:n])
	}
	n := copy(b, p.out)
	p.out = p.out[n:]
	return n, nil
}

func (p *pasteReader) Close() error { return nil }

func (p *pasteReader) filter(data []byte) {
	data = append(p.held, data...)
	p.held = nil
	for len(data) > 0 {
		bracket := pasteBegin
		if p.inside {
			bracket = pasteEnd
		}
		switch c := data[0]; {
		case bytes.HasPrefix(data, []byte(bracket)):
			p.inside = !p.inside
			data = data[len(bracket):]
			continue
		case len(data) > 2 && len(data) < len(bracket) && bytes.HasPrefix([]byte(bracket), data):
			p.held = append([]byte(nil), data...) // split between two reads
			return
		case p.inside && (c == '\n' || c == '\r'):
			p.out = append(p.out, string(pastedNewline)...)
			if c == '\r' && len(data) > 1 && data[1] == '\n' {
				data = data[1:]
			}
		case p.inside && c == '\t':
			p.out = append(p.out, ' ')
		case p.inside && c < ' ', strings.IndexByte(unused, c) >= 0:
		case c == '\n' || c == '\r':
			p.out = append(p.out, c)
			p.ahead.giveBack(data[1:])
			return
		default:
			p.out = append(p.out, c)
		}
		data = data[1:]
	}
}
