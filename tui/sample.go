package tui

import (
	"errors"
	"io"

	tea "charm.land/bubbletea/v2"

	"kxsh/engine"
)

// eventsKept is how many events are remembered for the detail pane.
const eventsKept = 4096

// snapMsg is what a frame is made of.
type snapMsg struct {
	snap   *engine.Snapshot
	info   *engine.Info   // nil: nobody told
	events []engine.Event // since the frame before
	err    error
}

// sample asks the engine for the next frame. Without the host's figures or events there is one nevertheless.
func (m model) sample() tea.Msg {
	s, err := m.api.Snapshot(m.ctx, false)
	if err != nil {
		return snapMsg{err: err}
	}
	msg := snapMsg{snap: s}
	msg.info, _ = m.api.Info(m.ctx)
	msg.events, _ = m.news()
	return msg
}

// news is the events since the last that is known.
func (m model) news() ([]engine.Event, error) {
	var seq uint64
	if n := len(m.events); n > 0 {
		seq = m.events[n-1].Seq
	}
	r, err := m.api.Events(m.ctx, seq, false)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var list []engine.Event
	for {
		ev, err := r.Recv()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, ev)
	}
}

// take takes a frame in.
func (m model) take(msg snapMsg) model {
	before := m.view.snap
	var forks int
	for i := range msg.events {
		if msg.events[i].Type == "forked" {
			forks++
		}
	}
	m.view.update(msg.snap)
	m.history = m.history.add(before, msg.snap, m.info, msg.info, m.view.memory, forks)
	m.info = msg.info
	all := append(m.events, msg.events...) // behind what the models before this one see
	m.events = all[max(0, len(all)-eventsKept):]
	m.frames++
	m.lost = nil
	return m
}
