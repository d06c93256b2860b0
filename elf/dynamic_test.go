package elf

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func parseLibrary(b []byte) (*Library, error) { return ParseLibrary(bytes.NewReader(b), int64(len(b))) }

// linkAll links an image with libraries by their names.
func linkAll(image []byte, libraries map[string][]byte, lazy bool) (*Linked, error) {
	m, err := parse(image)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if m.Dynamic == nil {
		return nil, refuse("uses no libraries")
	}
	tree, err := Tree(m, func(name, by string) (*Library, error) {
		b, ok := libraries[name]
		if !ok {
			return nil, refuse("%s needs %s", by, name)
		}
		return parseLibrary(b)
	})
	if err != nil {
		return nil, err
	}
	bases, _ := Place(tree, dynBase)
	return Link(m, tree, bases, lazy)
}

// dynBase is where tests put the libraries.
const dynBase = 0x123456789000

func dynFiles() map[string][]byte {
	return map[string][]byte{"libone.so": dynLibrary().build(), "libtwo.so": dynOther().build()}
}

// TestLink compares what each relocation stores with what it is by hand.
func TestLink(t *testing.T) {
	image := dynImage().build()
	l, err := linkAll(image, dynFiles(), false)
	if err != nil {
		t.Fatal(err)
	}
	const one, two = dynBase + PageSize, dynBase + (1+4+1)*PageSize
	if len(l.Libraries) != 2 || l.Libraries[0].Base != one || l.Libraries[1].Base != two {
		t.Fatalf("%+v", l)
	}
	memory := map[uint64]uint64{}
	for _, c := range l.Content {
		for i := 0; i+8 <= len(c.Bytes); i += 8 {
			memory[c.VA+uint64(i)] = le.Uint64(c.Bytes[i:])
		}
	}
	const table = ImageVA + dynBSS + 0x200
	const canonical, pointer = ImageVA + dynText + 0x40, ImageVA + dynBSS
	for va, want := range map[uint64]uint64{
		one + dynData:      77,
		one + dynData + 8:  one + dynData,
		one + dynData + 16: one + dynData + 4, // counter, which nobody else has
		one + dynData + 32: canonical,         // the address of a function that the image has taken, too
		one + dynData + 40: 0,                 // weak, and nowhere
		one + dynData + 64: two + dynText + 0x20,
		one + dynData + 72: one + dynText + 0x10, // a call, of the first that has it
		// The image's copies: with what the library's relocations have made of them.
		pointer: one + dynData, pointer + 8: one + dynData + 4,
		ImageVA + dynBSS + 16: le.Uint64(dynLibrary().build()[0x40:]), ImageVA + dynBSS + 32: 0,
		ImageVA + dynData: canonical, ImageVA + dynData + 64: one + dynText + 0x10,
		// The table: libtwo first, for libone needs it.
		table: 2, table + 8 + tableItem: two, table + 16 + tableItem: 0,
		table + 8 + 2*tableItem: one + dynData + 80, table + 16 + 2*tableItem: 2, table + 48 + 2*tableItem: one,
		// Symbols are looked for in the image, in libone and in libtwo; both need each other.
		table + 8 + tableNext: table + 8 + 2*tableItem, table + 8 + 2*tableItem + tableNext: table + 8 + tableItem, table + 8 + tableItem + tableNext: 0,
		table + 88: 0, table + 88 + tableItem: 2, table + 88 + 2*tableItem: 1,
		table + 56: l.modules[0].tables.symbols, table + 72 + 2*tableItem: one + l.modules[1].tables.hash,
	} {
		if got, ok := memory[va]; !ok || got != want {
			t.Errorf("%#x: %#x (%v), want %#x", va, got, ok, want)
		}
	}
	pages, err := l.Libraries[0].ReadOnly()
	if err != nil || len(pages) != 2*PageSize || !bytes.Equal(pages[:0x400], dynFiles()["libone.so"][:0x400]) {
		t.Errorf("%d bytes of read-only pages: %v", len(pages), err)
	}
}

