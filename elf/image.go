package elf

import (
	"fmt"
	"io"
)

// Where an image lives in a pVM, and the guest ABI that it must speak. Source:
// guest/include/kx_abi.h; a test in ipc/abi compares them.
const (
	ImageVA    = 0x00400000
	ImageEnd   = 0x10000000
	ABIVersion = 12
)

// Error says in one line why a file was refused.
type Error struct{ Reason string }

func (e *Error) Error() string { return e.Reason }

func refuse(format string, args ...any) error {
	return &Error{fmt.Sprintf(format, args...)}
}

// ParseImage checks a pVM image of size bytes. A file that is refused gives an *Error; any other
// error comes from r.
func ParseImage(r io.ReaderAt, size int64) (*Image, error) {
	f, err := open(r, size)
	if err != nil {
		return nil, err
	}
	if err := f.checkType(); err != nil {
		return nil, err
	}
	progs, err := f.progs()
	if err != nil {
		return nil, err
	}
	if err := checkInterp(progs); err != nil {
		return nil, err
	}
	notes, err := f.notes(progs)
	if err != nil {
		return nil, err
	}
	m := &Image{
		Entry:     f.entry,
		ABI:       notes.kx.abi,
		StackSize: notes.kx.stackSize,
		Memory:    notes.kx.memory,
		Size:      size,
	}
	if m.Segments, err = segments(progs, imageArea); err != nil {
		return nil, err
	}
	if m.Dynamic, err = f.findDynamic(progs, m.Segments); err != nil {
		return nil, err
	}
	if notes.entry != nil {
		m.Entry = *notes.entry
	}
	if !m.executable(m.Entry, 1) {
		return nil, refuse("the entry point %#x is in no executable segment", m.Entry)
	}
	if notes.hypercallPage == nil {
		return nil, refuse("no hypercall page (a note of name Xen and type %d): not built by kxsh cc", noteHypercallPage)
	}
	m.HypercallPage = *notes.hypercallPage
	if m.HypercallPage%PageSize != 0 {
		return nil, refuse("the hypercall page %#x is not page-aligned", m.HypercallPage)
	}
	if !m.executable(m.HypercallPage, PageSize) {
		return nil, refuse("the hypercall page %#x is in no executable segment", m.HypercallPage)
	}
	end, err := f.end(progs)
	if err != nil {
		return nil, err
	}
	if m.Root, err = f.root(end); err != nil {
		return nil, err
	}
	return m, nil
}

// executable tells whether n bytes at va lie in one executable segment.
func (m *Image) executable(va, n uint64) bool {
	for _, s := range m.Segments {
		if s.Prot&Exec != 0 && va >= s.VA && va-s.VA < s.MemSize && n <= s.MemSize-(va-s.VA) {
			return true
		}
	}
	return false
}
