package tui

import (
	"cmp"

	"kxsh/engine"
)

// order is what rows are sorted by.
type order struct {
	by   *column
	back bool // the other way round
}

var (
	byCPU = order{by: columnOf("cpu")}
	byPID = order{by: columnOf("pid")}
)

func (o order) String() string {
	if o.back {
		return o.by.title + ", backwards"
	}
	return o.by.title
}

// rank is where something stands in an order.
type rank struct {
	number float64
	word   string
	pid    int
}

// rank finds the place of a pVM that needs so much.
func (o order) rank(p *engine.Process, l *load) rank {
	r := rank{pid: p.PID}
	if o.by.number == nil {
		r.word = o.by.word(p)
		return r
	}
	r.number = o.by.number(p, l)
	if o.by.down {
		r.number = -r.number
	}
	return r
}

// compare leaves equals in the order of their PIDs, so that rows do not dance.
func (o order) compare(a, b *rank) int {
	c := cmp.Compare(a.number, b.number)
	if c == 0 && a.word != b.word {
		c = cmp.Compare(a.word, b.word)
	}
	if o.back {
		c = -c
	}
	if c == 0 {
		c = cmp.Compare(a.pid, b.pid)
	}
	return c
}
