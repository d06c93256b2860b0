package tui

import (
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"

	"kxsh/engine"
)

const (
	consoleKept = 1000 // lines of a console
	consoleLine = 4096 // bytes of a line
)

// console is the last lines of a pVM's console, the last one perhaps not finished.
type console struct {
	reader engine.LogReader
	lines  []string
	err    error // why no more comes; io.EOF: it has ended
}

type (
	consoleMsg struct { // the console is open
		number int
		reader engine.LogReader
		err    error
	}
	chunkMsg struct { // it has said something
		number int
		data   []byte
		err    error
	}
)

// openConsole opens the console of a pVM for as long as ctx lasts.
func openConsole(ctx context.Context, api engine.API, pid, number int) tea.Cmd {
	return func() tea.Msg {
		r, err := api.Logs(ctx, pid, engine.LogOptions{Follow: true, Lines: consoleKept})
		if err == nil {
			context.AfterFunc(ctx, func() { r.Close() })
		}
		return consoleMsg{number, r, err}
	}
}

// receive waits for more.
func receive(r engine.LogReader, number int) tea.Cmd {
	return func() tea.Msg {
		c, err := r.Recv()
		return chunkMsg{number, c.Data, err}
	}
}

// opened begins to read.
func (m model) opened(msg consoleMsg) (model, tea.Cmd) {
	if m.pane == nil || msg.number != m.pane.number {
		return m, nil
	}
	c := &console{reader: msg.reader, lines: []string{""}, err: msg.err}
	m.pane = m.pane.with(func(p *pane) { p.console = c })
	if msg.err != nil {
		return m, nil
	}
	return m, receive(msg.reader, msg.number)
}

// heard takes in what the console says.
func (m model) heard(msg chunkMsg) (model, tea.Cmd) {
	if m.pane == nil || msg.number != m.pane.number {
		return m, nil
	}
	before := m.pane.console
	lines, more := addText(before.lines, msg.data)
	now := &console{reader: before.reader, lines: lines, err: msg.err}
	m.pane = m.pane.with(func(p *pane) {
		p.console = now
		if p.top > 0 { // what was scrolled to stays where it is
			p.top = min(p.top+more, len(lines))
		}
	})
	if msg.err != nil {
		return m, nil
	}
	return m, receive(now.reader, msg.number)
}

// escapes is what programs tell a terminal: sequences of ECMA-48, titles, character sets.
var escapes = regexp.MustCompile(`\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[ -/]*[0-~])`)

// addText is lines with data at their end, of which the last ones are kept, and how many are new.
func addText(lines []string, data []byte) ([]string, int) {
	parts := strings.Split(string(data), "\n")
	out := slices.Clone(lines)
	for i, part := range parts {
		if i > 0 {
			out = append(out, "")
		}
		if line := &out[len(out)-1]; len(*line) < consoleLine {
			*line = (*line + part)[:min(len(*line)+len(part), consoleLine)]
		}
	}
	return out[max(0, len(out)-consoleKept-1):], len(parts) - 1
}

// text is the lines, and why there will be no more.
func (c *console) text() []string {
	if c == nil {
		return []string{"…"}
	}
	out := c.lines
	if out[len(out)-1] == "" {
		out = out[: len(out)-1 : len(out)-1]
	}
	if c.err != nil && !errors.Is(c.err, io.EOF) && !errors.Is(c.err, context.Canceled) {
		out = append(out, "("+c.err.Error()+")")
	}
	return out
}

// shownLine is a line of a console without what steers a terminal, with spaces for its tabs.
func shownLine(s string) string {
	s = escapes.ReplaceAllString(strings.TrimRight(s, "\r"), "")
	if i := strings.LastIndexByte(s, '\r'); i >= 0 {
		s = s[i+1:]
	}
	for i := strings.IndexByte(s, '\t'); i >= 0; i = strings.IndexByte(s, '\t') {
		s = s[:i] + "        "[i%8:] + s[i+1:]
	}
	return printable(s)
}