// TestLazy: calls go to where the file has them go, by way of the resolver, until they are bound.
func TestLazy(t *testing.T) {
	l, err := linkAll(dynImage().build(), dynFiles(), true)
	if err != nil {
		t.Fatal(err)
	}
	memory := map[uint64]uint64{}
	for _, c := range l.Content {
		for i := 0; i+8 <= len(c.Bytes); i += 8 {
			memory[c.VA+uint64(i)] = le.Uint64(c.Bytes[i:])
		}
	}
	const one, two = dynBase + PageSize, dynBase + (1+4+1)*PageSize
	const resolver, items = ImageVA + dynText + 0x80, ImageVA + dynBSS + 0x200 + tableHead
	for va, want := range map[uint64]uint64{
		ImageVA + dynData + 0x108: items, ImageVA + dynData + 0x110: resolver,
		one + dynData + 0x108: items + 2*tableItem, one + dynData + 0x110: resolver,
		ImageVA + dynData + 64: ImageVA + dynText + 0x46,
		one + dynData + 64:     one + dynText + 0x56,
		one + dynData + 72:     one + dynText + 0x10, // the file has no code there: it is bound
		one + dynData + 32:     ImageVA + dynText + 0x40,
	} {
		if memory[va] != want {
			t.Errorf("%#x: %#x, want %#x", va, memory[va], want)
		}
	}
	for _, c := range []struct {
		module, n int
		want      uint64
		name      string
	}{{0, 0, one + dynText + 0x10, "one"}, {1, 0, two + dynText + 0x20, "two"}, {1, 1, one + dynText + 0x10, "one"}} {
		if got, name, err := l.call(c.module, c.n); err != nil || got != c.want || name != c.name {
			t.Errorf("call %d of module %d: %#x, %q, %v", c.n, c.module, got, name, err)
		}
	}
	for va, want := range map[uint64]string{one + dynText + 0x1f: "libone.so:one+0xf", one + dynText: "libone.so+0x1000", two + dynText + 0x20: "libtwo.so:two+0x0", one - 1: "", two + 4*PageSize: ""} {
		if name, _ := l.Name(va); name != want {
			t.Errorf("%#x is %q, want %q", va, name, want)
		}
	}
	read := func(va uint64, p []byte) error { le.PutUint64(p, memory[va]); return nil }
	if bound, unbound, err := l.Calls(read); !slices.Equal(bound, []int{1, 0}) || !slices.Equal(unbound, []int{1, 1}) || err != nil {
		t.Errorf("%d calls are bound, %d are not (%v)", bound, unbound, err)
	}
	memory[one+dynData+64] = two + dynText + 0x20
	if bound, unbound, _ := l.Calls(read); !slices.Equal(bound, []int{1, 1}) || !slices.Equal(unbound, []int{1, 0}) {
		t.Errorf("%d calls are bound, %d are not, after one was", bound, unbound)
	}
}

// call is what call n of a module means, and its name.
func (l *Linked) call(module, n int) (address uint64, name string, err error) {
	m := &l.modules[module]
	r := &m.slots[n]
	if len(m.symbols) > 0 {
		name = m.symbols[r.sym].name
	}
	t, err := l.target(module, r)
	return l.address(t), name, err
}

