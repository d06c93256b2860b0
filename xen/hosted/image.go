package hosted

import (
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// image is a prepared image: one sealed memory file, page for page as the image lies in a guest.
// Domains map its read-only segments and copy the writable ones.
type image struct {
	*sealed
	entry uint64
	pages uint64
	maps  []stubMap // of the segments
	data  []piece   // what the writable segments begin with
	size  uint64    // of the read-only segments, in bytes: what domains share
}

// imagePrefix begins the names of the memory files of images.
const imagePrefix = "kx-image:"

// piece is bytes at a place in a memory file.
type piece struct {
	off int64
	p   []byte
}

// Prepare implements xen.Hypervisor.
func (h *Hypervisor) Prepare(img *elf.Image, r io.ReaderAt) (xen.Image, error) {
	if len(img.Segments)+1 > maxMaps {
		return nil, fmt.Errorf("image: %d segments: at most %d", len(img.Segments), maxMaps-1)
	}
	fd, err := memfd(imagePrefix+h.key, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	m := &image{entry: img.Entry, pages: img.Pages()}
	if err := setSize(fd, m.pages*abi.PageSize); err != nil {
		return nil, err
	}
	for _, s := range img.Segments {
		if err := m.load(fd, s, r); err != nil {
			return nil, err
		}
	}
	if err := writeAt(fd, hypercallPage(), int64(img.HypercallPage-abi.ImageVa)); err != nil {
		return nil, err
	}
	if m.sealed, err = sealedOf(fd); err != nil {
		return nil, err
	}
	return m, nil
}

// load reads one segment and notes how to map it.
func (m *image) load(fd int, s elf.Segment, r io.ReaderAt) error {
	p := make([]byte, s.FileSize)
	if _, err := io.ReadFull(io.NewSectionReader(r, int64(s.Off), int64(s.FileSize)), p); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	off := s.VA - abi.ImageVa
	if err := writeAt(fd, p, int64(off)); err != nil {
		return err
	}
	mp := segmentMap(s)
	if mp.FD == fdRAM {
		m.data = append(m.data, piece{int64(off), p})
	} else {
		m.size += mp.Len
	}
	m.maps = append(m.maps, mp)
	return nil
}

func prot(p elf.Prot) (bits uint32) {
	for _, b := range []struct {
		elf elf.Prot
		sys uint32
	}{{elf.Read, unix.PROT_READ}, {elf.Write, unix.PROT_WRITE}, {elf.Exec, unix.PROT_EXEC}} {
		if p&b.elf != 0 {
			bits |= b.sys
		}
	}
	return bits
}

// hypercallPage is what the guest calls into: as on Xen, 32 bytes for each number. The jump goes
// to the stub; the call left the return address on the guest's stack, no other register changes.
func hypercallPage() []byte {
	page := make([]byte, abi.PageSize)
	for nr := range abi.PageSize / abi.HypervisorSize {
		e := page[nr*abi.HypervisorSize:][:0]
		if nr == abi.HypervisorIret { // jumped to, with its frame begun: see Xen's hypercall page
			e = append(e, 0x51, 0x41, 0x53, 0x50) // push %rcx; push %r11; push %rax
		}
		e = append(e, 0xb8) // mov $nr, %eax
		e = binary.LittleEndian.AppendUint32(e, uint32(nr))
		e = append(e, 0xff, 0x25, 0, 0, 0, 0) // jmp *0(%rip)
		binary.LittleEndian.AppendUint64(e, stubBase)
	}
	return page
}

// imageMaps reads the segments from the memory file of an image, which is sealed and begins with its program headers. The
// image was checked when it was prepared.
func imageMaps(fd int) ([]stubMap, error) {
	const headSize, entrySize, load, exec, write = 64, 56, 1, 1, 2
	bad := fmt.Errorf("%w: its image does not begin with its program headers", xen.ErrNoFork)
	read := func(n int, off uint64) []byte {
		p := make([]byte, n)
		if got, err := unix.Pread(fd, p, int64(off)); err != nil || got != n {
			return nil
		}
		return p
	}
	head := read(headSize, 0)
	if head == nil || string(head[:4]) != "\x7fELF" {
		return nil, bad
	}
	count := int(binary.LittleEndian.Uint16(head[56:]))
	table := read(count*entrySize, binary.LittleEndian.Uint64(head[32:]))
	if table == nil {
		return nil, bad
	}
	var maps []stubMap
	for ; len(table) > 0; table = table[entrySize:] {
		if binary.LittleEndian.Uint32(table) != load {
			continue
		}
		s := elf.Segment{VA: binary.LittleEndian.Uint64(table[16:]), MemSize: binary.LittleEndian.Uint64(table[40:]), Prot: elf.Read}
		flags := binary.LittleEndian.Uint32(table[4:])
		if flags&exec != 0 {
			s.Prot |= elf.Exec
		}
		if flags&write != 0 {
			s.Prot |= elf.Write
		}
		maps = append(maps, segmentMap(s))
	}
	if len(maps)+1 > maxMaps {
		return nil, bad
	}
	return maps, nil
}

// segmentMap says how to map a segment.
func segmentMap(s elf.Segment) stubMap {
	off := s.VA - abi.ImageVa
	start, end := off&^(abi.PageSize-1), (off+s.MemSize+abi.PageSize-1)&^(abi.PageSize-1)
	m := stubMap{VA: abi.ImageVa + start, Len: end - start, Off: start, FD: fdImage, Prot: prot(s.Prot)}
	if s.Prot&elf.Write != 0 {
		m.FD = fdRAM
	}
	return m
}
