package elf

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"slices"
	"testing"
)

func TestValid(t *testing.T) {
	s := validSpec()
	notes := uint64(len(s.notes))
	want := &Image{
		Entry:         0x400200,
		HypercallPage: 0x401000,
		ABI:           ABIVersion,
		StackSize:     0x10000,
		Memory:        0x200000,
		Segments: []Segment{
			{VA: 0x400000, MemSize: 0x2000, Off: textOff, FileSize: textSize, Prot: Read | Exec},
			{VA: 0x402300, MemSize: notes, Off: noteOff, FileSize: notes, Prot: Read},
			{VA: 0x403400, MemSize: 0x2345, Off: dataOff, FileSize: dataSize, Prot: Read | Write},
		},
	}
	b := s.build()
	want.Size = int64(len(b))
	got, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Pages() != 6 {
		t.Errorf("%d pages, want 6", got.Pages())
	}

	slices.Reverse(s.progs)
	if got, err := parse(s.build()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("segments in another order: %+v, %v", got, err)
	}

	s = validSpec()
	s.notes = slices.Concat(note("Xen", noteHypercallPage, quad(0x401000)), kx(ABIVersion, 0, 0, 0))
	if got, err := parse(s.build()); err != nil || got.Entry != 0x400100 {
		t.Errorf("without an ENTRY note: %+v, %v; want e_entry", got, err)
	}
}

// TestNoteAlignment has the notes in two segments, one of them of alignment 8, as the linker
// writes .note.gnu.property.
func TestNoteAlignment(t *testing.T) {
	s := validSpec()
	property := append(note("GNU", 5, make([]byte, 20)), make([]byte, 4)...)
	all := slices.Concat(property, s.notes)
	if len(property)%8 != 0 || len(all) > dataOff-noteOff {
		t.Fatal("the notes do not fit")
	}
	s.progs[1].off += uint64(len(property))
	s.progs = append(s.progs, prog{typ: progNote, off: noteOff, filesz: uint64(len(property)), align: 8})
	s.notes = all
	if _, err := parse(s.build()); err != nil {
		t.Error(err)
	}
}

func TestRoot(t *testing.T) {
	plain := validSpec().build()
	at, err := RootOffset(bytes.NewReader(plain), int64(len(plain)))
	if err != nil || at%tarBlock != 0 || at < int64(len(plain)) || at >= int64(len(plain))+tarBlock {
		t.Fatalf("RootOffset of %d bytes: %d, %v", len(plain), at, err)
	}
	s := validSpec()
	s.root = rootTar(t)
	for _, tail := range []int{0, 1, 512, 8192, 100000} {
		b := append(s.build(), make([]byte, tail)...)
		m, err := parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if want := (Range{uint64(at), uint64(len(s.root))}); m.Root != want || m.Size != int64(len(b)) {
			t.Errorf("root %+v, want %+v", m.Root, want)
		}
		if again, err := RootOffset(bytes.NewReader(b), int64(len(b))); err != nil || again != at {
			t.Errorf("RootOffset with a root: %d, %v, want %d", again, err, at)
		}
	}
}

// TestTruncated cuts images at every byte: each piece is refused, or is the same image.
func TestTruncated(t *testing.T) {
	plain := validSpec()
	rooted := validSpec()
	rooted.root = append(rootTar(t), make([]byte, 700)...)
	bare := validSpec().build()
	for name, b := range map[string][]byte{"plain": plain.build(), "with root": rooted.build()} {
		want, err := parse(b)
		if err != nil {
			t.Fatal(err)
		}
		for n := range b {
			got, err := parse(b[:n])
			var refused *Error
			if err != nil && !errors.As(err, &refused) {
				t.Fatalf("%s, %d bytes: error %v is no *Error", name, n, err)
			}
			if err != nil || n == len(bare) {
				continue // a root cut off to its first byte leaves an image without root
			}
			got.Size = want.Size
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s, %d of %d bytes: another image: %+v", name, n, len(b), got)
			}
		}
		for n := range b {
			Symbols(bytes.NewReader(b[:n]), int64(n))
			ParseImage(bytes.NewReader(b[:n]), int64(len(b))) // a file that shrank
		}
	}
}

// TestMutated changes every byte of an image in several ways: no panic, and whatever is taken
// keeps the promises.
func TestMutated(t *testing.T) {
	s := validSpec()
	s.root = rootTar(t)
	b := s.build()
	for i := range b {
		old := b[i]
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff, old + 1, old - 1, old ^ 0x10} {
			b[i] = v
			checkPromises(t, b)
			Symbols(bytes.NewReader(b), int64(len(b)))
		}
		b[i] = old
	}
}