// TestTree: what is needed more than once comes once, breadth first, and constructors run after those of what is needed.
func TestTree(t *testing.T) {
	for _, c := range []struct{ needs, tree, order string }{
		{"image:a a: ", "a", "a"},
		{"image:a,b a:c b:c c:", "a b c", "c a b"},
		{"image:a a:b b:c c:a", "a b c", "c b a"},
		{"image:a a:a", "a", "a"},
		{"image:a,b a:b b:a", "a b", "b a"},
		{"image:c a: b:a c:b,a", "c b a", "a b c"},
	} {
		needs := map[string][]string{}
		for _, rule := range strings.Fields(c.needs) {
			name, list, _ := strings.Cut(rule, ":")
			needs[name] = strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
		}
		library := func(name string) *Library { return &Library{Dynamic: &Dynamic{Needed: needs[name]}} }
		tree, err := Tree(&Image{Dynamic: library("image").Dynamic}, func(name, _ string) (*Library, error) { return library(name), nil })
		if err != nil {
			t.Fatal(err)
		}
		var names, order []string
		for _, n := range tree {
			names = append(names, n.Name)
		}
		for _, i := range initOrder(tree, 0) {
			order = append(order, tree[i].Name)
		}
		if strings.Join(names, " ") != c.tree || strings.Join(order, " ") != c.order {
			t.Errorf("%s: %q, %q", c.needs, names, order)
		}
	}
	endless := func(name, _ string) (*Library, error) {
		return &Library{Dynamic: &Dynamic{Needed: []string{name + "x"}}}, nil
	}
	if _, err := Tree(&Image{Dynamic: &Dynamic{Needed: []string{"x"}}}, endless); err == nil || err.Error() != "needs more than 16 libraries" {
		t.Errorf("an endless chain: %v", err)
	}
}

