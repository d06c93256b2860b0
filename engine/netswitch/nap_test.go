package netswitch

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kxsh/ipc/bell"
)

// TestNap holds that no more threads nap at a time than may, whoever comes when, and that a bell ends a nap and the sleep behind it.
func TestNap(t *testing.T) {
	defer mostNaps.Store(mostNaps.Swap(2))
	var asleep, most, naps atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				if nap(func() {
					n := asleep.Add(1)
					for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
					}
					time.Sleep(10 * time.Microsecond)
					asleep.Add(-1)
				}) {
					naps.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > 2 || naps.Load() == 0 || napping.Load() != 0 {
		t.Errorf("%d at a time, %d in all, %d left", most.Load(), naps.Load(), napping.Load())
	}
	word := new(uint32)
	p := &port{bell: word}
	for _, after := range []time.Duration{0, napTime / 4, 20 * napTime} {
		seen, begun := atomic.LoadUint32(word), time.Now()
		time.AfterFunc(after, func() {
			atomic.AddUint32(word, 1)
			bell.Wake(word)
		})
		for atomic.LoadUint32(word) == seen {
			p.sleep(seen, 0)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("a bell after %v is heard after %v", after, took)
		}
	}
	seen, begun := atomic.LoadUint32(word), time.Now()
	for time.Since(begun) < 3*napTime {
		p.sleep(seen, 3*napTime-time.Since(begun))
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("a sleep of %v takes %v", 3*napTime, took)
	}
}
