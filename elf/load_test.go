package elf

import (
	"cmp"
	"errors"
	"slices"
	"testing"
)

// dynPlug is a library that comes later: it needs one that is there, and one that is not.
func dynPlug() *dynSpec {
	return &dynSpec{
		soname: "plug.so", needed: []string{"libtwo.so", "libmore.so"},
		symbols: []dynSymbol{
			{"plug", symbolFunc, 1, 2, dynText + 0x10, 0x10}, {"one", symbolFunc, 1, 2, dynText + 0x20, 0x10},
			{"two", symbolNone, 1, 0, 0, 0}, {"more", symbolNone, 1, 0, 0, 0},
		},
		relocs:    []reloc{{dynData, relocGlobDat, 2, 0}, {dynData + 8, relocGlobDat, 3, 0}, {dynData + 16, relocGlobDat, 4, 0}},
		slots:     []reloc{{dynData + 64, relocJumpSlot, 4, 0}},
		init:      span{dynData + 80, 8},
		extra:     [][2]uint64{{tagPltGot, dynData + 0x100}},
		dataBytes: slices.Concat(make([]byte, 64), quad(dynText+0x56)),
	}
}

func dynMore() *dynSpec {
	return &dynSpec{soname: "libmore.so", symbols: []dynSymbol{{"more", symbolFunc, 1, 2, dynText + 0x30, 0x10}}}
}

// TestLoad: what comes later is put behind what is there, with what it needs; its symbols are those of the program's libraries first.
func TestLoad(t *testing.T) {
	files := dynFiles()
	l, err := linkAll(dynImage().build(), files, true)
	if err != nil {
		t.Fatal(err)
	}
	files["plug.so"], files["libmore.so"] = dynPlug().build(), dynMore().build()
	open := func(name, _ string) (*Library, error) {
		if files[name] == nil {
			return nil, refuse("no %s", name)
		}
		return parseLibrary(files[name])
	}
	tree, wanted, err := l.Grow("plug.so", open)
	if err != nil || len(tree) != 4 || wanted != 2 || tree[3].Name != "libmore.so" || !slices.Equal(tree[2].Needs, []int{1, 3}) {
		t.Fatalf("%d libraries, %d: %v", len(tree), wanted, err)
	}
	const at = dynBase + 64*PageSize
	const plug, more = at + PageSize, at + (1+4+1)*PageSize
	now, u, err := l.Load(tree, at, true)
	if err != nil || u.New != (Span{at, at + 10*PageSize}) || u.Old != (Span{}) || len(u.Parts)+len(u.Moves)+len(u.Literals) > 0 {
		t.Fatalf("%+v: %v", u, err)
	}
	memory, last := map[uint64]uint64{}, uint64(0)
	for _, p := range u.Pages {
		if p.VA <= last || p.VA%PageSize != 0 {
			t.Errorf("page %#x after %#x", p.VA, last)
		}
		for i := 0; i+8 <= len(p.Bytes); i += 8 {
			memory[p.VA+uint64(i)] = le.Uint64(p.Bytes[i:])
		}
		last = p.VA
	}
	last = 0
	for _, w := range u.Words {
		if w.VA <= last {
			t.Errorf("word %#x after %#x", w.VA, last)
		}
		memory[w.VA], last = w.Value, w.VA
	}
	const table = ImageVA + dynBSS + 0x200
	const items, resolver = table + tableHead + tableItem, ImageVA + dynText + 0x80
	const moreItem, plugItem = items + 2*tableItem, items + 3*tableItem // constructors: what is needed first
	two := l.Libraries[1].Base
	for va, want := range map[uint64]uint64{
		plug + dynData: ImageVA + dynText + 0x40, plug + dynData + 8: two + dynText + 0x20, plug + dynData + 16: more + dynText + 0x30,
		plug + dynData + 64: plug + dynText + 0x56, plug + dynData + 0x108: plugItem, plug + dynData + 0x110: resolver,
		table: 4, items + tableNext: plugItem, plugItem + tableNext: moreItem, moreItem + tableNext: 0,
		plugItem + tableBase: plug, moreItem + tableBase: more, plugItem + 80: 1 | 1<<2, plugItem: plug + dynData + 80, plugItem + 8: 1,
	} {
		if got, ok := memory[va]; !ok || got != want {
			t.Errorf("%#x: %#x (%v), want %#x", va, got, ok, want)
		}
	}
	// An engine that finds them in their places knows the same.
	img, err := parse(dynImage().build())
	if err != nil {
		t.Fatal(err)
	}
	again, err := Relink(img, slices.Clone(now.Libraries), true)
	if err != nil || again.BaseWord(2) != now.BaseWord(2) || again.BaseWord(2) != plugItem+tableBase {
		t.Errorf("found again at %#x, was at %#x: %v", again.BaseWord(2), now.BaseWord(2), err)
	}
	for i := range now.modules {
		if again.itemWords(i) != now.itemWords(i) {
			t.Errorf("item of %s: %#x, was %#x", now.modules[i].name, again.itemWords(i), now.itemWords(i))
		}
	}
	// And what is there already is not put there again, also by another name.
	same := func(string, string) (*Library, error) { return now.Libraries[2].Library, nil }
	for _, name := range []string{"plug.so", "folder/plug.so"} {
		if tree, wanted, err := now.Grow(name, same); err != nil || len(tree) != 4 || wanted != 2 {
			t.Errorf("%s: %d libraries, %d: %v", name, len(tree), wanted, err)
		}
	}
}

