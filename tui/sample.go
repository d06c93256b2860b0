package tui

import (
	tea "charm.land/bubbletea/v2"

	"kxsh/engine"
)

// eventsKept is how many events are remembered for the detail pane.
const eventsKept = 4096

// snapMsg is what a frame is made of.
type snapMsg struct {
	snap *engine.Snapshot
	info *engine.Info // nil: nobody told
	err  error
}

// newsMsg is what has happened since the last event that is known.
type newsMsg struct{ events []engine.Event }

// sample asks the engine for the next frame. Without the host's figures there is one nevertheless.
func (m model) sample() tea.Msg {
	s, err := m.api.Snapshot(m.ctx, false)
	if err != nil {
		return snapMsg{err: err}
	}
	msg := snapMsg{snap: s}
	msg.info, _ = m.api.Info(m.ctx)
	return msg
}

// news asks for events since the last that is known. No frame waits for them: an engine keeps thousands, which are all news to a top that has just begun.
func (m model) news() tea.Msg {
	var seq uint64
	if n := len(m.events); n > 0 {
		seq = m.events[n-1].Seq
	}
	var msg newsMsg
	r, err := m.api.Events(m.ctx, seq, false)
	if err != nil {
		return msg
	}
	defer r.Close()
	for {
		ev, err := r.Recv()
		if err != nil { // the end, or what came before an error
			return msg
		}
		msg.events = append(msg.events, ev)
	}
}

// take takes a frame in.
func (m model) take(msg snapMsg) model {
	before := m.view.snap
	m.view.update(msg.snap)
	m.history = m.history.add(before, msg.snap, m.info, msg.info, m.view.memory, m.forked)
	m.info, m.forked = msg.info, 0
	m.frames++
	m.lost = nil
	return m
}

// told takes events in. What happened before the first frame counts for none.
func (m model) told(msg newsMsg) model {
	for i := range msg.events {
		if msg.events[i].Type == "forked" && m.began {
			m.forked++
		}
	}
	m.asking, m.began = false, true
	all := append(m.events, msg.events...) // behind what the models before this one see
	m.events = all[max(0, len(all)-eventsKept):]
	return m
}
