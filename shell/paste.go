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
// a space, which would otherwise complete. Keys that mean nothing it leaves out. It reads key by key: what is behind the end of a line
// is for whoever reads the terminal next.
type pasteReader struct {
	r      io.Reader
	inside bool
	cr     bool   // the newline before was a carriage return
	held   []byte // the beginning of a bracket, perhaps
	out    []byte
}

func (p *pasteReader) Read(b []byte) (int, error) {
	for len(p.out) == 0 {
		var key [1]byte
		n, err := p.r.Read(key[:])
		if err != nil {
			return 0, err
		}
		p.filter(key[:n])
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
		cr := p.cr
		p.cr = false
		switch c := data[0]; {
		case bytes.HasPrefix(data, []byte(bracket)):
			p.inside = !p.inside
			data = data[len(bracket):]
			continue
		case bytes.HasPrefix([]byte(bracket), data):
			p.held = data
			return
		case p.inside && (c == '\n' || c == '\r'):
			if c == '\r' || !cr {
				p.out = append(p.out, string(pastedNewline)...)
			}
			p.cr = c == '\r'
		case p.inside && c == '\t':
			p.out = append(p.out, ' ')
		case p.inside && c < ' ', strings.IndexByte(unused, c) >= 0:
		default:
			p.out = append(p.out, c)
		}
		data = data[1:]
	}
}
