package privcmd

import (
	"slices"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

const (
	// ramAlign is the granularity of the RAM window's place, in bytes.
	ramAlign = xen.DynamicUnit * pageSize
	// ctlPages is the control area, shared_info included.
	ctlPages = abi.CtlSize / pageSize
	// readyPages of the RAM window are there from the start: the LibOS's first stack, which can not grow, and
	// what a small program needs beside. The domain gets the others itself. Whole extents.
	readyPages = 5 << superOrder
)

// shape is what of a domain is chosen before it has an image.
type shape struct {
	slots    uint64 // frames that there are for image and dynamic segment
	reach    uint64 // pages of addresses that an image may have
	room     uint64 // pages of addresses that a dynamic segment has, if there is one
	ramPages uint64 // of the RAM window
	ready    uint64 // those that are there from the start
	args     uint64 // pages of the control area for arguments and environment
	lean     bool   // there are no frames for an image, nor where the control area has a gap
}

// shapeFor fits an image, a RAM window and a root archive at the window's end, in pages.
func shapeFor(image, ram, root uint64) shape {
	s := shape{slots: image, reach: image, ramPages: ram, ready: ram, args: abi.ArgsSize / pageSize}
	if n := readyPages + pagesOf(ram); n+root < ram { // the LibOS's table of pages has a byte for each
		s.ready = n
	}
	return s
}

// childShape is that of a child of fork, which brings its memory with it, for arguments and environment of so many bytes.
func (g *geometry) childShape(args int) shape {
	return shape{slots: g.slots, reach: g.reach, room: g.room, ramPages: g.pages, args: max(pagesOf(uint64(args)), 1), lean: true}
}

// fits tells whether a domain of this shape can be given so many frames of image and dynamic segment, and these pages of addresses.
func (s shape) fits(frames, image, dynamic, ram, root uint64) bool {
	return frames <= s.slots && image <= s.reach && (dynamic == 0 || dynamic == s.room) && s.ready+root <= ram && ram <= s.ramPages
}

// numbers is the entry of the list of machine frame numbers that is the RAM window's first: it has pages of its own.
func (s shape) numbers() uint64 { return pagesOf((s.reach+s.room)*8) * perTable }

// reserve is where a dynamic segment begins before a window.
func (s shape) reserve(ramVA uint64) uint64 { return ramVA - s.room*pageSize }

// layout says which frame of a domain is what. First come those for an image, and those of the RAM
// window that are there from the start; then those that the guest has no number for: the list of
// machine frame numbers, the control area without shared_info, and the page tables. shared_info,
// which Xen made, comes last.
type layout struct {
	shape
	ramVA                 uint64
	ram, p2m, ctl, tables uint64 // first frame of each
	shared                uint64 // also the number of frames that populate gives
	spans                 []span
	byKey                 map[tableKey]int
	written               int // tables, from the first on, that have entries
}

// Pages of the control area: nobody needs those between the task and the ring for console output.
const (
	sharedPage = (abi.SharedVa - abi.CtlVa) / pageSize
	taskEnd    = (abi.TaskVa - abi.CtlVa + abi.TaskSize) / pageSize
	conoutPage = (abi.ConoutVa - abi.CtlVa) / pageSize
	argsPage   = (abi.ArgsVa - abi.CtlVa) / pageSize
)

// newLayout places a RAM window at an address. The image's addresses, those of the window whose
// frames are to come, and those of the family area have page tables without entries.
func newLayout(s shape, ramVA uint64) *layout {
	l := &layout{shape: s, ramVA: ramVA}
	p2mPages := pagesOf((s.numbers() + s.ramPages) * 8)
	if !s.lean {
		l.ram = s.slots
	}
	l.p2m = l.ram + s.ready
	l.ctl = l.p2m + p2mPages
	conout := l.ctl + s.front() - 1
	l.tables = conout + argsPage - conoutPage + s.args
	spans := func(shared uint64) []span {
		return []span{
			{ramVA, s.ready, l.ram, spanFresh},
			{abi.P2mVa, p2mPages, l.p2m, spanData},
			{abi.CtlVa, sharedPage, l.ctl, spanData},
			{abi.SharedVa, 1, shared, spanData},
			{abi.SharedVa + pageSize, s.front() - sharedPage - 1, l.ctl + sharedPage, spanData},
			{abi.ConoutVa, l.tables - conout, conout, spanData},
		}
	}
	l.byKey, l.written = tablesOf(spans(0), []span{
		{va: abi.ImageVa, pages: s.reach}, {va: s.reserve(ramVA), pages: s.room}, {va: ramVA + s.ready*pageSize, pages: s.ramPages - s.ready},
		{va: abi.FamilyVa, pages: familyPages},
	})
	l.shared = l.tables + uint64(len(l.byKey))
	l.spans = spans(l.shared)
	return l
}

// front is how many pages of the control area are before the ring for console output, or before the gap.
func (s shape) front() uint64 {
	if s.lean {
		return taskEnd
	}
	return conoutPage
}

// control lists the machine frames of the control area, in order. Where there is none the list has the first one: nobody
// looks there.
func (l *layout) control(mfns []uint64) []uint64 {
	list := slices.Repeat(mfns[l.ctl:][:1], ctlPages)
	copy(list, mfns[l.ctl:][:sharedPage])
	list[sharedPage] = mfns[l.shared]
	n := copy(list[sharedPage+1:l.front()], mfns[l.ctl+sharedPage:])
	copy(list[conoutPage:], mfns[l.ctl+sharedPage+uint64(n):l.tables])
	return list
}

// own are the machine frames of the page tables.
func (l *layout) own(mfns []uint64) []uint64 { return mfns[l.tables:l.shared] }

// entry is the machine address of the page table entry for an address.
func (l *layout) entry(mfns []uint64, va uint64) uint64 { return l.entryOf(mfns, 1, va) }

// familyTables are the page tables by which the family area is mapped: of a domain that has run they are what Domain.familyTables finds.
func (l *layout) familyTables(mfns []uint64) (tables []uint64) {
	for va := uint64(abi.FamilyVa); va < abi.FamilyVa+familyPages*pageSize; va += perTable * pageSize {
		tables = append(tables, l.entry(mfns, va)>>pageShift)
	}
	return tables
}

// entryOf is entry in the table of a level.
func (l *layout) entryOf(mfns []uint64, level int, va uint64) uint64 {
	table := l.own(mfns)[l.byKey[keyOf(level, va)]]
	return table<<pageShift + va>>(pageShift+9*(level-1))%perTable*8
}

// listed is how many pages of the list of machine frame numbers have numbers of an image, of the frames
// that are ready, and of those that an image may leave over; of a lean domain, of so many.
func (l *layout) listed() uint64 { return min(pagesOf((l.numbers()+l.ready+l.slots)*8), l.ctl-l.p2m) }

// geometry is what a fork has to know about a domain. It is its builder's word, kept by the engine; the domain
// itself is not asked.
type geometry struct {
	shape
	ramVA   uint64
	image   uint64 // pages of image and dynamic segment
	dynamic uint64 // of those, the dynamic segment's
	pages   uint64 // of the RAM window that the domain was given
}

// own is how many pages the image itself has, dynamicVA where the dynamic segment begins.
func (g *geometry) own() uint64       { return g.image - g.dynamic }
func (g *geometry) dynamicVA() uint64 { return g.ramVA - g.dynamic*pageSize }

// valid tells whether a domain can be like this.
func (g *geometry) valid() bool {
	return g.reach <= (abi.ImageEnd-abi.ImageVa)/pageSize && g.slots <= maxSlots && g.room <= maxSlots && g.room%perTable == 0 &&
		(g.dynamic == 0 || g.dynamic == g.room) && g.image > g.dynamic && g.own() <= g.reach &&
		g.ramPages <= maxMemory/pageSize && g.pages <= g.ramPages && g.ready <= g.pages &&
		g.ramVA%ramAlign == 0 && g.ramVA >= abi.RamMin+g.room*pageSize && g.ramVA <= abi.RamEnd-g.ramPages*pageSize
}

// maxSlots bounds frames of image and dynamic segment, and the addresses of the latter, in pages.
const maxSlots = abi.ImageEnd / pageSize

// frames is how many pseudo-physical frames there are, address where one of them is mapped.
func (g *geometry) frames() uint64 { return g.image + g.pages }

func (g *geometry) address(frame uint64) uint64 {
	if frame < g.own() {
		return abi.ImageVa + frame*pageSize
	}
	return g.dynamicVA() + (frame-g.own())*pageSize
}

// frameOf is the frame of an address of the dynamic segment.
func (g *geometry) frameOf(va uint64) uint64 { return g.own() + (va-g.dynamicVA())/pageSize }

// leavesOf lists the tables of level 1 of image and window, and the machine addresses of the entries that name them, as find
// finds them.
func (g *geometry) leavesOf(find func(va uint64) (slot, table uint64, err error)) (leaves, slots []uint64, err error) {
	const covers = perTable * pageSize
	for _, s := range []span{{va: abi.ImageVa, pages: g.own()}, {va: g.dynamicVA(), pages: g.dynamic + g.pages}} {
		for va := s.va &^ (covers - 1); va < s.va+s.pages*pageSize; va += covers {
			slot, table, err := find(va)
			if err != nil {
				return nil, nil, err
			}
			leaves, slots = append(leaves, table), append(slots, slot)
		}
	}
	return leaves, slots, nil
}

// tablesFor is how many tables of level 1 so many pages need that begin with one of their own.
func tablesFor(pages uint64) int { return int((pages + perTable - 1) / perTable) }

// leafOf is the leaf of a region, which is what a table of level 1 covers of the window.
func (g *geometry) leafOf(region int) int { return tablesFor(g.own()) + tablesFor(g.dynamic) + region }

// leaf tells which frames a leaf has entries for.
func (g *geometry) leaf(i int) (first, count uint64) {
	end := g.own()
	if first = uint64(i) * perTable; first >= end { // what follows begins with a table of its own
		first -= -end % perTable
		end = g.frames()
	}
	return first, min(perTable, end-first)
}

// entry is the machine address of a frame's page table entry, in tables that leavesOf found.
func (g *geometry) entry(leaves []uint64, frame uint64) uint64 {
	if own := g.own(); frame >= own {
		frame += -own % perTable
	}
	return leaves[frame/perTable]<<pageShift + frame%perTable*8
}

// randomBase places a RAM window.
func (s shape) randomBase() uint64 { return xen.RandomBase(s.room+s.ramPages) + s.room*pageSize }

// oneTable tells whether one table of level 2 covers all of a window, and of a dynamic segment.
func (s shape) oneTable(ramVA uint64) bool { return xen.OneTable(s.reserve(ramVA), s.room+s.ramPages) }

// moved is the layout after its window has moved to another address, and what has to be written to the page tables
// for that; both must be oneTable.
func (l *layout) moved(mfns []uint64, ramVA uint64) (*layout, []mmuUpdate) {
	to := newLayout(l.shape, ramVA)
	var ops []mmuUpdate
	// New entries first, from the side to which the window moves: a table that no entry names would be checked anew.
	move := func(level int, n uint64) {
		at := func(l *layout, i uint64) uint64 {
			return l.entryOf(mfns, level, l.reserve(l.ramVA)+i<<(pageShift+9*(level-1)))
		}
		from, in := at(l, 0), at(to, 0)
		if from == in {
			return
		}
		for k := range n {
			i := k
			if in > from {
				i = n - 1 - k
			}
			below := l.own(mfns)[l.byKey[keyOf(level-1, l.reserve(l.ramVA)+i<<(pageShift+9*(level-1)))]]
			ops = append(ops, mmuUpdate{Ptr: in + i*8, Val: below<<pageShift | pteTable})
		}
		for i := range n {
			if e := from + i*8; e < in || e >= in+n*8 {
				ops = append(ops, mmuUpdate{Ptr: e})
			}
		}
	}
	move(2, (l.room+l.ramPages+perTable-1)/perTable)
	move(3, 1)
	move(4, 1)
	return to, ops
}
