//go:build xen

package privcmd

import (
	"encoding/binary"
	"errors"
	"strconv"
	"testing"

	"kxsh/xen"
)

// look asks a guest of program look to look again.
func (g guests) look(d *Domain) (word uint64, writable bool) {
	g.t.Helper()
	looks := d.result(4)
	g.must(d.Notify())
	g.eventually("a look", func() bool { return d.result(4) > looks })
	if d.result(3) != 0 {
		g.t.Error("it could map the frame itself")
	}
	return d.result(1), d.result(2) != 0
}

// TestForeignTables maps frames of one domain into the running address space of another, in one batch with
// those of a third, and takes them away again.
func TestForeignTables(t *testing.T) {
	g := newGuests(t, "tables")
	c := g.h.c
	const page, magic = 100, 0x1122334455667788
	holder, other := g.create("spin"), g.create("spin")
	frame := g.frameOf(holder, holder.ramVA()+page*pageSize)
	foreign := g.frameOf(other, other.ramVA()+page*pageSize)
	for id, mfn := range map[xen.DomID]uint64{holder.id: frame, other.id: foreign} {
		g.must(c.withFrames(id, []uint64{mfn}, protWrite, func(area []byte) error {
			binary.LittleEndian.PutUint64(area, magic+uint64(id))
			return nil
		}))
	}
	d := g.create("look", strconv.Itoa(page), strconv.FormatUint(frame, 10))
	g.must(d.Unpause())
	g.eventually("the first look", func() bool { return d.result(4) > 0 })
	if d.result(1) != 0 || d.result(2) != 1 {
		t.Fatalf("before: %#x, writable %d", d.result(1), d.result(2))
	}
	w := newWalker(c, d.id, d.top)
	var slots, own []mmuUpdate
	for i := range uint64(2) {
		at, entry, err := w.slot(d.ramVA()+(page+4*i)*pageSize, 1)
		g.must(err)
		mfn := []uint64{frame, foreign}[i]
		slots = append(slots, mmuUpdate{at, mfn<<pageShift | spanConst})
		own = append(own, mmuUpdate{at, entry})
	}
	w.close()
	update := func(owner xen.DomID, ops []mmuUpdate) (int, error) {
		g.must(d.Pause()) // and so flushes its TLB
		defer func() { g.must(d.Unpause()) }()
		return c.mmuUpdates(d.id, owner, ops)
	}
	if n, err := update(domidSelf, slots); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	if word, writable := g.look(d); word != magic+uint64(holder.id) || writable {
		t.Errorf("mapped: %#x, writable %v", word, writable)
	}
	// A page table of another's, writable: refused, and told how far it came.
	bad := []mmuUpdate{slots[0], {slots[1].Ptr, holder.top<<pageShift | spanData}}
	e := new(Error)
	if n, err := update(domidSelf, bad); n != 1 || !errors.As(err, &e) || e.Call != "mmu_update" {
		t.Errorf("a page table was mapped writable: %d, %v", n, err)
	}
	if n, err := c.mmuUpdates(4711, domidSelf, slots); n != 0 || !errors.Is(err, xen.ErrNoDomain) {
		t.Errorf("tables of nobody: %d, %v", n, err)
	}
	if n, err := update(domidSelf, slots[:0]); n != 0 || err != nil {
		t.Errorf("nothing: %d, %v", n, err)
	}
	// The frame outlives its domain for as long as it is mapped.
	id := holder.id
	g.end(holder)
	if info, err := c.domainInfo(id); err != nil || info.Flags&infDying == 0 || info.TotPages == 0 || info.TotPages > 4 {
		t.Errorf("the dead holder: %+v, %v", info, err)
	}
	if word, _ := g.look(d); word != magic+uint64(id) {
		t.Errorf("the holder is dead: %#x", word)
	}
	if n, err := update(d.id, own); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	if word, writable := g.look(d); word != 0 || !writable {
		t.Errorf("its own again: %#x, writable %v", word, writable)
	}
	g.eventually("the end of the holder", func() bool {
		_, err := c.domainInfo(id)
		return errors.Is(err, xen.ErrNoDomain)
	})
}

