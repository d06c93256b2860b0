package xentest

import (
	"bytes"
	"slices"
	"testing"

	"kxsh/elf"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// Where a library of these tests is: three read-only pages, the last of which is code, and then two of a domain's own.
const (
	dynamicVA    = abi.RamMin + 1<<40
	libraryVA    = dynamicVA + 300*abi.PageSize
	libraryPages = 3
	privateVA    = libraryVA + libraryPages*abi.PageSize
	privatePages = 2
)

// AddLibrary has a domain that is to be made get a library. Close the result when it is there.
func AddLibrary(t testing.TB, hv xen.Hypervisor, c *xen.Config) xen.Shared {
	t.Helper()
	s, err := hv.Share(libraryText())
	if err != nil {
		t.Fatal(err)
	}
	c.Libraries = []xen.Shared{s}
	c.Dynamic = xen.Dynamic{
		VA: dynamicVA, Pages: xen.DynamicUnit,
		Shared: []xen.Mapping{
			{Range: xen.Range{VA: libraryVA, Pages: 2}, Prot: elf.Read},
			{Range: xen.Range{VA: libraryVA + 2*abi.PageSize, Pages: 1}, First: 2, Prot: elf.Read | elf.Exec},
		},
		Private: []xen.Range{{VA: privateVA, Pages: privatePages}},
		Content: []elf.Content{{VA: privateVA + abi.PageSize - 4, Bytes: []byte("contents")}}, // of both pages
	}
	return s
}

func libraryText() []byte {
	return slices.Concat(bytes.Repeat([]byte{1}, abi.PageSize), bytes.Repeat([]byte{2}, abi.PageSize), bytes.Repeat([]byte{3}, abi.PageSize))
}

// hasLibrary holds that a domain that nobody has written to the private pages of has all of that library.
func (b *bench) hasLibrary(d xen.Domain) {
	b.t.Helper()
	private := make([]byte, privatePages*abi.PageSize)
	copy(private[abi.PageSize-4:], "contents")
	want := append(libraryText(), private...)
	got := make([]byte, len(want))
	if err := d.ReadMemory(libraryVA, got); err != nil || !bytes.Equal(got, want) {
		b.t.Errorf("domain %d: its library is not there (%v)", d.ID(), err)
	}
}

// forkLibraries: all members of all families that have a library have the same, also when nobody else keeps it any more and after
// their engine's death; what they count for it is shared.
func forkLibraries(t *testing.T, b *bench) {
	var members []*member
	for range 2 {
		m := b.founder(func(c *xen.Config) xen.Shared { return AddLibrary(t, b.hv, c) })
		child := m.child()
		members = append(members, m, child, child.child())
	}
	for _, m := range members {
		b.hasLibrary(m.Domain)
		m.fill(3, 99)
		m.check("with a library")
	}
	members[0].leave()
	last := members[2].child()
	b.hasLibrary(last.Domain)
	last.check("with a library, after the first one's end")
}

// forkMapped: libraries come to a running domain and go again, and children have what their parent has at the fork.
func forkMapped(t *testing.T, b *bench) {
	const none = ^uint64(0)
	m := b.founder(func(c *xen.Config) xen.Shared { return AddLibrary(t, b.hv, c) })
	other, err := b.hv.Share(slices.Concat(bytes.Repeat([]byte{4}, abi.PageSize), bytes.Repeat([]byte{5}, abi.PageSize)))
	b.must(err)
	defer other.Close()
	const at, behind = libraryVA + 50*abi.PageSize, libraryVA + 60*abi.PageSize
	maps := []xen.Mapping{
		{Range: xen.Range{VA: at, Pages: 2}, Prot: elf.Read},
		{Range: xen.Range{VA: behind, Pages: 1}, First: 1, Prot: elf.Read | elf.Exec},
	}
	look := func(m *member, want ...uint64) {
		t.Helper()
		for i, va := range []uint64{at, at + abi.PageSize, behind, at + 2*abi.PageSize} {
			if got := m.do(forkPeek, va, 0); got != append(want, none)[i] {
				t.Errorf("domain %d has %d at %#x, want %v", m.ID(), int64(got), va, want)
			}
		}
		for i, want := range []uint64{1, 2, 3, 0, 'e', none} { // the first library stays
			if got := m.do(forkPeek, libraryVA+uint64(i)*abi.PageSize, 0); got != want {
				t.Errorf("domain %d has %d in page %d of its library", m.ID(), int64(got), i)
			}
		}
	}
	look(m, none, none, none)
	for _, va := range []uint64{dynamicVA - abi.PageSize, dynamicVA + (xen.DynamicUnit-1)*abi.PageSize, abi.ImageVa} {
		if m.Map([]xen.Shared{other}, []xen.Mapping{{Range: xen.Range{VA: va, Pages: 2}, Prot: elf.Read}}, nil) == nil {
			t.Errorf("a library at %#x", va)
		}
	}
	before := m.child()
	b.must(m.Map([]xen.Shared{other}, maps, nil))
	look(m, 4, 5, 5)
	look(before, none, none, none)
	child := m.child()
	look(child, 4, 5, 5)
	m.check("with another library")
	b.must(m.Unmap(xen.Range{VA: at, Pages: 20}))
	look(m, none, none, none)
	look(child, 4, 5, 5)
	look(m.child(), none, none, none)
	b.must(before.Map([]xen.Shared{other}, maps[1:], nil))
	look(before, none, none, 5)
	b.must(m.Map([]xen.Shared{other}, maps, nil))
	look(m, 4, 5, 5)
	b.must(child.Unmap(xen.Range{VA: at, Pages: 2}))
	look(child, none, none, 5)
	child.check("with less of a library")
	b.must(m.Unmap(xen.Range{VA: libraryVA, Pages: libraryPages}))
	if got := m.do(forkPeek, libraryVA, 0); got != none {
		t.Errorf("a library that has gone: %d", got)
	}
}
