package xentest

import (
	"context"
	"sync"
	"testing"

	"kxsh/xen"
)

func testPool(t *testing.T, b *bench) {
	b.must(b.hv.SetPool(3))
	eventually(t, "a full pool", func() bool { return b.hv.Pool() == xen.Pool{Ready: 3, Want: 3} })
	b.must(b.hv.SetPool(0))
	eventually(t, "an empty pool", func() bool { return b.hv.Pool() == xen.Pool{} })
	if err := b.hv.SetPool(-1); err == nil {
		t.Error("a pool of -1")
	}
	b.exited(b.start("status", "5"), 5)
}

// testFlood has one domain do nothing but ring; others and the hypervisor go on.
func testFlood(t *testing.T, b *bench) {
	flood, pong := b.start("flood"), b.start("pong")
	for range 100 {
		await(t, flood.Rang(), "a ring of a flood")
		b.must(pong.Notify())
		await(t, pong.Rang(), "an answer beside a flood")
	}
}

func testMany(t *testing.T, b *bench) {
	var mu sync.Mutex
	seen := map[xen.DomID]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 10 {
				d, err := b.hv.Create(context.Background(), b.config("status", "7"))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[d.ID()] {
					t.Errorf("number %d was given twice", d.ID())
				}
				seen[d.ID()] = true
				mu.Unlock()
				if i%2 == 0 {
					if err := d.Unpause(); err != nil {
						t.Error(err)
					}
					await(t, d.Gone(), "the end of one of many")
				}
				end(t, d)
			}
		})
	}
	wg.Wait()
}