// TestManyUpdates writes more entries than fit into one call.
func TestManyUpdates(t *testing.T) {
	g := newGuests(t, "many")
	d := g.create("spin")
	w := newWalker(g.h.c, d.id, d.top)
	at, entry, err := w.slot(d.ramVA()+100*pageSize, 1)
	w.close()
	g.must(err)
	ops := make([]mmuUpdate, 2*bufferSizes[1]/16+1)
	for i := range ops {
		ops[i] = mmuUpdate{at, entry &^ pteWrite}
	}
	ops[len(ops)-1].Val = entry
	if n, err := g.h.c.mmuUpdates(d.id, d.id, ops); n != len(ops) || err != nil {
		t.Errorf("%d of %d, %v", n, len(ops), err)
	}
}

// TestGrants maps what a domain lets dom0 have.
func TestGrants(t *testing.T) {
	g := newGuests(t, "grants")
	c := g.h.c
	d := g.create("grant")
	g.must(d.Unpause())
	g.eventually("the grants", func() bool { return d.result(1) == 100 || d.isGone() })
	if size, err := c.grantFrames(d.id); err != nil || size.Frames != 1 || size.MaxFrames != maxGrantFrames {
		t.Errorf("%+v, %v", size, err)
	}
	for name, refs := range map[string][]uint32{"a reference that was not granted": {8, 10}, "a table's end": {1 << 20}, "none": nil, "too many": make([]uint32, maxGrants+1)} {
		if _, _, err := c.mapGrants(d.id, refs, protRead); err == nil {
			t.Errorf("mapped: %s", name)
		}
	}
	if _, _, err := c.mapGrants(d.id, []uint32{9}, protWrite); err == nil {
		t.Error("a read-only page was mapped to write")
	}
	both, unmap, err := c.mapGrants(d.id, []uint32{8, 9}, protRead)
	g.must(err)
	if binary.LittleEndian.Uint64(both) != 100 || binary.LittleEndian.Uint64(both[pageSize:]) != 101 {
		t.Errorf("% x, % x", both[:8], both[pageSize:pageSize+8])
	}
	g.must(unmap())
	one, unmap, err := c.mapGrants(d.id, []uint32{8}, protWrite)
	g.must(err)
	binary.LittleEndian.PutUint64(one, 4711)
	g.must(d.Notify())
	g.eventually("what dom0 wrote", func() bool { return d.result(1) == 4711 })
	// The domain dies, the page stays until it is unmapped.
	g.end(d)
	if info, err := c.domainInfo(d.id); err != nil || info.Flags&infDying == 0 {
		t.Errorf("the dead domain: %+v, %v", info, err)
	}
	if binary.LittleEndian.Uint64(one) != 4711 {
		t.Error("the page is gone")
	}
	g.must(unmap())
	g.eventually("the end of the domain", func() bool {
		_, err := c.domainInfo(d.id)
		return errors.Is(err, xen.ErrNoDomain)
	})
}

// TestGivenBack holds that what a living domain gives back comes to no other with its content: not to a blank, and, where
// Xen says that it scrubs, to nobody.
func TestGivenBack(t *testing.T) {
	g := newGuests(t, "givenback")
	const frames, secret = 4096, 0xa5
	more := func() (d *Domain, mfns []uint64) {
		d = g.create("spin")
		info, err := g.h.c.domainInfo(d.id)
		g.must(err)
		mfns = make([]uint64, frames)
		g.must(domctl(g.h.c, domctlMaxMem, d.id, &maxMem{(info.TotPages + frames) * pageSize >> 10}))
		g.must(g.h.c.populate(d.id, mfns))
		return d, mfns
	}
	secrets := func(id xen.DomID, mfns []uint64) (n int) {
		g.must(g.h.c.withFrames(id, mfns, protRead, func(area []byte) error {
			for i := range mfns {
				if area[i*pageSize] == secret {
					n++
				}
			}
			return nil
		}))
		return n
	}
	give := func() {
		d, mfns := more()
		g.must(g.h.c.withFrames(d.id, mfns, protWrite, func(area []byte) error {
			for i := range area {
				area[i] = secret
			}
			return nil
		}))
		for _, mfn := range mfns {
			g.must(g.h.c.takeBack(d.id, mfn))
		}
	}
	give()
	b, err := g.h.blank(poolShape, 0)
	g.must(err)
	defer b.close()
	if n := secrets(b.d.id, b.mfns[:b.l.p2m]); n > 0 {
		t.Errorf("a blank has %d frames with content", n)
	}
	give()
	d, mfns := more()
	if n := secrets(d.id, mfns); n > 0 && g.h.scrubs {
		t.Errorf("%d frames came with content", n)
	} else if !g.h.scrubs {
		t.Skipf("Xen does not scrub: %d frames came with content", n)
	}
}
