package privcmd

import (
	"bytes"
	"math/rand"
	"testing"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// shuffled are a domain's frames outside Xen: machine frame numbers that are in no order.
func shuffled(r *rand.Rand, n uint64) []uint64 {
	mfns := make([]uint64, n)
	for i, v := range r.Perm(int(n) * 3)[:n] {
		mfns[i] = uint64(v) + 0x100
	}
	return mfns
}

// walkAll calls f for each page that the tables map, as the CPU finds it.
func walkAll(t *testing.T, area []byte, own []uint64, f func(va, entry uint64)) {
	index := map[uint64]int{}
	for i, mfn := range own {
		index[mfn] = i
	}
	var walk func(mfn uint64, level int, va uint64)
	walk = func(mfn uint64, level int, va uint64) {
		i, ok := index[mfn]
		if !ok {
			t.Fatalf("level %d at %#x: frame %#x is no page table", level, va, mfn)
		}
		for n, e := range (*[perTable]uint64)(unsafe.Pointer(&area[i*pageSize])) {
			at := va | uint64(n)<<(pageShift+9*(level-1))
			switch {
			case e == 0:
			case level == 1:
				f(at, e)
			case e&^uint64(pteFrame) != pteTable:
				t.Fatalf("level %d at %#x: entry %#x", level, at, e)
			default:
				walk(e&pteFrame>>pageShift, level-1, at)
			}
		}
	}
	walk(own[0], levels, 0)
}

// TestTables builds domains of random shapes and holds that their tables map exactly what they should,
// that nothing is writable and executable, and that no page table is mapped.
func TestTables(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 30 {
		slots, ram := uint64(r.Intn(1200)+1), uint64(r.Intn(6000)+2)
		shape := shapeFor(slots, ram, uint64(r.Intn(int(ram))))
		shape.room = uint64(r.Intn(3)) * xen.DynamicUnit
		if r.Intn(2) == 0 { // a child's
			g := geometry{shape: shape, pages: ram, dynamic: shape.room}
			shape = g.childShape(r.Intn(abi.ArgsSize))
		}
		base := shape.randomBase()
		if r.Intn(4) == 0 { // across tables of every level
			base = 1<<45 - uint64(r.Intn(int(ram)))*pageSize
		}
		l := newLayout(shape, base)
		mfns := shuffled(r, l.shared+1)
		own := mfns[l.tables:l.shared]
		area := make([]byte, len(own)*pageSize)
		if err := writeTables(area[:l.written*pageSize], l.byKey, own, l.spans, mfns); err != nil {
			t.Fatal(err)
		}
		want := map[uint64]uint64{}
		expect := func(va, first, n, bits uint64) {
			for i := range n {
				want[va+i*pageSize] = mfns[first+i]<<pageShift | bits
			}
		}
		expect(base, l.ram, shape.ready, spanFresh)
		expect(abi.P2mVa, l.p2m, l.ctl-l.p2m, spanData)
		for i, mfn := range l.control(mfns) {
			if va := abi.CtlVa + uint64(i)*pageSize; va < abi.TaskVa+abi.TaskSize || !shape.lean || va >= abi.ConoutVa && va < abi.ArgsVa+shape.args*pageSize {
				want[va] = mfn<<pageShift | spanData
			} else if mfn != mfns[l.ctl] {
				t.Fatalf("%#x has frame %#x", va, mfn)
			}
		}
		tables := map[uint64]bool{}
		for _, mfn := range own {
			tables[mfn] = true
		}
		walkAll(t, area, own, func(va, entry uint64) {
			if want[va] != entry {
				t.Fatalf("%#x: entry %#x, want %#x", va, entry, want[va])
			}
			if entry&pteWrite != 0 && entry&pteNX == 0 {
				t.Fatalf("%#x is writable and executable", va)
			}
			if tables[entry&pteFrame>>pageShift] {
				t.Fatalf("%#x maps a page table", va)
			}
			delete(want, va)
		})
		for va := range want {
			t.Fatalf("%#x is not mapped", va)
		}
		// What is mapped later has its tables.
		for _, late := range []span{{va: abi.ImageVa, pages: slots}, {va: base, pages: ram}} {
			for i := range late.pages {
				va := late.va + i*pageSize
				at := l.entry(mfns, va)
				if !tables[at>>pageShift] || at%pageSize != va>>pageShift%perTable*8 || l.byKey[keyOf(1, va)] == 0 {
					t.Fatalf("%#x has its entry at %#x", va, at)
				}
			}
		}
		if l.control(mfns)[1] != mfns[l.shared] || len(l.control(mfns)) != ctlPages {
			t.Fatal("shared_info is not at its place")
		}
	}
}

// TestEntries holds that a domain's geometry finds the same page table entries as its builder's layout.
func TestEntries(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 30 {
		slots, ram := uint64(r.Intn(1200)+1), uint64(r.Intn(6000)+2)
		s := shapeFor(slots, ram, 0)
		s.room = uint64(r.Intn(3)) * xen.DynamicUnit
		l := newLayout(s, s.randomBase())
		g := geometry{shape: l.shape, ramVA: l.ramVA, image: 1 + uint64(r.Intn(int(slots))), pages: ram}
		if r.Intn(2) == 0 {
			g.dynamic = s.room
			g.image += g.dynamic
		}
		mfns := shuffled(r, l.shared+1)
		leaves, entries, _ := g.leavesOf(func(va uint64) (slot, table uint64, err error) {
			return l.entryOf(mfns, 2, va), l.own(mfns)[l.byKey[keyOf(1, va)]], nil
		})
		next := uint64(0)
		for i := range leaves {
			first, n := g.leaf(i)
			if at := l.entryOf(mfns, 2, g.address(first)); first != next || n == 0 || n > perTable || entries[i] != at {
				t.Fatalf("leaf %d of %+v has %d frames from %d on, and its entry at %#x", i, g, n, first, entries[i])
			}
			next += n
			if r := g.regionAt(g.address(first)); first >= g.image && (r < 0 || g.leafOf(r) != i) {
				t.Fatalf("leaf %d of %+v is region %d", i, g, r)
			}
		}
		if next != g.frames() {
			t.Fatalf("the leaves of %+v have %d frames of %d", g, next, g.frames())
		}
		for frame := range g.frames() {
			if at := g.entry(leaves, frame); at != l.entry(mfns, g.address(frame)) {
				t.Fatalf("frame %d of %+v has its entry at %#x", frame, g, at)
			}
		}
	}
}

// TestTablesRefuse holds that what must not be is not built.
func TestTablesRefuse(t *testing.T) {
	for name, spans := range map[string][]span{
		"writable and executable": {{abi.ImageVa, 1, 0, pteBase | pteWrite}},
		"twice":                   {{abi.ImageVa, 2, 0, spanData}, {abi.ImageVa + pageSize, 1, 0, spanText}},
	} {
		tables, _ := tablesOf(spans, nil)
		own := make([]uint64, len(tables))
		for i := range own {
			own[i] = uint64(i) + 10
		}
		if writeTables(make([]byte, len(own)*pageSize), tables, own, spans, []uint64{1, 2}) == nil {
			t.Errorf("%s was built", name)
		}
	}
}

// TestMoved moves windows and holds that the tables then are those of a domain that had its window there from the
// start, and that no table is without an entry for it on the way.
func TestMoved(t *testing.T) {
	r := rand.New(rand.NewSource(2))
	for range 200 {
		s := shapeFor(poolShape.slots, uint64(r.Intn(int(poolShape.ramPages))+2), 0)
		s.room = uint64(r.Intn(3)) * xen.DynamicUnit
		from := newLayout(s, s.randomBase())
		ramVA := s.randomBase()
		switch r.Intn(4) {
		case 0: // near by
			ramVA = from.ramVA + uint64(r.Intn(40))*ramAlign
		case 1:
			ramVA = from.ramVA - uint64(r.Intn(40))*ramAlign
		case 2: // in another table of level 2, or 3, at the same entry
			ramVA = from.ramVA ^ 1<<uint(30+r.Intn(10))
		}
		if !s.oneTable(ramVA) || s.reserve(ramVA) < abi.RamMin || ramVA > abi.RamEnd-s.ramPages*pageSize {
			continue
		}
		mfns := shuffled(r, from.shared+1)
		write := func(l *layout) []byte {
			area := make([]byte, len(l.byKey)*pageSize)
			if err := writeTables(area, l.byKey, l.own(mfns), l.spans, mfns); err != nil {
				t.Fatal(err)
			}
			return area
		}
		area := write(from)
		to, ops := from.moved(mfns, ramVA)
		want := write(to)
		refs := map[uint64]int{}
		for k, i := range from.byKey {
			if k.level > 1 {
				for _, e := range words(area[i*pageSize:][:pageSize]) {
					refs[e&pteFrame>>pageShift]++
				}
			}
		}
		index := map[uint64]int{}
		for i, mfn := range from.own(mfns) {
			index[mfn] = i
		}
		for _, op := range ops {
			e := &words(area[index[op.Ptr>>pageShift]*pageSize:][:pageSize])[op.Ptr%pageSize/8]
			refs[op.Val&pteFrame>>pageShift]++
			if refs[*e&pteFrame>>pageShift]--; *e != 0 && refs[*e&pteFrame>>pageShift] == 0 {
				t.Fatalf("%#x to %#x: a table is nobody's", from.ramVA, ramVA)
			}
			*e = op.Val
		}
		if !bytes.Equal(area, want) {
			t.Fatalf("%#x to %#x: the tables differ", from.ramVA, ramVA)
		}
	}
}
