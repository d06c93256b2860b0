package elf

import (
	"archive/tar"
	"bytes"
	"testing"
)

// imageSpec describes a synthetic image, field by field, so that a test can get any of them wrong.
type imageSpec struct {
	ident              [16]byte
	typ, machine       uint16
	version            uint32
	entry              uint64
	phentsize, shentsz uint16
	progs              []prog
	notes              []byte
	symbols            []byte
	strings            string
	stray              []byte // between image and root
	root               []byte
	// patch changes the finished bytes.
	patch func([]byte) []byte
}

// Where the parts of a synthetic image are, in the file.
const (
	textOff  = 0
	textSize = 0x300
	noteOff  = 0x300
	dataOff  = 0x400
	dataSize = 0x20
	symOff   = 0x420
)

// Sections of a synthetic image.
const (
	secText = 1 + iota
	secBss
	secSymtab
	secStrtab
	secCount
)

func validSpec() *imageSpec {
	s := &imageSpec{
		ident:   [16]byte{0x7f, 'E', 'L', 'F', class64, dataLE, version1},
		typ:     typeExec,
		machine: machineX86,
		version: version1,
		entry:   0x400100,
		notes: bytes.Join([][]byte{
			note("GNU", 3, []byte("build")),
			note("Xen", noteEntry, quad(0x400200)),
			note("Xen", noteHypercallPage, quad(0x401000)),
			kx(ABIVersion, 0, 0x10000, 0x200000),
		}, nil),
		strings:   "\x00start\x00main\x00label\x00alias\x00evil\x1b[2J\x00",
		phentsize: progSize,
		shentsz:   sectionSize,
	}
	s.progs = []prog{
		{typ: progLoad, flags: flagRead | flagExec, off: textOff, va: 0x400000, filesz: textSize, memsz: 0x2000, align: PageSize},
		{typ: progNote, flags: flagRead, off: noteOff, va: 0x402000 + noteOff, filesz: uint64(len(s.notes)), memsz: uint64(len(s.notes)), align: 4},
		{typ: progLoad, flags: flagRead, off: noteOff, va: 0x402000 + noteOff, filesz: uint64(len(s.notes)), memsz: uint64(len(s.notes)), align: PageSize},
		{typ: progLoad, flags: flagRead | flagWrite, off: dataOff, va: 0x403000 + dataOff, filesz: dataSize, memsz: 0x2345, align: PageSize},
	}
	s.symbols = bytes.Join([][]byte{
		make([]byte, symbolSize),
		symbol(1, symbolFunc, 1, secText, 0x400100, 0x40),
		symbol(7, symbolFunc, 1, secText, 0x400200, 0x40),
		symbol(12, symbolNone, 0, secText, 0x400180, 0),
		symbol(18, symbolFunc, 0, secText, 0x400200, 0x40),
		symbol(24, symbolFunc, 1, secText, 0x400280, 0x10),
	}, nil)
	return s
}

func quad(v uint64) []byte { return le.AppendUint64(nil, v) }

func note(name string, typ uint32, desc []byte) []byte {
	pad := func(p []byte) []byte { return append(p, make([]byte, -len(p)&3)...) }
	b := le.AppendUint32(nil, uint32(len(name)+1))
	b = le.AppendUint32(b, uint32(len(desc)))
	b = le.AppendUint32(b, typ)
	b = pad(append(append(b, name...), 0))
	return pad(append(b, desc...))
}

func kx(abi, reserved uint32, stack, memory uint64) []byte {
	d := le.AppendUint32(le.AppendUint32(nil, abi), reserved)
	return note("KX", noteKX, append(append(d, quad(stack)...), quad(memory)...))
}

func symbol(name uint32, typ, bind byte, section uint16, va, size uint64) []byte {
	b := append(le.AppendUint32(nil, name), bind<<4|typ, 0)
	return le.AppendUint64(le.AppendUint64(le.AppendUint16(b, section), va), size)
}

// build lays the image out: header, program headers, segments, symbols, section headers, root.
func (s *imageSpec) build() []byte {
	b := make([]byte, symOff)
	copy(b[noteOff:dataOff], s.notes)
	copy(b[dataOff:], "data")
	b = append(b, s.symbols...)
	strOff := len(b)
	b = append(b, s.strings...)
	b = append(b, make([]byte, -len(b)&7)...)
	shoff := len(b)
	for i := range secCount {
		var h [sectionSize]byte
		set := func(typ uint32, flags, va, off, size uint64, link uint32) {
			le.PutUint32(h[4:], typ)
			le.PutUint64(h[8:], flags)
			le.PutUint64(h[16:], va)
			le.PutUint64(h[24:], off)
			le.PutUint64(h[32:], size)
			le.PutUint32(h[40:], link)
		}
		switch i {
		case secText:
			set(1, sectionExec, 0x400100, textOff+0x100, textSize-0x100, 0)
		case secBss:
			set(sectionNobits, 0, 0x403420, 1<<40, 1<<40, 0)
		case secSymtab:
			set(sectionSymtab, 0, 0, symOff, uint64(len(s.symbols)), secStrtab)
		case secStrtab:
			set(sectionStrtab, 0, 0, uint64(strOff), uint64(len(s.strings)), 0)
		}
		b = append(b, h[:]...)
	}
	s.header(b, uint64(shoff))
	b = append(b, s.stray...)
	if s.root != nil {
		b = append(b, make([]byte, -len(b)&(tarBlock-1))...)
		b = append(b, s.root...)
	}
	if s.patch != nil {
		b = s.patch(b)
	}
	return b
}

func (s *imageSpec) header(b []byte, shoff uint64) {
	copy(b, s.ident[:])
	le.PutUint16(b[16:], s.typ)
	le.PutUint16(b[18:], s.machine)
	le.PutUint32(b[20:], s.version)
	le.PutUint64(b[24:], s.entry)
	le.PutUint64(b[32:], headerSize)
	le.PutUint64(b[40:], shoff)
	le.PutUint16(b[52:], headerSize)
	le.PutUint16(b[54:], s.phentsize)
	le.PutUint16(b[56:], uint16(len(s.progs)))
	le.PutUint16(b[58:], s.shentsz)
	le.PutUint16(b[60:], secCount)
	for i, p := range s.progs {
		h := make([]byte, progSize)
		le.PutUint32(h, p.typ)
		le.PutUint32(h[4:], p.flags)
		le.PutUint64(h[8:], p.off)
		le.PutUint64(h[16:], p.va)
		le.PutUint64(h[24:], p.va)
		le.PutUint64(h[32:], p.filesz)
		le.PutUint64(h[40:], p.memsz)
		le.PutUint64(h[48:], p.align)
		copy(b[headerSize+i*progSize:], h)
	}
}

// rootTar is a small root archive as Go's archive/tar writes it.
func rootTar(t testing.TB) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range map[string]string{"etc/motd": "hello\n"} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func parse(b []byte) (*Image, error) { return ParseImage(bytes.NewReader(b), int64(len(b))) }
