package elf

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// reasonCase is a change to a valid image and the words with which it is refused.
type reasonCase struct {
	name   string
	change func(*imageSpec)
	reason string
}

// reasonCases has a case for every refusal there is.
func reasonCases(t *testing.T) []reasonCase {
	patch := func(off int, v ...byte) func(*imageSpec) {
		return func(s *imageSpec) {
			s.patch = func(b []byte) []byte { copy(b[off:], v); return b }
		}
	}
	whole := func(b ...byte) func(*imageSpec) {
		return func(s *imageSpec) { s.patch = func([]byte) []byte { return b } }
	}
	seg := func(i int, change func(p *prog)) func(*imageSpec) {
		return func(s *imageSpec) { change(&s.progs[i]) }
	}
	notes := func(n ...[]byte) func(*imageSpec) {
		return func(s *imageSpec) {
			s.notes = slices.Concat(n...)
			s.progs[1].filesz = uint64(len(s.notes))
		}
	}
	entry, hypercall, abi := note("Xen", 1, quad(0x400200)), note("Xen", 2, quad(0x401000)), kx(ABIVersion, 0, 0, 0)
	root := func(change func(tar []byte) []byte) func(*imageSpec) {
		return func(s *imageSpec) { s.root = change(rootTar(t)) }
	}
	size := len(validSpec().build())
	if size != 1560 {
		t.Fatalf("the synthetic image has %d bytes; reasons below name 1560", size)
	}

	return []reasonCase{
		{"empty", whole(), "not an ELF file: it is empty"},
		{"script", whole([]byte("#!/bin/sh\n")...), `not an ELF file: it begins with "#!/b"`},
		{"two bytes", whole('M', 'Z'), `not an ELF file: it begins with "MZ"`},
		{"magic only", whole(0x7f, 'E', 'L', 'F'), "truncated: 4 bytes, an ELF header has 64"},
		{"class", patch(4, 1), "ELF class 1, want 2 (64-bit)"},
		{"byte order", patch(5, 2), "ELF byte order 2, want 1 (little-endian)"},
		{"ident version", patch(6, 0), "ELF version 0 and 1, want 1"},
		{"version", patch(20, 9), "ELF version 1 and 9, want 1"},
		{"known machine", patch(18, 183), "for machine 183 (AArch64), want 62 (x86-64)"},
		{"machine", patch(18, 0xff, 0xff), "for machine 65535 (another processor), want 62 (x86-64)"},
		{"object", patch(16, 1), "an object file, not linked: link it with kxsh cc"},
		{"shared", patch(16, 3), "a shared object or a Linux program: build it with kxsh cc"},
		{"core", patch(16, 4), "a core dump"},
		{"type", patch(16, 9), "ELF type 9, want 2 (executable)"},

		{"phentsize", patch(54, 32), "program headers of 32 bytes, want 56"},
		{"phnum", patch(56, 65), "65 program headers, at most 64 are taken"},
		{"phoff", patch(32, 0, 0, 1), "truncated: 4 program headers at byte 65536 of 1560"},
		{"phoff overflow", patch(32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "truncated: 4 program headers at byte 18446744073709551615 of 1560"},
		{"shentsize", patch(58, 40), "section headers of 40 bytes, want 64"},
		{"shnum 0", patch(60, 0, 0), "section headers at byte 1240, but none"},
		{"shnum", patch(60, 6), "truncated: 6 section headers at byte 1240 of 1560"},
		{"section", func(s *imageSpec) {
			s.patch = func(b []byte) []byte { le.PutUint64(section0(b, secStrtab)[32:], 9999); return b }
		}, "truncated: section 4 has 9999 bytes at byte 1200 of 1560"},

		{"interpreter", seg(2, func(p *prog) { p.typ = progInterp }), "a Linux program (it names an interpreter): build it with kxsh cc"},
		{"dynamic", seg(2, func(p *prog) { p.typ = progDynamic }), "damaged dynamic section: no end"},

		{"no note segment", seg(1, func(p *prog) { p.typ = 0 }), "no ABI note: not built by kxsh cc"},
		{"no ABI note", notes(entry, hypercall), "no ABI note: not built by kxsh cc"},
		{"ABI version", notes(entry, hypercall, kx(ABIVersion-1, 0, 0, 0)), "for guest ABI 11, this kxsh speaks 12: build it again with this kxsh's cc"},
		{"later ABI, other size", notes(entry, hypercall, note("KX", 1, []byte{13, 0, 0, 0})), "for guest ABI 13, this kxsh speaks 12: build it again with this kxsh's cc"},
		{"short ABI note", notes(entry, hypercall, note("KX", 1, []byte{ABIVersion, 0, 0, 0})), "damaged ABI note: 4 bytes, want 24"},
		{"empty ABI note", notes(entry, hypercall, note("KX", 1, nil)), "damaged ABI note: 0 bytes, want 24"},
		{"reserved word", notes(entry, hypercall, kx(ABIVersion, 5, 0, 0)), "damaged ABI note: its reserved word is 0x5, want 0"},
		{"two ABI notes", notes(entry, hypercall, abi, abi), "two ABI notes"},
		{"stack", notes(entry, hypercall, kx(ABIVersion, 0, 1<<41, 0)), "wants a stack of 2199023255552 bytes, at most 1099511627776 are given"},
		{"memory", notes(entry, hypercall, kx(ABIVersion, 0, 0, 1<<63)), "wants 9223372036854775808 bytes of memory, at most 1099511627776 are given"},
		{"no hypercall page", notes(entry, abi), "no hypercall page (a note of name Xen and type 2): not built by kxsh cc"},
		{"two hypercall pages", notes(hypercall, hypercall, abi), "two notes for the hypercall page"},
		{"two entries", notes(entry, entry, hypercall, abi), "two notes for the entry point"},
		{"short entry", notes(note("Xen", 1, []byte{1, 2, 3, 4}), hypercall, abi), "damaged note for the entry point: 4 bytes, want 8"},
		{"cut note", notes(entry, hypercall, abi[:30]), "damaged note segment 1: a note at byte 48 passes its end"},
		{"huge note segment", func(s *imageSpec) {
			s.progs[1].filesz = 1<<16 + 1
			s.patch = func(b []byte) []byte { return append(b, make([]byte, 1<<17)...) }
		}, "note segment 1 has 65537 bytes, at most 65536 are taken"},

		{"no segment", func(s *imageSpec) { s.progs = s.progs[1:2] }, "no loadable segment"},
		{"empty segments", func(s *imageSpec) {
			s.progs = []prog{s.progs[1], {typ: progLoad, flags: flagRead}}
		}, "no loadable segment"},
		{"17 segments", func(s *imageSpec) {
			for i := range uint64(14) {
				s.progs = append(s.progs, prog{typ: progLoad, flags: flagRead, va: 0x500000 + i*PageSize, memsz: 1})
			}
			s.progs[1].off = 0x600 // the program headers grew over the notes
			s.patch = func(b []byte) []byte { b = append(b, make([]byte, 0x1000)...); copy(b[0x600:], s.notes); return b }
		}, "more than 16 loadable segments"},
		{"segment cut", seg(3, func(p *prog) { p.filesz = 0x1000 }), "truncated: segment 3 has 4096 bytes at byte 1024 of 1560"},
		{"file over memory", seg(3, func(p *prog) { p.memsz = 1 }), "segment 3 has 32 bytes in the file, more than the 1 in memory"},
		{"file and no memory", seg(3, func(p *prog) { p.memsz = 0 }), "segment 3 has 32 bytes in the file, more than the 0 in memory"},
		{"overflow", seg(3, func(p *prog) { p.memsz = 1<<64 - 1 }), "segment 3 overflows: 18446744073709551615 bytes at 0x403400"},
		{"below", seg(0, func(p *prog) { p.va = 0x3ff000 }), "segment 0 at 0x3ff000 to 0x401000 is outside the image area, 0x400000 to 0x10000000"},
		{"above", seg(3, func(p *prog) { p.memsz = 0x10000000 }), "segment 3 at 0x403400 to 0x10403400 is outside the image area, 0x400000 to 0x10000000"},
		{"far above", seg(3, func(p *prog) { p.va = 0x7fffffff0400 }), "segment 3 at 0x7fffffff0400 to 0x7fffffff2745 is outside the image area, 0x400000 to 0x10000000"},
		{"alignment", seg(3, func(p *prog) { p.va = 0x403401 }), "segment 3 at 0x403401 cannot be mapped from byte 0x400: they differ within the page"},
		{"writable text", seg(0, func(p *prog) { p.flags = 7 }), "segment 0 is both writable and executable"},
		{"no flags", seg(3, func(p *prog) { p.flags = 0 }), "segment 3 has flags 0x0, want r, rw or rx"},
		{"other flags", seg(3, func(p *prog) { p.flags = 0x16 }), "segment 3 has flags 0x16, want r, rw or rx"},
		{"overlap", seg(3, func(p *prog) { p.va = 0x401400 }), "segments overlap: 0x400000 to 0x402000 and 0x401400 to 0x403745 share a page"},
		{"same page", seg(3, func(p *prog) { p.va = 0x402400 }), "segments overlap: 0x402300 to 0x402370 and 0x402400 to 0x404745 share a page"},

		{"entry outside", notes(note("Xen", 1, quad(0x500000)), hypercall, abi), "the entry point 0x500000 is in no executable segment"},
		{"entry in data", notes(note("Xen", 1, quad(0x403400)), hypercall, abi), "the entry point 0x403400 is in no executable segment"},
		{"e_entry", func(s *imageSpec) { notes(hypercall, abi)(s); s.entry = 0 }, "the entry point 0x0 is in no executable segment"},
		{"hypercall page misaligned", notes(entry, note("Xen", 2, quad(0x401008)), abi), "the hypercall page 0x401008 is not page-aligned"},
		{"hypercall page in data", notes(entry, note("Xen", 2, quad(0x404000)), abi), "the hypercall page 0x404000 is in no executable segment"},
		{"hypercall page cut", func(s *imageSpec) { s.progs[0].memsz = 0x1fff }, "the hypercall page 0x401000 is in no executable segment"},

		{"stray byte", func(s *imageSpec) { s.stray = []byte("x") }, "1 stray bytes after the image"},
		{"stray zeros", func(s *imageSpec) { s.stray = make([]byte, 100) }, "100 stray bytes after the image"},
		{"stray bytes before root", func(s *imageSpec) { s.stray = []byte("x"); s.root = rootTar(t) }, "stray bytes between image and root archive"},
		{"no tar", root(func([]byte) []byte { return make([]byte, 2000) }), "2000 bytes after the image, and they are no tar archive"},
		{"no end mark", root(func(tar []byte) []byte { return tar[:1024] }), "truncated: the root archive ends at byte 3072 without its end mark"},
		{"half an end mark", root(func(tar []byte) []byte { return tar[:1536] }), "truncated: the root archive ends at byte 3584 without its end mark"},
		{"half a header", root(func(tar []byte) []byte { return tar[:300] }), "truncated: the root archive ends at byte 2348 without its end mark"},
		{"end mark used", root(func(tar []byte) []byte { tar[1600] = 1; return tar }), "damaged root archive: something follows its end mark"},
		{"tar file cut", root(func(tar []byte) []byte { return tar[:700] }), "truncated: the root archive has a file of 6 bytes at byte 2560 of 2748"},
		{"tar checksum", root(func(tar []byte) []byte { tar[0]++; return tar }), "damaged root archive: bad tar header at byte 2048"},
		{"tar size", root(func(tar []byte) []byte { tar[tarSize] = 'x'; return tar }), "damaged root archive: bad tar header at byte 2048"},
		{"second header", root(func(tar []byte) []byte { tar[1024] = 1; return tar }), "damaged root archive: no tar header at byte 3072"},
		{"bytes after root", root(func(tar []byte) []byte { return append(tar, 0, 1) }), "stray bytes after the root archive"},
	}
}

func TestReasons(t *testing.T) {
	for _, c := range reasonCases(t) {
		s := validSpec()
		c.change(s)
		_, err := parse(s.build())
		if err == nil {
			t.Errorf("%s: taken, want %q", c.name, c.reason)
		} else if e, ok := err.(*Error); !ok || e.Reason != c.reason {
			t.Errorf("%s:\n got %q\nwant %q", c.name, err, c.reason)
		}
	}
}

// TestReference wants every refusal on the reference page to be one that TestReasons knows.
func TestReference(t *testing.T) {
	page, err := os.ReadFile("../docs/reference/image-format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## Refusals")
	rows := regexp.MustCompile("(?m)^\\| `(.*)` \\| ").FindAllStringSubmatch(table, -1)
	if len(rows) < 9 {
		t.Fatalf("%d refusals on the page", len(rows))
	}
	for _, row := range rows {
		words := strings.TrimSuffix(row[1], "…")
		known := func(c reasonCase) bool {
			return c.reason == row[1] || words != row[1] && strings.HasPrefix(c.reason, words)
		}
		if !slices.ContainsFunc(reasonCases(t), known) {
			t.Errorf("no file is refused with %q", row[1])
		}
	}
}
