package hosted

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// guestResult reads a word that a test guest left: RESULT of xentest/guest/guest.h.
func guestResult(d xen.Domain, i int) uint64 {
	off := abi.ArgsVa + abi.PageSize/2 - abi.CtlVa + 8*i
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&d.Control()[off])))
}

func config(im xen.Image, args ...string) *xen.Config {
	return &xen.Config{Image: im, Memory: 1 << 20, Boot: xen.Boot{Name: "test", Args: append([]string{"guest"}, args...)}}
}

func create(t testing.TB, h *Hypervisor, c *xen.Config) *Domain {
	t.Helper()
	d, err := h.Create(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return d.(*Domain)
}

func remove(t testing.TB, d xen.Domain) {
	t.Helper()
	d.Destroy()
	<-d.Gone()
	if err := d.Release(); err != nil {
		t.Fatal(err)
	}
}

// firstInstruction creates a domain and returns when its first instruction ran, from the call of
// Create on.
func firstInstruction(b *testing.B, h *Hypervisor, c *xen.Config) (*Domain, time.Duration) {
	begin := rdtsc()
	d := create(b, h, c)
	d.Unpause()
	<-d.Rang()
	mul, shift := h.clock.rate()
	ticks := guestResult(d, 1) - begin
	if shift < 0 {
		ticks >>= -shift
	} else {
		ticks <<= shift
	}
	return d, time.Duration(float64(ticks) * float64(mul) / (1 << 32))
}

func median(d []time.Duration) time.Duration {
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	return d[len(d)/2]
}

func benchmarkCreate(b *testing.B, pool int) {
	h := openPool(b, b.Name(), pool)
	defer h.Close()
	c := config(xentest.PrepareGuest(b, h), "first")
	var took []time.Duration
	steps := map[string][]time.Duration{}
	c.Step = func(name string, d time.Duration) { steps[name] = append(steps[name], d) }
	for b.Loop() {
		for pool > 0 && h.Pool().Ready == 0 {
			time.Sleep(100 * time.Microsecond)
		}
		d, t := firstInstruction(b, h, c)
		took = append(took, t)
		remove(b, d)
	}
	b.ReportMetric(float64(median(took).Nanoseconds())/1000, "µs-to-first-instruction")
	b.ReportMetric(0, "ns/op")
	var s []string
	for _, name := range []string{"check", "blank", "memory", "order", "fill", "boot", "watch", "map"} {
		s = append(s, fmt.Sprintf("%s %.1f", name, float64(median(steps[name]).Nanoseconds())/1000))
	}
	b.Log("medians in µs: ", strings.Join(s, ", "))
}

func BenchmarkCreatePooled(b *testing.B)   { benchmarkCreate(b, 4) }
func BenchmarkCreateUnpooled(b *testing.B) { benchmarkCreate(b, -1) }

// BenchmarkResident makes 1000 domains that stay: creation of the first and the last hundred, host
// memory for each when idle, status of all, and what destroying costs.
func BenchmarkResident(b *testing.B) {
	const n = 1000
	for b.Loop() {
		h := openPool(b, b.Name(), -1)
		c := config(xentest.PrepareGuest(b, h), "first")
		_, before := readMemInfo()
		files := openFiles()
		var ds []*Domain
		var took []time.Duration
		for range n {
			d, t := firstInstruction(b, h, c)
			ds, took = append(ds, d), append(took, t)
		}
		time.Sleep(100 * time.Millisecond)
		_, after := readMemInfo()
		files = openFiles() - files
		begin := time.Now()
		for _, d := range ds {
			d.Status()
		}
		status := time.Since(begin)
		begin = time.Now()
		for _, d := range ds {
			remove(b, d)
		}
		destroy := time.Since(begin)
		h.Close()
		us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
		b.ReportMetric(us(median(took[:100])), "µs-first-100")
		b.ReportMetric(us(median(took[n-100:])), "µs-last-100")
		b.ReportMetric(float64(before-after)/n/1024, "KiB/domain")
		b.ReportMetric(float64(files)/n, "files/domain")
		b.ReportMetric(us(status)/1000, "ms-status-of-all")
		b.ReportMetric(us(destroy)/n, "µs-destroy")
	}
}

func openFiles() int {
	m, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", os.Getpid()))
	return len(m)
}

// BenchmarkEvent is the way from the engine to a domain that sleeps and back.
func BenchmarkEvent(b *testing.B) {
	h := open(b, b.Name())
	defer h.Close()
	d := create(b, h, config(xentest.PrepareGuest(b, h), "pong"))
	defer remove(b, d)
	d.Unpause()
	for b.Loop() {
		d.Notify()
		<-d.Rang()
	}
}

func BenchmarkStatus(b *testing.B) {
	h := open(b, b.Name())
	defer h.Close()
	d := create(b, h, config(xentest.PrepareGuest(b, h), "pong"))
	defer remove(b, d)
	for b.Loop() {
		d.Status()
	}
}