// TestDynamicReasons has the words with which libraries, and images with them, are refused.
func TestDynamicReasons(t *testing.T) {
	extra := func(tag, value uint64) func(*dynSpec) {
		return func(s *dynSpec) { s.extra = append(s.extra, [2]uint64{tag, value}) }
	}
	typed := func(typ uint32) func(*dynSpec) { return func(s *dynSpec) { s.relocs[0].typ = typ } }
	segment := func(i int, change func(p *prog)) func(*dynSpec) {
		return func(s *dynSpec) { s.progs = func(p []prog) []prog { change(&p[i]); return p } }
	}
	const text, versions = "text relocations: compile it with -fPIC", "symbol versions: link it without a version script"
	for _, c := range []struct {
		change func(*dynSpec)
		reason string
	}{
		{func(s *dynSpec) { s.patch = func(b []byte) []byte { b[16] = typeExec; return b } }, "a program, not a library: link it with kxsh cc -shared"},
		{func(s *dynSpec) { s.patch = func(b []byte) []byte { b[16] = typeRel; return b } }, "ELF type 1, want 3 (shared object): link it with kxsh cc -shared"},
		{func(s *dynSpec) { s.patch = func(b []byte) []byte { b[18] = 183; return b } }, "for machine 183 (AArch64), want 62 (x86-64)"},
		{segment(3, func(p *prog) { p.typ = progInterp }), "a Linux program (it names an interpreter): link it with kxsh cc -shared"},
		{segment(3, func(p *prog) { p.typ = progTLS }), threadLocal},
		{segment(3, func(p *prog) { p.typ = progRelro }), "its tables are to become read-only (RELRO): link it with -Wl,-z,norelro"},
		{segment(3, func(p *prog) { p.typ = progNote }), "no dynamic section: link it with kxsh cc -shared"},
		{segment(3, func(p *prog) { p.filesz = 17 }), "dynamic section of 17 bytes, want a multiple of 16, at most 65536"},
		{segment(3, func(p *prog) { p.filesz = 32 }), "damaged dynamic section: no end"},
		{segment(2, func(p *prog) { p.memsz = 1 << 30 }), "segment 2 at 0x2000 to 0x40002000 is outside the addresses of a library, 0x0 to 0x4000000"},
		{func(s *dynSpec) { s.progs = func(p []prog) []prog { return append(p, p[3]) } }, "two dynamic sections"},
		{extra(tagTextRel, 0), text},
		{extra(tagFlags, flagTextRel), text},
		{extra(tagFlags, flagSymbolic), "binds its own symbols to itself (-Bsymbolic): link it without"},
		{extra(tagSymbolic, 0), "binds its own symbols to itself (-Bsymbolic): link it without"},
		{extra(tagRel, 0), "relocations without addends (DT_REL): build it with kxsh cc"},
		{extra(tagRelr, 0), "packed relocations (DT_RELR): link it with -Wl,-z,nopack-relative-relocs"},
		{extra(tagInit, 0), "has a DT_INIT function: link it with kxsh cc -shared, or with -nostartfiles"},
		{extra(tagFini, 0), "has a DT_FINI function: link it with kxsh cc -shared, or with -nostartfiles"},
		{extra(tagPreinitArray, 0), "has a .preinit_array: use constructors"},
		{extra(tagVerdef, 0), versions},
		{extra(tagVerneed, 0), versions},
		{extra(tagVersym, 0), versions},
		{extra(tagHash, 0), "damaged dynamic section: tag 0x4 twice"},
		{extra(tagSoname, 1<<20), "damaged dynamic section: tag 0xe twice"},
		{func(s *dynSpec) { s.without = []uint64{tagHash} }, "no symbol hash table of the System V kind: link it with -Wl,--hash-style=sysv"},
		{func(s *dynSpec) { s.without = []uint64{tagSymEnt}; extra(tagSymEnt, 16)(s) }, "damaged dynamic section: tag 0xb is 16, want 24"},
		{func(s *dynSpec) { s.without = []uint64{tagStrSize}; extra(tagStrSize, 1<<25)(s) }, "table of strings of 33554432 bytes, at most 16777216 are taken"},
		{func(s *dynSpec) { s.without = []uint64{tagSymtab}; extra(tagSymtab, 0x9000)(s) }, "damaged dynamic section: 192 bytes of symbols at 0x9000, in no segment"},
		{func(s *dynSpec) { s.without = []uint64{tagRelaSize}; extra(tagRelaSize, 25)(s) }, "damaged dynamic section: 25 bytes of relocations, want a multiple of 24"},
		{func(s *dynSpec) { s.needed, s.dataBytes = slices.Repeat([]string{"x"}, 70), nil }, "needs more than 64 libraries"},
		{func(s *dynSpec) { s.needed[0] = "../evil.so" }, `the name of a library is "../evil.so", want that of a file without a folder: link it with -Wl,-soname,libNAME.so`},
		{func(s *dynSpec) { s.soname = "a b" }, `the name of a library is "a b", want that of a file without a folder: link it with -Wl,-soname,libNAME.so`},
		{func(s *dynSpec) { s.needed[0] = strings.Repeat("x", 256) }, `the name of a library is "` + strings.Repeat("x", 32) + `", want that of a file without a folder: link it with -Wl,-soname,libNAME.so`},
		{func(s *dynSpec) { s.extra = append(s.extra, [2]uint64{tagNeeded, 1 << 40}) }, "damaged dynamic section: no string at 1099511627776 of 67"},
		{func(s *dynSpec) { s.symbols[0].name = strings.Repeat("x", maxSymbol+1) }, "a name of more than 1024 bytes"},
		{func(s *dynSpec) { s.patch = func(b []byte) []byte { le.PutUint32(b[0x408:], 0); return b } }, "damaged hash table: one is not in it"},
		{func(s *dynSpec) { s.patch = func(b []byte) []byte { le.PutUint32(b[0x408:], 9); return b } }, "damaged hash table: symbol 9 of 8, or twice"},
		{func(s *dynSpec) { s.patch = func(b []byte) []byte { le.PutUint32(b[0x410:], 1); return b } }, "damaged hash table: symbol 1 of 8, or twice"},
		{func(s *dynSpec) { s.patch = func(b []byte) []byte { le.PutUint32(b[0x400:], 2); return b } }, "damaged hash table: one is in bucket 0"},
		{func(s *dynSpec) { s.symbols[0].typ = symbolIFunc }, "one: " + indirect},
		{func(s *dynSpec) { s.symbols[0].value = 1 << 40 }, "damaged symbol one: 16 bytes at 0x10000000000, in no segment"},
		{func(s *dynSpec) { s.symbols[0].size = 1 << 63 }, "damaged symbol one: 9223372036854775808 bytes at 0x1010, in no segment"},
		{func(s *dynSpec) { s.symbols[0].section = 0xfff2 }, "damaged symbol one: section 0xfff2"},
		{typed(relocIRel), indirect},
		{typed(relocDTPMod), threadLocal},
		{typed(relocTPOff), threadLocal},
		{typed(10), "relocation of type 10 at 0x2208: compile it with kxsh cc -fPIC"},
		{func(s *dynSpec) { s.relocs[1].sym = 99 }, "damaged relocation at 0x2210: symbol 99 of 8"},
		{func(s *dynSpec) { s.relocs[0].va = dynText }, text},
		{func(s *dynSpec) { s.relocs[0].va = dynEnd - 7 }, "damaged relocation at 0x37f9, in no segment"},
		{func(s *dynSpec) { s.init.va = dynText }, "damaged dynamic section: 16 bytes of constructors at 0x1000, in no writable segment"},
		{func(s *dynSpec) { s.init.size = 12 }, "damaged dynamic section: 12 bytes of constructors at 0x2250, in no writable segment"},
	} {
		s := dynLibrary()
		c.change(s)
		var refused *Error
		if _, err := parseLibrary(s.build()); !errors.As(err, &refused) || refused.Reason != c.reason {
			t.Errorf("got  %v\nwant %s", err, c.reason)
		}
	}
	for _, c := range []struct {
		image, one func(*dynSpec)
		reason     string
	}{
		{nil, func(s *dynSpec) { s.symbols[4].name = "three" }, "libone.so: needs three, which neither the image nor any of its libraries has: link the image again"},
		{nil, func(s *dynSpec) { s.symbols[4].name = "a\x1b[2J" }, "libone.so: needs a?[2J, which neither the image nor any of its libraries has: link the image again"},
		{nil, func(s *dynSpec) { s.symbols[2].size = 8 }, "the image: pointer has 8 bytes in libone.so and 16 in the image: link the image again"},
		{nil, func(s *dynSpec) { s.symbols[2].name = "other" }, "the image: needs the variable pointer, which none of its libraries has: link the image again"},
		{nil, func(s *dynSpec) { s.symbols[5].typ = symbolTLS }, "libone.so: maybe: " + threadLocal},
		{nil, func(s *dynSpec) { s.relocs[0].typ = relocCopy }, "libone.so: relocation of type 5 at 0x2208: compile it with kxsh cc -fPIC"},
		{nil, func(s *dynSpec) { s.relocs[0].va = dynBSS }, "libone.so: damaged relocation at 0x2800: the file has nothing there"},
		{func(s *dynSpec) { s.symbols[0].name = "kx" }, nil, "uses shared libraries without the start for them: link it with kxsh cc"},
		{func(s *dynSpec) { s.symbols[0].size = 8 }, nil, "uses shared libraries without the start for them: link it with kxsh cc"},
		{func(s *dynSpec) { s.relocs[0].va = ImageVA + dynEnd - 8 }, nil, "the image: damaged relocation at 0x4037f8: pointer has 16 bytes"},
		{func(s *dynSpec) { s.needed = []string{"libthree.so"} }, nil, " needs libthree.so"},
		{nil, func(s *dynSpec) {
			s.progs = func(p []prog) []prog { p[2].memsz = maxLibrary - p[2].va; return p }
		}, "libtwo.so: no room: libraries have 64 MiB of addresses"},
	} {
		image, one := dynImage(), dynLibrary()
		if c.image != nil {
			c.image(image)
		}
		if c.one != nil {
			c.one(one)
		}
		files := dynFiles()
		files["libone.so"] = one.build()
		var refused *Error
		if _, err := linkAll(image.build(), files, false); !errors.As(err, &refused) || refused.Reason != c.reason {
			t.Errorf("got  %v\nwant %s", err, c.reason)
		}
	}
}

