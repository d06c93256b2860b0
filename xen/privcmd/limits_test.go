//go:build xen

package privcmd

import "testing"

// TestFavourDom0: an engine gives dom0 the weight to serve busy pVMs, unless somebody has given it another.
func TestFavourDom0(t *testing.T) {
	h := open(t, "favour")
	defer h.Close()
	weight := func(set uint16) uint16 {
		t.Helper()
		op := schedulerOp{SchedID: h.sched, Cmd: schedGet}
		if set != 0 {
			op.Cmd, op.Weight = schedPut, set
		}
		if err := domctl(h.c, domctlSchedulerOp, 0, &op); err != nil {
			t.Fatal(err)
		}
		return op.Weight
	}
	for _, c := range [][2]uint16{{defaultWeight, dom0Weight}, {512, 512}, {100, 100}} {
		weight(c[0])
		if err := h.favourDom0(); err != nil || weight(0) != c[1] {
			t.Errorf("dom0 of weight %d has %d afterwards, want %d: %v", c[0], weight(0), c[1], err)
		}
	}
	weight(dom0Weight)
}
