//go:build xen

package privcmd

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/xen"
	"kxsh/xen/xentest"
)

// failNth makes the nth call of every kind fail; the result tells which one did.
func failNth(h *Hypervisor, n int) *string {
	failed := new(string)
	var count atomic.Int64
	inject := func(call string) unix.Errno {
		if count.Add(1) == int64(n) {
			*failed = call
			return unix.ENOMEM
		}
		return 0
	}
	h.c.inject, h.events.inject = inject, inject
	return failed
}

// leftovers fails the test unless the host is as it was: no domain but dom0, the frames free, no
// event channel.
func leftovers(t *testing.T, h *Hypervisor, free uint64, after string) {
	t.Helper()
	h.c.inject, h.events.inject = nil, nil
	const slack = 16 // Xen's own heap
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		list, err := h.List()
		if err != nil {
			t.Fatal(err)
		}
		info, err := h.Info()
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 1 && info.FreeMemory/pageSize+slack >= free {
			break
		}
		if time.Since(begin) > 5*time.Second {
			t.Fatalf("%s: %d domains, %d of %d frames free", after, len(list), info.FreeMemory/pageSize, free)
		}
	}
	h.events.mu.Lock()
	defer h.events.mu.Unlock()
	if len(h.events.ports) > 1 { // one is the VIRQ's
		t.Fatalf("%s: ports %v", after, h.events.ports)
	}
}

// TestFailures makes the nth call to Xen fail, for every n of building, running and ending a domain,
// and finds nothing left each time.
func TestFailures(t *testing.T) {
	h := open(t, "failures")
	defer h.Close()
	im := xentest.PrepareGuest(t, h)
	config := &xen.Config{Image: im, Memory: 1 << 20, Boot: xen.Boot{
		Name: "failures", Args: []string{"guest", "status", "0"}, Root: []byte("an archive"),
	}}
	// The first domain makes buffers that stay.
	d, err := h.Create(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Destroy(), d.Release()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	info, err := h.Info()
	if err != nil {
		t.Fatal(err)
	}
	free := info.FreeMemory / pageSize
	for n := 1; ; n++ {
		failed := failNth(h, n)
		d, err := h.Create(context.Background(), config)
		if err == nil {
			for _, f := range []func() error{d.Unpause, d.Pause, d.Destroy} {
				if err := f(); err != nil {
					t.Logf("call %d, %s: %v", n, *failed, err)
				}
			}
			if err := d.Destroy(); err != nil {
				t.Fatalf("call %d, %s: destroyed again: %v", n, *failed, err)
			}
			<-d.Gone()
			if err := d.Release(); err != nil {
				t.Fatalf("call %d, %s: %v", n, *failed, err)
			}
		} else if *failed == "" || !errors.Is(err, unix.ENOMEM) {
			t.Fatalf("call %d, %s: %v", n, *failed, err)
		}
		leftovers(t, h, free, *failed)
		if *failed == "" {
			t.Logf("%d calls", n-1)
			if n < 15 {
				t.Error("too few calls were seen")
			}
			return
		}
		t.Logf("%d: %s: %v", n, *failed, err)
	}
}
