//go:build xen

package privcmd

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"kxsh/xen"
	"kxsh/xen/xentest"
)

const forkTouch = 6 // of xentest/guest/fork.c

// BenchmarkFork forks domains that have written to so much memory: to the child's first instructions, as dom0 sees them, and
// what of it is which step.
func BenchmarkFork(b *testing.B) {
	for _, mib := range []uint64{0, 4, 32} {
		for _, pool := range []int{0, 1} {
			b.Run(fmt.Sprintf("%dMiB/pool=%d", mib, pool), func(b *testing.B) { benchmarkFork(b, mib, pool) })
		}
	}
}

func benchmarkFork(b *testing.B, mib uint64, pool int) {
	h := open(b, "bench")
	defer h.Close()
	im := xentest.PrepareGuest(b, h)
	must := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	spin := func(p *uint64, want uint64) {
		for begin := time.Now(); atomic.LoadUint64(p) != want; runtime.Gosched() {
			if time.Since(begin) > patience {
				b.Fatal("waited in vain")
			}
		}
	}
	x, err := h.Create(context.Background(), &xen.Config{Image: im, Memory: 72 << 20, Boot: xen.Boot{Args: []string{"guest", "fork", "marked"}}})
	must(err)
	d := x.(*Domain)
	defer func() { d.Destroy(); d.Release() }()
	must(d.Unpause())
	spin(d.word(forkBorn), 1)
	ask := func(op, a uint64) {
		*d.word(forkOp), *d.word(forkOp + 1) = op, a
		atomic.AddUint64(d.word(forkAsked), 1)
		must(d.Notify())
	}
	ask(forkTouch, mib<<20/pageSize)
	spin(d.word(forkDone), 1)
	steps, order := map[string]time.Duration{}, []string{}
	var total, parent time.Duration
	var frames uint64
	b.ResetTimer()
	for i := range b.N {
		if err := h.SetPool(pool); err != nil {
			b.Fatal(err)
		}
		for h.Pool().Ready != pool {
			time.Sleep(time.Millisecond)
		}
		c := d.call()
		ask(forkFork, 0)
		for atomic.LoadUint32(&c.Asked) == atomic.LoadUint32(&c.Done) {
			runtime.Gosched()
		}
		begin := time.Now()
		f := &xen.Fork{RIP: c.A[0], RSP: c.A[1], Step: func(name string, took time.Duration) {
			if _, ok := steps[name]; !ok {
				order = append(order, name)
			}
			steps[name] += took
		}}
		child, err := d.Fork(context.Background(), f)
		must(err)
		must(child.Unpause())
		spin(child.(*Domain).word(forkBorn), 1)
		total += time.Since(begin)
		c.Result = int64(child.ID())
		atomic.StoreUint32(&c.Done, c.Asked)
		must(d.Notify())
		spin(d.word(forkDone), uint64(i)+2)
		parent += time.Since(begin)
		info, err := h.c.domainInfo(child.ID())
		must(err)
		frames = info.TotPages
		child.Destroy()
		child.Release()
	}
	us := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
	b.ReportMetric(us(total), "µs/child")
	b.ReportMetric(us(parent), "µs/parent")
	b.ReportMetric(float64(frames), "frames")
	b.ReportMetric(0, "ns/op")
	line := ""
	for _, name := range order {
		line += fmt.Sprintf(" %s %.0f", name, us(steps[name]))
	}
	b.Log(line)
}