// TestLibraryMutated changes every byte of a library, and of an image that uses it, in several ways, and cuts them at every byte: no
// panic, and whatever is linked keeps the promises.
func TestLibraryMutated(t *testing.T) {
	image, files := dynImage().build(), dynFiles()
	for name, b := range map[string][]byte{"image": image, "libone.so": files["libone.so"]} {
		for i := 0; i < len(b); i++ {
			if i > 0x800 && i < dynRW || i > dynData+0x100 {
				continue // text, and data that is only copied
			}
			old := b[i]
			for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff, old + 1, old ^ 0x10} {
				b[i] = v
				checkLinked(t, image, files)
			}
			b[i] = old
		}
		for n := range b {
			if n > 0x800 && n%64 != 0 {
				continue
			}
			if name == "image" {
				checkLinked(t, b[:n], files)
			} else {
				checkLinked(t, image, map[string][]byte{"libone.so": b[:n], "libtwo.so": files["libtwo.so"]})
			}
		}
	}
}

// checkLinked links and checks what the types promise of what was taken.
func checkLinked(t testing.TB, image []byte, files map[string][]byte) {
	l, err := linkAll(image, files, true)
	if err != nil {
		var refused *Error
		if !errors.As(err, &refused) || refused.Reason == "" || strings.ContainsAny(refused.Reason, "\n\x1b") {
			t.Fatalf("error %q is no *Error of one line", err)
		}
		return
	}
	m, err := parse(image)
	if err != nil {
		t.Fatal(err)
	}
	segs, next := slices.Clone(m.Segments), uint64(dynBase)
	for _, p := range l.Libraries {
		if p.Base%PageSize != 0 || p.Base < next+PageSize {
			t.Fatalf("%s at %#x, %d pages, after %#x", p.Name, p.Base, p.Pages(), next)
		}
		next = p.Base + p.Pages()*PageSize
		for _, s := range p.Segments {
			s.VA += p.Base
			segs = append(segs, s)
		}
	}
	for _, c := range l.Content {
		for at := c.VA; at < c.VA+uint64(len(c.Bytes)); { // in writable segments alone
			i := slices.IndexFunc(segs, func(s Segment) bool { return s.Prot&Write != 0 && at >= s.VA && at < s.VA+s.MemSize })
			if i < 0 {
				t.Fatalf("content at %#x of %#x, %d bytes", at, c.VA, len(c.Bytes))
			}
			at = segs[i].VA + segs[i].MemSize
		}
	}
}

