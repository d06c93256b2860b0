package xen

import (
	"math/rand/v2"

	"kxsh/ipc/abi"
)

const (
	// DynamicUnit is of what a dynamic segment's pages are a multiple: as many as a table of level 1 has entries, so that none has
	// entries of two areas.
	DynamicUnit = 512
	// windowAlign is the granularity of a RAM window's random place, bytes.
	windowAlign = DynamicUnit * abi.PageSize
	// tableReach is what a table of level 2 covers, bytes.
	tableReach = 512 * windowAlign
	// smallNumber is what a number of 32 bits in a program is seldom beyond, either way.
	smallNumber = 256 << 20
)

// RandomBase places so many pages of RAM window; where one table of level 2 covers all of it, if it is not too large for that: then a
// hypervisor can move it. The low half of where it begins, which is where libraries are, is no small number: an update takes each word of a program that may
// be an address of a library for one, and two numbers side by side are to have the look of it nowhere.
func RandomBase(pages uint64) uint64 {
	size := pages * abi.PageSize
	for {
		base := abi.RamMin + rand.Uint64N((abi.RamEnd-abi.RamMin-size)/windowAlign)*windowAlign
		if low := int32(base); max(low, -low) >= smallNumber && (OneTable(base, pages) || size >= tableReach/2) {
			return base
		}
	}
}

// OneTable tells whether one table of level 2 covers so many pages.
func OneTable(base, pages uint64) bool {
	return base/tableReach == (base+pages*abi.PageSize-1)/tableReach
}

// roomy is what a blank's window may have, pages: there it can be moved to where the libraries were placed.
const roomy = 128 << 20 / abi.PageSize

// PlaceDynamic places a dynamic segment for need pages of libraries and their successors, of a domain with a RAM window of so many
// bytes.
func PlaceDynamic(need, memory uint64) (va, pages uint64) {
	pages = (need + DynamicUnit - 1) / DynamicUnit * DynamicUnit
	return RandomBase(pages + max((memory+abi.PageSize-1)/abi.PageSize, roomy)), pages
}
