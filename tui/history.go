package tui

import (
	"kxsh/engine"
)

// historyKept is how many frames graphs can show.
const historyKept = 240

// history is what graphs are drawn of: a value of each frame, the newest last.
type history struct {
	cpu    []float64 // of all the host's CPUs, from 0 to 1
	memory []float64 // of pVMs, bytes
	forks  []float64 // a second
}

// add is the history with one more frame.
func (h history) add(before, now *engine.Snapshot, infoBefore, info *engine.Info, memory uint64, forks int) history {
	h.memory = grow(h.memory, float64(memory))
	if before == nil {
		return h
	}
	if since := now.Time.Sub(before.Time); since > 0 {
		h.forks = grow(h.forks, float64(forks)/since.Seconds())
		if infoBefore != nil && info != nil && info.CPUs > 0 && info.Idle > 0 {
			idle := float64(info.Idle-infoBefore.Idle) / float64(since) / float64(info.CPUs)
			h.cpu = grow(h.cpu, max(0, min(1, 1-idle)))
		}
	}
	return h
}

func grow(values []float64, v float64) []float64 {
	all := append(values[:len(values):len(values)], v)
	return all[max(0, len(all)-historyKept):]
}

// last is the newest value, and whether there is one.
func last(values []float64) (float64, bool) {
	if len(values) == 0 {
		return 0, false
	}
	return values[len(values)-1], true
}

// spark draws the last values in width cells, at the right; top is the value of a full cell, 0: the largest.
func spark(values []float64, width int, top float64) string {
	const levels = "▁▂▃▄▅▆▇█"
	values = values[max(0, len(values)-width):]
	if top == 0 {
		for _, v := range values {
			top = max(top, v)
		}
	}
	out := make([]rune, 0, width)
	for range width - len(values) {
		out = append(out, ' ')
	}
	for _, v := range values {
		i := 0
		if top > 0 {
			i = int(v / top * 7.999)
		}
		out = append(out, []rune(levels)[max(0, min(7, i))])
	}
	return string(out)
}
