package netswitch

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestQueue holds that queues that take memory over from each other keep their bytes and their order, whatever the order of steps, and that what is filled and emptied again
// and again makes no garbage.
func TestQueue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var queues [4]queue
	var want [4][]byte
	for range 20000 {
		i := r.IntN(len(queues))
		q := &queues[i]
		if r.IntN(2) == 0 {
			p := make([]byte, r.IntN(1<<r.IntN(15)))
			for j := range p {
				p[j] = byte(r.Uint32())
			}
			if q.len()+len(p) <= lineBuffer {
				q.add(p)
				want[i] = append(want[i], p...)
			}
		} else {
			n := r.IntN(q.len() + 1)
			if r.IntN(4) == 0 {
				n = q.len()
			}
			q.drop(n)
			want[i] = want[i][n:]
		}
		if !bytes.Equal(q.bytes(), want[i]) {
			t.Fatal("other bytes than were put in")
		}
		if cap(q.p) > 4*lineBuffer || q.len() == 0 && cap(q.p) > leastRead {
			t.Fatalf("%d bytes of memory hold %d", cap(q.p), q.len())
		}
	}
	frame := make([]byte, lineMSS)
	n := testing.AllocsPerRun(1000, func() {
		for range 3 {
			queues[0].add(frame)
		}
		queues[0].drop(queues[0].len())
	})
	if n > 0.1 {
		t.Errorf("%v allocations for bytes that come and go", n)
	}
}
