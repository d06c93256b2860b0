// Package elf reads pVM images and libraries as what they are: untrusted input. It checks every
// offset, size and address before use, allocates nothing on a file's word, and does no I/O beyond
// the io.ReaderAt it is given. It knows ELF and Xen's and kxsh's notes, and nothing of ours.
package elf

// PageSize is the page size of every image, in bytes.
const PageSize = 4096

// Prot is what a segment's pages allow.
type Prot uint8

const (
	Read Prot = 1 << iota
	Write
	Exec
)

// Segment is one PT_LOAD segment, checked: inside the image area, page-disjoint from the others,
// never both writable and executable.
type Segment struct {
	VA       uint64 // as linked; VA and Off agree modulo PageSize
	MemSize  uint64
	Off      uint64 // in the file
	FileSize uint64 // at most MemSize; the rest is zero
	Prot     Prot
}

// Pages is how many pages the segment has a part in.
func (s *Segment) Pages() uint64 {
	return (s.VA%PageSize + s.MemSize + PageSize - 1) / PageSize
}

// Image is a checked pVM image.
type Image struct {
	Entry         uint64 // Xen's ENTRY note, or e_entry
	HypercallPage uint64 // VA, page-aligned, inside an executable segment
	Segments      []Segment
	ABI           uint32 // of the KX note
	StackSize     uint64
	Memory        uint64
	Root          Range    // a tar archive appended to the image, after everything ELF speaks of; empty: none
	Dynamic       *Dynamic // what it says about shared libraries; nil: it uses none
	Size          int64    // of the file
}

// Range is a piece of a file.
type Range struct{ Off, Len uint64 }

// Pages is how many frames the image takes, from the start of the image area to the last
// segment's end.
func (m *Image) Pages() uint64 {
	last := m.Segments[len(m.Segments)-1]
	return (last.VA + last.MemSize - ImageVA + PageSize - 1) / PageSize
}
