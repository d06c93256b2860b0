package privcmd

import (
	"fmt"
	"unsafe"

	"kxsh/ipc/abi"
)

const (
	pageSize  = 4096
	pageShift = 12
	perTable  = 512
	levels    = 4
)

// Bits of a page table entry. Accessed and dirty are set so that the CPU need not.
const (
	ptePresent  = 1 << 0
	pteWrite    = 1 << 1
	pteUser     = 1 << 2 // a 64-bit PV guest's kernel runs in ring 3, too
	pteAccessed = 1 << 5
	pteDirty    = 1 << 6
	pteKept     = abi.PteKept
	pteNX       = 1 << 63
	pteFrame    = 1<<52 - pageSize

	pteBase  = ptePresent | pteUser | pteAccessed | pteDirty
	pteTable = pteBase | pteWrite
)

// span is a run of pages of a domain's address space: page i is its frame first+i.
type span struct {
	va    uint64
	pages uint64
	first uint64
	bits  uint64 // of the entries
}

// A page that is zero is mapped without the dirty bit, by which a fork knows it (abi.ForkMarked).
const (
	spanFresh = spanData &^ pteDirty
	spanText  = pteBase
	spanConst = pteBase | pteNX
	spanData  = pteBase | pteWrite | pteNX
)

// tableKey names a table: its level, 1 to 4, and what it covers.
type tableKey struct {
	level int
	index uint64
}

func keyOf(level int, va uint64) tableKey {
	return tableKey{level, va >> (pageShift + 9*level)}
}

// tablesOf lists the tables that the spans need, the top one first, and then those that later entries
// will need, in which written ones have none yet; each is named once.
func tablesOf(spans, later []span) (tables map[tableKey]int, written int) {
	tables = map[tableKey]int{}
	add := func(k tableKey) {
		if _, ok := tables[k]; !ok {
			tables[k] = len(tables)
		}
	}
	cover := func(spans []span, lowest int) {
		for _, s := range spans {
			end := s.va + s.pages*pageSize
			for va := s.va; va < end; va = (va + perTable*pageSize) &^ (perTable*pageSize - 1) {
				for level := levels - 1; level >= lowest; level-- {
					add(keyOf(level, va))
				}
			}
		}
	}
	add(keyOf(levels, 0))
	cover(spans, 1)
	cover(later, 2)
	written = len(tables)
	cover(later, 1)
	return tables, written
}

// writeTables fills the tables that tablesOf named: area has one page of zeros for each that is written, in
// their order, own are the machine frame numbers of all, and mfns those of the domain's frames.
func writeTables(area []byte, tables map[tableKey]int, own []uint64, spans []span, mfns []uint64) error {
	if len(own) != len(tables) || len(area) > len(tables)*pageSize {
		return fmt.Errorf("page tables: %d frames, %d bytes for %d tables", len(own), len(area), len(tables))
	}
	entries := func(k tableKey) *[perTable]uint64 {
		return (*[perTable]uint64)(unsafe.Pointer(&area[tables[k]*pageSize]))
	}
	for k, i := range tables {
		if k.level < levels {
			up := tableKey{k.level + 1, k.index >> 9}
			entries(up)[k.index%perTable] = own[i]<<pageShift | pteTable
		}
	}
	for _, s := range spans {
		if s.bits&pteWrite != 0 && s.bits&pteNX == 0 {
			return fmt.Errorf("page tables: %#x would be writable and executable", s.va)
		}
		for i := uint64(0); i < s.pages; {
			page := (s.va + i*pageSize) >> pageShift
			l1 := entries(tableKey{1, page >> 9})
			for at := page % perTable; at < perTable && i < s.pages; at++ {
				if l1[at] != 0 {
					return fmt.Errorf("page tables: %#x is mapped twice", s.va+i*pageSize)
				}
				l1[at] = mfns[s.first+i]<<pageShift | s.bits
				i++
			}
		}
	}
	return nil
}