// TestLoadOwn: an application's own function is the one that it means, even if the image has one of that name; what else it means is sought as ever. One more
// word finds its place among the others.
func TestLoadOwn(t *testing.T) {
	files := dynFiles()
	l, err := linkAll(dynImage().build(), files, true)
	if err != nil {
		t.Fatal(err)
	}
	app := dynPlug()
	app.slots = append(app.slots, reloc{dynData + 72, relocJumpSlot, 2, 0}) // of one
	app.dataBytes = slices.Concat(make([]byte, 64), quad(dynText+0x56), quad(dynText+0x66))
	files["plug.so"], files["libmore.so"] = app.build(), dynMore().build()
	tree, _, err := l.Grow("plug.so", func(name, _ string) (*Library, error) { return parseLibrary(files[name]) })
	if err != nil {
		t.Fatal(err)
	}
	const at = dynBase + 64*PageSize
	const plug = at + PageSize
	for _, own := range []bool{false, true} {
		tree[2].Own = own
		now, u, err := l.Load(tree, at, true)
		if err != nil {
			t.Fatal(err)
		}
		word := func(va uint64) uint64 {
			for _, p := range u.Pages {
				if va-p.VA < PageSize {
					return le.Uint64(p.Bytes[va-p.VA:])
				}
			}
			return 0
		}
		want := []uint64{ImageVA + dynText + 0x40, l.Libraries[1].Base + dynText + 0x20, plug + dynText + 0x56, plug + dynText + 0x66}
		if own { // and such a call is bound at once
			want[0], want[3] = plug+dynText+0x20, plug+dynText+0x20
		}
		if got := []uint64{word(plug + dynData), word(plug + dynData + 8), word(plug + dynData + 64), word(plug + dynData + 72)}; !slices.Equal(got, want) {
			t.Errorf("own %v: %#x, want %#x", own, got, want)
		}
		if entry, ok := now.Libraries[2].Function("one"); !ok || entry != dynText+0x20 {
			t.Errorf("one is at %#x, %v", entry, ok)
		}
		n := len(u.Words)
		u.Set(u.Words[1].VA-1, 7)
		if !slices.IsSortedFunc(u.Words, func(a, b Word) int { return cmp.Compare(a.VA, b.VA) }) || len(u.Words) != n+1 || u.Words[1].Value != 7 {
			t.Errorf("words %+v", u.Words)
		}
	}
}

func TestLoadRefused(t *testing.T) {
	l, err := linkAll(dynImage().build(), dynFiles(), true)
	if err != nil {
		t.Fatal(err)
	}
	for reason, change := range map[string]func(*dynSpec){
		"plug.so: needs gone, which neither the image nor any of its libraries has: link the image again": func(s *dynSpec) { s.symbols[3].name = "gone" },
		"no libmore.so": func(s *dynSpec) { s.needed = append(s.needed, "libmore.so") },
		"plug.so: relocation of type 5 at 0x2200: compile it with kxsh cc -fPIC": func(s *dynSpec) { s.relocs[0].typ = relocCopy },
	} {
		s := dynPlug()
		s.needed, s.symbols[3].name = []string{"libtwo.so"}, "one"
		change(s)
		tree, _, err := l.Grow("plug.so", func(name, _ string) (*Library, error) {
			if name != "plug.so" {
				return nil, refuse("no %s", name)
			}
			return parseLibrary(s.build())
		})
		if err == nil {
			_, _, err = l.Load(tree, dynBase+64*PageSize, true)
		}
		var refused *Error
		if !errors.As(err, &refused) || refused.Reason != reason {
			t.Errorf("got  %v\nwant %s", err, reason)
		}
	}
}
