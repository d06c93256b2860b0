// Package tui is top: pVMs on a terminal, live. It sees the engine only through engine.API and
// renders the same immutable snapshot that ps prints.
package tui

import (
	"context"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"kxsh/engine"
)

// Options says how top runs.
type Options struct {
	Batch    bool          // plain frames on Out instead of a screen
	JSON     bool          // of Batch: a frame is a line, a JSON object
	Frames   int           // how many, 0: until interrupted
	Interval time.Duration // between frames, more than 0
	Color    bool
	ASCII    bool   // no other characters
	ReadOnly bool   // no signals
	Theme    string // one of Themes; "": the remembered one, else the default
	Layout   string // file that remembers how a screen was left; "": none does
	In       io.Reader
	Out      io.Writer
}

// Top shows the pVMs until the user leaves or ctx ends.
func Top(ctx context.Context, api engine.API, o Options) error {
	if o.Batch {
		return batch(ctx, api, o)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // what a pane still asks for
	m := newModel(ctx, api, o)
	const fps = 30 // a look for changes costs CPU time, whether there are any or not
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithFPS(fps))
	final, err := p.Run()
	if err != nil {
		return err
	}
	m = final.(model)
	if m.err == nil && o.Layout != "" {
		return m.keep()
	}
	return m.err
}
