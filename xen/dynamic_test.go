package xen

import (
	"testing"

	"kxsh/ipc/abi"
)

func TestRandomBase(t *testing.T) {
	for _, pages := range []uint64{1, roomy, tableReach / 2 / abi.PageSize, 2 * tableReach / abi.PageSize} {
		for range 10000 {
			base := RandomBase(pages)
			if end := base + pages*abi.PageSize; base < abi.RamMin || end > abi.RamEnd || base%windowAlign != 0 {
				t.Fatalf("%d pages at %#x", pages, base)
			}
			if pages == roomy && !OneTable(base, pages) {
				t.Fatalf("%d pages at %#x need two tables", pages, base)
			}
			if low := int32(base); max(low, -low) < smallNumber {
				t.Fatalf("%d pages at %#x: a small number and another one look like an address there", pages, base)
			}
		}
	}
}