// TestLibraryAllocation holds that a small file gets little memory, whatever it claims.
func TestLibraryAllocation(t *testing.T) {
	for name, change := range map[string]func(*dynSpec){
		"2^32 symbols": func(s *dynSpec) { s.patch = func(b []byte) []byte { le.PutUint32(b[0x404:], 1<<32-1); return b } },
		"2^40 relocs": func(s *dynSpec) {
			s.without = []uint64{tagRelaSize}
			s.extra = [][2]uint64{{tagRelaSize, relaSize << 40}}
		},
		"a huge string": func(s *dynSpec) { s.without = []uint64{tagStrSize}; s.extra = [][2]uint64{{tagStrSize, 1 << 23}} },
	} {
		s := dynLibrary()
		change(s)
		b := s.build()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := parseLibrary(b)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; err == nil || n > 1<<18 {
			t.Errorf("%s in a file of %d bytes: %d bytes allocated; %v", name, len(b), n, err)
		}
	}
}

// TestLibraryReaderErrors holds that an error of the disk is not taken for a bad library.
func TestLibraryReaderErrors(t *testing.T) {
	b := dynLibrary().build()
	whole, err := parseLibrary(b)
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(len(b)) {
		l, err := ParseLibrary(failing{bytes.NewReader(b), n}, int64(len(b)))
		var refused *Error
		if err != nil && errors.As(err, &refused) {
			t.Fatalf("reading fails at %d: %v", n, err)
		}
		if err == nil && !reflect.DeepEqual(l.Segments, whole.Segments) {
			t.Fatalf("reading fails at %d: another library: %+v", n, l)
		}
	}
}

func FuzzLink(f *testing.F) {
	files := dynFiles()
	f.Add(dynImage().build(), files["libone.so"])
	f.Add(dynImage().build(), files["libtwo.so"])
	f.Fuzz(func(t *testing.T, image, one []byte) {
		checkLinked(t, image, map[string][]byte{"libone.so": one, "libtwo.so": files["libtwo.so"]})
	})
}