// checkPromises parses a file and checks what the types promise of what was taken.
func checkPromises(t testing.TB, b []byte) {
	m, err := parse(b)
	if err != nil {
		var refused *Error
		if !errors.As(err, &refused) || refused.Reason == "" {
			t.Fatalf("error %v is no *Error", err)
		}
		return
	}
	if len(m.Segments) == 0 || len(m.Segments) > maxSegments || m.ABI != ABIVersion || m.Size != int64(len(b)) {
		t.Fatalf("%+v", m)
	}
	next := uint64(ImageVA)
	for _, s := range m.Segments {
		ok := s.VA&^(PageSize-1) >= next && s.MemSize > 0 && s.MemSize <= ImageEnd-s.VA &&
			s.FileSize <= s.MemSize && s.Off <= uint64(len(b)) && s.FileSize <= uint64(len(b))-s.Off &&
			s.VA%PageSize == s.Off%PageSize && s.Prot&Read != 0 && s.Prot&(Write|Exec) != Write|Exec
		if !ok {
			t.Fatalf("segment %+v after %#x", s, next)
		}
		next = pageUp(s.VA + s.MemSize)
	}
	if n := m.Pages(); n == 0 || n > (ImageEnd-ImageVA)/PageSize {
		t.Fatalf("%d pages", n)
	}
	if !m.executable(m.Entry, 1) || !m.executable(m.HypercallPage, PageSize) || m.HypercallPage%PageSize != 0 {
		t.Fatalf("entry %#x, hypercall page %#x", m.Entry, m.HypercallPage)
	}
	if r := m.Root; r.Len > 0 && (r.Off%tarBlock != 0 || r.Len%tarBlock != 0 || r.Off+r.Len > uint64(len(b))) {
		t.Fatalf("root %+v", r)
	}
}

// TestReaderErrors holds that an error of the disk is not taken for a bad image.
func TestReaderErrors(t *testing.T) {
	b := validSpec().build()
	for n := range int64(len(b)) {
		_, err := ParseImage(failing{bytes.NewReader(b), n}, int64(len(b)))
		var refused *Error
		if err != nil && (errors.As(err, &refused) || !errors.Is(err, io.ErrNoProgress)) {
			t.Fatalf("reading fails at %d: %v", n, err)
		}
	}
	if _, err := ParseImage(bytes.NewReader(nil), -1); err == nil {
		t.Error("a file of -1 bytes is taken")
	}
}

// failing fails every read that reaches a certain byte.
type failing struct {
	r  io.ReaderAt
	at int64
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.at {
		return 0, io.ErrNoProgress
	}
	return f.r.ReadAt(p, off)
}

// TestAllocation holds that a small file gets little memory, whatever it claims.
func TestAllocation(t *testing.T) {
	claims := map[string]func([]byte){
		"2^40 symbols":           func(b []byte) { le.PutUint64(section0(b, secSymtab)[32:], symbolSize<<40) },
		"2^40 bytes of strings":  func(b []byte) { le.PutUint64(section0(b, secStrtab)[32:], 1<<40) },
		"65535 sections":         func(b []byte) { le.PutUint16(b[60:], 65535) },
		"65535 program headers":  func(b []byte) { le.PutUint16(b[56:], 65535) },
		"a note of 2^32-1 bytes": func(b []byte) { le.PutUint32(b[noteOff+4:], 1<<32-1) },
		"notes of 2^50 bytes":    func(b []byte) { le.PutUint64(b[headerSize+progSize+32:], 1<<50) },
		"a segment of 2^50":      func(b []byte) { le.PutUint64(b[headerSize+40:], 1<<50) },
	}
	for name, claim := range claims {
		b := validSpec().build()
		claim(b)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ParseImage(bytes.NewReader(b), int64(len(b)))
		Symbols(bytes.NewReader(b), int64(len(b)))
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s in a file of %d bytes: %d bytes allocated", name, len(b), n)
		}
	}
	tiny := make([]byte, 200)
	copy(tiny, validSpec().build()[:headerSize])
	le.PutUint16(tiny[56:], 0)
	le.PutUint64(tiny[40:], 136)
	le.PutUint16(tiny[60:], 1)
	le.PutUint32(tiny[136+4:], sectionSymtab)
	le.PutUint64(tiny[136+32:], symbolSize<<40)
	if _, err := Symbols(bytes.NewReader(tiny), 200); err == nil {
		t.Error("200 bytes with 2^40 symbols are taken")
	}
}

// section0 is a section header in a built image.
func section0(b []byte, i int) []byte {
	return b[le.Uint64(b[40:])+uint64(i)*sectionSize:][:sectionSize]
}

func FuzzParseImage(f *testing.F) {
	f.Add(validSpec().build())
	s := validSpec()
	s.root = rootTar(f)
	f.Add(s.build())
	f.Add([]byte("#!/bin/sh\n"))
	f.Fuzz(func(t *testing.T, b []byte) { checkPromises(t, b) })
}
