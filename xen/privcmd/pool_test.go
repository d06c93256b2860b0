package privcmd

import (
	"testing"
)

// TestPoolShape holds whose shape the pool's blanks have: that of who asks for another one twice in a row.
func TestPoolShape(t *testing.T) {
	a, b := shape{slots: 1}, shape{slots: 2}
	p := &pool{closed: true} // nobody makes any
	for i, c := range []struct{ ask, want shape }{{a, a}, {b, a}, {a, a}, {b, a}, {a, a}, {b, a}, {b, b}, {a, b}, {b, b}, {b, b}} {
		if p.take(c.ask, 1); p.shape != c.want {
			t.Errorf("%d: %v, want %v", i, p.shape, c.want)
		}
	}
	if s, asked := p.state(); !asked || s.Ready != 0 {
		t.Error(s, asked)
	}
	if _, asked := new(pool).state(); asked {
		t.Error("nobody has asked")
	}
}
