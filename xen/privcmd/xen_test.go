//go:build xen

// The tests that need Xen: `go run ./xen/lab/cmd test ./xen/privcmd` runs them in the lab's dom0.
package privcmd

import (
	"testing"

	"kxsh/xen"
	"kxsh/xen/xentest"
)

func open(t testing.TB, key string) *Hypervisor {
	t.Helper()
	h, err := New(Options{Key: key, Pool: -1})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestConformance(t *testing.T) {
	xentest.Run(t, xentest.Suite{
		Open:    func(t testing.TB, key string) xen.Hypervisor { return open(t, key) },
		Prepare: xentest.PrepareGuest,
		Real:    true, Populated: true, Ports: maxEvtchnPort, Grants: maxGrantFrames,
		// A third of a second each in the lab; shell/e2e has more of them.
		Cycles: 100, Resets: 200, Watch: watch, Frames: frames(),
	})
}

// watch fails a test that leaves something behind.
func watch(t testing.TB) func(bool) {
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.probe(); err != nil {
		t.Fatal(err)
	}
	before := settled(t, c)
	before.frames -= heap
	return func(bool) {
		leftovers(t, c, before, t.Name())
		c.release()
	}
}

// heap is how many frames Xen's own heap may keep for later at most, less than a domain has.
const heap = 4

// TestInfo asks Xen about itself and dom0.
func TestInfo(t *testing.T) {
	h := open(t, "info")
	defer h.Close()
	info, err := h.Info()
	if err != nil || info.Name != "xen" || info.CPUs < 1 || info.FreeMemory == 0 || info.FreeMemory > info.Memory || info.Scheduler == "" {
		t.Errorf("%+v, %v", info, err)
	}
	t.Logf("%+v", info)
	dom0, err := h.c.domainInfo(0)
	if err != nil || dom0.Domain != 0 || dom0.TotPages == 0 || dom0.OnlineVCPUs == 0 {
		t.Errorf("dom0: %+v, %v", dom0, err)
	}
	if _, err := h.c.domainInfo(1234); err == nil {
		t.Error("domain 1234 exists")
	}
}
