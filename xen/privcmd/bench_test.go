//go:build xen

package privcmd

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"kxsh/xen/xentest"
)

// BenchmarkFork forks domains that have written to so much memory: to the child's first instructions, as dom0 sees them, and
// what of it is which step.
func BenchmarkFork(b *testing.B) {
	for _, promise := range []string{"marked", "shared", "lazy"} {
		for _, mib := range []uint64{0, 4, 64} {
			for _, pool := range []int{0, 1} {
				b.Run(fmt.Sprintf("%s/%dMiB/pool=%d", promise, mib, pool), func(b *testing.B) { benchmarkFork(b, promise, mib, pool) })
			}
		}
	}
}

func benchmarkFork(b *testing.B, promise string, mib uint64, pool int) {
	h := open(b, "bench")
	defer h.Close()
	im := xentest.PrepareGuest(b, h)
	must := func(err error) {
		if err != nil {
			b.Helper()
			b.Fatal(err)
		}
	}
	spin := func(holds func() bool) {
		for begin := time.Now(); !holds(); runtime.Gosched() {
			if time.Since(begin) > patience {
				b.Fatal("waited in vain")
			}
		}
	}
	d := xentest.StartForker(b, h, im, 72<<20, promise)
	defer func() { d.Destroy(); d.Release() }()
	d.Touch(mib << 20 / pageSize)
	steps, order := map[string]time.Duration{}, []string{}
	var forked, total, parent time.Duration
	var frames uint64
	b.ResetTimer()
	for range b.N {
		if err := h.SetPool(pool); err != nil {
			b.Fatal(err)
		}
		for h.Pool().Ready != pool {
			time.Sleep(time.Millisecond)
		}
		f := d.Called(0)
		f.Step = func(name string, took time.Duration) {
			if _, ok := steps[name]; !ok {
				order = append(order, name)
			}
			steps[name] += took
		}
		begin := time.Now()
		child, err := d.Fork(context.Background(), f)
		must(err)
		forked += time.Since(begin)
		must(child.Unpause())
		spin(xentest.AsForker(b, child).IsBorn)
		total += time.Since(begin)
		d.Reply(int64(child.ID()))
		must(d.Notify())
		spin(d.Answered)
		parent += time.Since(begin)
		info, err := h.c.domainInfo(child.ID())
		must(err)
		frames = info.TotPages
		child.Destroy()
		child.Release()
	}
	us := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
	b.ReportMetric(us(forked), "µs/call")
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
