package elf

import "fmt"

// Notes that an image carries. Sources: guest/include/kx_abi.h, xen/include/public/elfnote.h.
const (
	noteKX            = 1 // name "KX": struct kx_note
	noteEntry         = 1 // name "Xen"
	noteHypercallPage = 2 // name "Xen"
)

const (
	noteHead = 12      // bytes: sizes of name and description, type
	kxSize   = 24      // bytes of struct kx_note
	maxNotes = 1 << 16 // bytes of one note segment
	maxMem   = 1 << 40 // bytes that a KX note may ask for, of RAM or stack
)

// kxNote is struct kx_note.
type kxNote struct {
	abi               uint32
	stackSize, memory uint64
}

// notes is what the notes of an image say; each must come once only, since Xen and kxsh would
// take different ones.
type notes struct {
	kx            *kxNote
	entry         *uint64
	hypercallPage *uint64
}

// notes reads all note segments.
func (f *file) notes(progs []prog) (*notes, error) {
	var n notes
	for _, p := range progs {
		if p.typ != progNote {
			continue
		}
		if p.filesz > maxNotes {
			return nil, refuse("note segment %d has %d bytes, at most %d are taken", p.index, p.filesz, maxNotes)
		}
		data, err := f.read(p.off, p.filesz)
		if err != nil {
			return nil, err
		}
		if err := n.parse(data, &p); err != nil {
			return nil, err
		}
	}
	if n.kx == nil {
		return nil, refuse("no ABI note: not built by kxsh cc")
	}
	return &n, nil
}

// parse reads one note segment.
func (n *notes) parse(data []byte, p *prog) error {
	return eachNote(data, p.align, fmt.Sprintf("segment %d", p.index), func(name string, typ uint32, desc []byte, _ uint64) error {
		return n.add(name, typ, desc)
	})
}

// eachNote hands each note of a segment or a section to f, with where in data its description is. Names and
// descriptions are padded to 4 bytes, where the alignment is 8 to 8 bytes (.note.gnu.property).
func eachNote(data []byte, align uint64, where string, f func(name string, typ uint32, desc []byte, at uint64) error) error {
	if align != 8 {
		align = 4
	}
	size := uint64(len(data))
	for at := uint64(0); size-at >= noteHead; {
		namesz, descsz := uint64(le.Uint32(data[at:])), uint64(le.Uint32(data[at+4:]))
		typ := le.Uint32(data[at+8:])
		name := at + noteHead
		desc := (name + namesz + align - 1) &^ (align - 1)
		if name+namesz > size || desc+descsz > size {
			return refuse("damaged note %s: a note at byte %d passes its end", where, at)
		}
		if err := f(string(data[name:name+namesz]), typ, data[desc:desc+descsz], desc); err != nil {
			return err
		}
		at = min((desc+descsz+align-1)&^(align-1), size)
	}
	return nil
}

func (n *notes) add(name string, typ uint32, desc []byte) error {
	switch {
	case name == "KX\x00" && typ == noteKX:
		return n.addKX(desc)
	case name == "Xen\x00" && typ == noteEntry:
		return setOnce(&n.entry, "entry point", desc)
	case name == "Xen\x00" && typ == noteHypercallPage:
		return setOnce(&n.hypercallPage, "hypercall page", desc)
	}
	return nil
}

func (n *notes) addKX(desc []byte) error {
	if n.kx != nil {
		return refuse("two ABI notes")
	}
	if len(desc) < 4 {
		return refuse("damaged ABI note: %d bytes, want %d", len(desc), kxSize)
	}
	if abi := le.Uint32(desc); abi != ABIVersion {
		return refuse("for guest ABI %d, this kxsh speaks %d: build it again with this kxsh's cc", abi, ABIVersion)
	}
	if len(desc) != kxSize {
		return refuse("damaged ABI note: %d bytes, want %d", len(desc), kxSize)
	}
	if v := le.Uint32(desc[4:]); v != 0 {
		return refuse("damaged ABI note: its reserved word is %#x, want 0", v)
	}
	k := &kxNote{abi: ABIVersion, stackSize: le.Uint64(desc[8:]), memory: le.Uint64(desc[16:])}
	if k.stackSize > maxMem {
		return refuse("wants a stack of %d bytes, at most %d are given", k.stackSize, uint64(maxMem))
	}
	if k.memory > maxMem {
		return refuse("wants %d bytes of memory, at most %d are given", k.memory, uint64(maxMem))
	}
	n.kx = k
	return nil
}

// setOnce takes an address out of one of Xen's notes.
func setOnce(v **uint64, what string, desc []byte) error {
	if *v != nil {
		return refuse("two notes for the %s", what)
	}
	if len(desc) != 8 {
		return refuse("damaged note for the %s: %d bytes, want 8", what, len(desc))
	}
	n := le.Uint64(desc)
	*v = &n
	return nil
}
