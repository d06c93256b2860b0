package elf

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestReplaceReasons has the words with which replacements are refused.
func TestReplaceReasons(t *testing.T) {
	symbol := func(name string, change func(*dynSymbol)) func(*dynSpec, *[]dynSymbol) { // of both tables
		return func(s *dynSpec, table *[]dynSymbol) {
			for _, list := range [][]dynSymbol{s.symbols, *table} {
				for i := range list {
					if list[i].name == name {
						change(&list[i])
					}
				}
			}
		}
	}
	without := func(names ...string) func(*dynSpec, *[]dynSymbol) { // of the symbol table alone
		return func(_ *dynSpec, table *[]dynSymbol) {
			*table = slices.DeleteFunc(*table, func(s dynSymbol) bool { return slices.Contains(names, s.name) })
		}
	}
	renamed := func(name, to string) func(*dynSpec, *[]dynSymbol) {
		return symbol(name, func(s *dynSymbol) { s.name = to })
	}
	sized := func(name string, size uint64) func(*dynSpec, *[]dynSymbol) {
		return symbol(name, func(s *dynSymbol) { s.size = size })
	}
	add := func(list ...dynSymbol) func(*dynSpec, *[]dynSymbol) {
		return func(_ *dynSpec, table *[]dynSymbol) { *table = append(*table, list...) }
	}
	v := func(name string, at, size uint64) dynSymbol {
		return dynSymbol{name, symbolObject, 1, tabData, dynBSS + 0x400 + at, size}
	}
	compound := func(_ *dynSpec, table *[]dynSymbol) { // variables that the debug information does not know
		for i, name := range []string{"literal.x.0", "literal.x.1"} {
			*table = slices.Insert(*table, 1, dynSymbol{name, symbolObject, 0, tabData, dynBSS + 0x400 + 8*uint64(i), 8})
		}
	}
	elsewhere := func(_ *dynSpec, table *[]dynSymbol) { // than the table of dynamic symbols has it
		without("one", "uno")(nil, table)
		add(dynSymbol{"one", symbolFunc, 1, tabText, dynText + 8, 0x10})(nil, table)
	}
	noDebug := func(b []byte) []byte { // the names of its sections are gone
		b = bytes.Clone(b)
		return bytes.ReplaceAll(b, []byte(".debug_info"), []byte(".debug_none"))
	}
	stripped := func(b []byte) []byte {
		b = bytes.Clone(b)
		le.PutUint32(b[le.Uint64(b[40:])+tabSymbols*sectionSize+4:], 1)
		return b
	}
	for _, c := range []struct {
		old, now           func(*dynSpec, *[]dynSymbol)
		oldBytes, nowBytes func([]byte) []byte
		reason             string
	}{
		{nil, nil, nil, nil, ""},
		{nil, nil, nil, stripped, "libone.so: the new library: its symbol table is stripped: build it with kxsh cc -shared, and do not strip it"},
		{nil, nil, stripped, nil, "libone.so: the old library: its symbol table is stripped: build it with kxsh cc -shared, and do not strip it"},
		{nil, func(s *dynSpec, _ *[]dynSymbol) { s.needed = append(s.needed, "libmore.so") }, nil, nil, "needs libmore.so, which the program does not have"},
		{nil, renamed("two", "three"), nil, nil, "libone.so: needs three, which neither the image nor any of its libraries has: link the image again"},
		{nil, renamed("pointer", "painter"), nil, nil, "the image: has a copy of pointer, which the new libone.so does not have"},
		{nil, sized("zeroes", 16), nil, nil, "the image: has a copy of zeroes with 32 bytes, the new libone.so has 16"},
		{nil, sized("counter", 16), nil, nil, "libone.so: variable counter has 16 bytes in the new library, had 8"},
		{nil, sized("state", 4), nil, nil, "libone.so: static variable state of a.c has 4 bytes in the new library, had 8"},
		{nil, sized("first/calls.1", 2), nil, nil, "libone.so: static variable calls of first() in a.c has 2 bytes in the new library, had 4"},
		{nil, symbol("counter", func(s *dynSymbol) { s.value, s.section = dynConst+0x50, tabConst }), nil, nil, "libone.so: variable counter is a constant in the new library"},
		{nil, symbol("counter", func(s *dynSymbol) { s.value, s.section, s.typ = dynText+0x100, tabText, symbolFunc }), nil, nil, "libone.so: variable counter is a function in the new library"},
		{nil, symbol("uno", func(s *dynSymbol) { s.value, s.section, s.typ = dynConst, tabConst, symbolObject }), nil, nil, "libone.so: function uno is a constant in the new library"},
		{nil, nil, noDebug, nil, "libone.so: static variable calls of a.c: there are 2 in the old library and 2 in the new one, which cannot be told apart: build both libraries with -g"},
		{nil, without("first/calls.1"), noDebug, nil, "libone.so: static variable calls of a.c: there are 2 in the old library and 1 in the new one, which cannot be told apart: build both libraries with -g"},
		{nil, without("a.c", "b.c", ""), nil, nil, "libone.so: the new library: its symbol table does not name source files: build it with kxsh cc -shared, and do not strip it"},
		{nil, renamed("second/calls.2", "first/calls.2"), nil, nil, "libone.so: static variable calls of first() in a.c: there are 1 in the old library and 2 in the new one, which cannot be told apart: give them names of their own"},
		{without("a.c"), without("a.c"), nil, nil, ""}, // without debug information about the first file
		{elsewhere, elsewhere, nil, nil, "the image: needs one, whose place in libone.so its symbol table does not tell: build both with kxsh cc -shared"},
		{compound, compound, nil, nil, "libone.so: static variable literal.x of a.c: there are 2 in the old library and 2 in the new one, which cannot be told apart: give them names of their own"},
		{add(v("v", 0, 8), v("w", 0, 8)), add(v("v", 0, 8), v("w", 8, 8)), nil, nil, "libone.so: variable v and variable w are one, and two in the new library"},
		{add(v("v", 0, 8), v("w", 8, 8)), add(v("v", 0, 8), v("w", 0, 8)), nil, nil, "libone.so: variable v and variable w are one in the new library"},
		{add(v("v", 0, 16), v("w", 8, 4)), add(v("v", 0, 16), v("w", 4, 4)), nil, nil, "libone.so: variable v and variable w overlap, and not so in the new library"},
		{add(v("v", 0, 16), v("w", 8, 16)), add(v("v", 0, 16), v("w", 8, 16)), nil, nil, "libone.so: variable v and variable w overlap, and not so in the new library"},
		{nil, symbol("uno", func(s *dynSymbol) { s.value += 0x100 }), nil, nil, "libone.so: function one and function uno are one, and two in the new library"},
		{nil, without("a.c"), nil, nil, ""},
		{func(s *dynSpec, _ *[]dynSymbol) {
			s.relocs = append(s.relocs, reloc{dynData + 0x0c, relocRelative, 0, dynData})
		}, nil, nil, nil, ""}, // the image has a copy
		{func(s *dynSpec, _ *[]dynSymbol) { s.relocs[0].va = dynData + 4 }, nil, nil, nil, "libone.so: holds a pointer at 0x2204, which is no multiple of 8: do without packed structures"},
		{nil, func(_ *dynSpec, table *[]dynSymbol) { (*table)[1].name = strings.Repeat("x", maxSymbol+1) }, nil, nil, "libone.so: the new library: a name of more than 1024 bytes"},
	} {
		files := dynFiles()
		old, now := replacedLibrary(c.old), replacedLibrary(c.now)
		if c.oldBytes != nil {
			old = c.oldBytes(old)
		}
		if c.nowBytes != nil {
			now = c.nowBytes(now)
		}
		files["libone.so"] = old
		l, err := linkAll(dynImage().build(), files, true)
		if err != nil {
			t.Fatal(err)
		}
		library, err := parseLibrary(now)
		if err != nil {
			t.Fatal(err)
		}
		out, u, err := l.Replace(0, library, updateBase)
		got := ""
		var refused *Error
		switch {
		case errors.As(err, &refused):
			got = refused.Reason
		case err != nil:
			t.Fatal(err)
		default:
			checkUpdate(t, l, out, u)
		}
		if got != c.reason {
			t.Errorf("got  %s\nwant %s", got, c.reason)
		}
	}
}

// TestReplaceKept has what is taken over, or not, without a word, of libraries as gcc makes them.
func TestReplaceKept(t *testing.T) {
	const common = `
		#define ONCE do { static int once = 7; x += once++; } while (0)
		__attribute__((weak)) int nowhere(int);
		int alias = 1, copy = 2, kept = 3;
		const int same[3] = {1}, named[2] = {2};
		static int one_of_a_file;
		int use(int x) { return one_of_a_file += x; }
		int weak(int x) { return nowhere ? nowhere(x) : x; }
	`
	old := common + `
		extern int other_name __attribute__((alias("alias")));
		int left = 4;
		static int becomes_constant[3] = {1};
		const int shrinks[3] = {1}, grows[3] = {2}, becomes_variable[3] = {3};
		int a(int x) { return becomes_constant[x]++; }
		int b(int x) { static int gone = 5; return gone += x; }
		int c(int x) { static int moves = 6; return moves += x; }
		int d(int x) { return x; }
		int e(int x) { ONCE; ONCE; ONCE; return x; }
		static inline int inlined(int x) { static int inside = 8; return inside *= x; }
		int f(int x) { return inlined(x); }
		int g(int x) { return inlined(x + 1); }
		const char *name1(void) { return __func__; }
		const char *name2(void) { return __func__; }
	`
	now := common + `
		static const int becomes_constant[3] = {1};
		const int shrinks[2] = {1}, grows[4] = {2};
		int becomes_variable[3] = {3};
		static inline int inlined(int x) { static int inside = 8; return inside *= x; }
		const char *name2(void) { return __func__; }
		const char *name1(void) { return __func__; }
		int g(int x) { return inlined(x - 1); }
		int a(int x) { return becomes_constant[x]; }
		int b(int x) { return x; }
		int d(int x) { static int moves = 6; return moves += x; }
		int c(int x) { return x; }
		int e(int x) { ONCE; x = d(x); ONCE; ONCE; return x; }
		int f(int x) { return inlined(x); }
	`
	one, two := unitC(t, 1), unitC(t, 2)
	a := buildLibrary(t, "libone.so", map[string]string{"lib.c": old}, one, two)
	b := buildLibrary(t, "libone.so", map[string]string{"lib.c": now}, two, one)
	l := linkProgram(t, "long kx_libraries[205];\nvoid kx_resolve(void) {}\nextern int copy, use(int);\nint main(void) { return use(copy); }", map[string][]byte{"libone.so": a}, true)
	library, err := parseLibrary(b)
	if err != nil {
		t.Fatal(err)
	}
	out, u, err := l.Replace(0, library, updateBase)
	if err != nil {
		t.Fatal(err)
	}
	checkUpdate(t, l, out, u)
	fa, sa := symbolsOf(t, a)
	fb, _ := symbolsOf(t, b)
	base := l.Libraries[0].Base
	got := map[string]int{}
	for _, m := range u.Moves {
		if m.Kind == UpdateCode || m.Kind == UpdateGone {
			continue
		}
		i := slices.IndexFunc(sa, func(s named) bool { return s.Value == m.From-base && s.Name != "other_name" })
		name, _, _ := strings.Cut(sa[i].Name, ".")
		if m.Kind == UpdateData {
			if x, y := firstBytes(t, fa, m.From-base, m.Size), firstBytes(t, fb, m.To-updateBase, m.Size); !bytes.Equal(x, y) {
				t.Errorf("%s begins as %x, and then as %x", name, x, y)
			}
		}
		got[fmt.Sprintf("%s %d %d", name, m.Kind, m.Size)]++
	}
	want := map[string]int{
		"alias 3 4": 1, "copy 2 4": 1, "kept 3 4": 1, "same 2 12": 1, "named 2 8": 1, "one_of_a_file 3 4": 1, "grows 2 12": 1, "becomes_variable 2 12": 1,
		"once 3 4": 3, "inside 3 4": 1, "state 3 4": 2, "__func__ 2 6": 2,
	}
	if !maps.Equal(got, want) {
		t.Errorf("moves %v,\nwant %v", got, want)
	}
	lost := []string{"static variable becomes_constant of lib.c", "static variable gone of b() in lib.c", "static variable moves of c() in lib.c", "variable left"}
	if slices.Sort(u.Lost); !slices.Equal(u.Lost, lost) {
		t.Errorf("lost %q, want %q", u.Lost, lost)
	}
}

// TestReplaceFilesOfOneName: units whose files have the same name are told apart by their paths, and if those are others not at all.
func TestReplaceFilesOfOneName(t *testing.T) {
	a := buildLibrary(t, "libone.so", nil, unitC(t, 1), unitC(t, 2))
	l := linkProgram(t, "long kx_libraries[205];\nvoid kx_resolve(void) {}\nint unit1(int);\nint main(void) { return unit1(1); }", map[string][]byte{"libone.so": a}, true)
	library, err := parseLibrary(buildLibrary(t, "libone.so", nil, unitC(t, 1), unitC(t, 2)))
	if err != nil {
		t.Fatal(err)
	}
	const want = "libone.so: static variable state of unit.c: there are 2 in the old library and 2 in the new one, which cannot be told apart: compile both libraries by the same paths of their sources"
	if _, _, err := l.Replace(0, library, updateBase); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// unitC is one of several source files of one name.
func unitC(t *testing.T, n int) string {
	path := filepath.Join(t.TempDir(), "unit.c")
	if err := os.WriteFile(path, fmt.Appendf(nil, "static int state = %[1]d; int unit%[1]d(int x) { return state += x; }", n), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// checkReplaced links and replaces whatever the files are: an *Error, or what the types promise.
func checkReplaced(t testing.TB, old, now []byte) {
	files := dynFiles()
	files["libone.so"] = old
	l, err := linkAll(dynImage().build(), files, true)
	if err != nil {
		return
	}
	library, err := parseLibrary(now)
	if err != nil {
		return
	}
	out, u, err := l.Replace(0, library, updateBase)
	if err == nil {
		checkUpdate(t, l, out, u)
		return
	}
	var refused *Error
	if !errors.As(err, &refused) || refused.Reason == "" || strings.ContainsAny(refused.Reason, "\n\x1b") {
		t.Fatalf("error %q is no *Error of one line", err)
	}
}

// TestReplaceMutated changes every byte of what a library has beside its segments, as the old one and as the new one: no panic, and what is taken keeps the promises.
func TestReplaceMutated(t *testing.T) {
	good := replacedLibrary(nil)
	for i := range good {
		if i >= headerSize && i < dynBSS {
			continue // of TestLibraryMutated
		}
		for _, v := range []byte{0, 0xff, good[i] + 1, good[i] ^ 0x10} {
			bad := bytes.Clone(good)
			bad[i] = v
			checkReplaced(t, bad, good)
			checkReplaced(t, good, bad)
		}
	}
	for n := 0; n < len(good); n += 8 {
		checkReplaced(t, good, good[:n])
	}
}

func FuzzReplace(f *testing.F) {
	good := replacedLibrary(nil)
	f.Add(good, good)
	f.Add(good, replacedLibrary(func(_ *dynSpec, table *[]dynSymbol) { // in another order, and something new
		slices.Reverse((*table)[1:6])
		*table = append(*table, dynSymbol{"more", symbolObject, 1, tabData, dynBSS + 0x400, 8})
	}))
	f.Add(good, withTable(dynOther().build(), nil))
	f.Fuzz(func(t *testing.T, old, now []byte) { checkReplaced(t, old, now) })
}

// TestReplaceBorders: a function that begins in another one, and what begins where something ends.
func TestReplaceBorders(t *testing.T) {
	with := func(more ...dynSymbol) []byte {
		return replacedLibrary(func(s *dynSpec, table *[]dynSymbol) {
			*table = append(*table, more...)
			s.patch = func(b []byte) []byte {
				b[dynConst+16] = 'x' // behind text, and a word that is zero is behind constant
				return b
			}
		})
	}
	v := func(name string, at, size uint64) dynSymbol {
		return dynSymbol{name, symbolObject, 1, tabData, dynBSS + 0x400 + at, size}
	}
	middle := func(at uint64) dynSymbol { return dynSymbol{"middle", symbolFunc, 1, tabText, dynText + at, 4} }
	files := dynFiles()
	files["libone.so"] = with(middle(0x18), v("v", 0, 8), v("left", 8, 8), v("w", 0x20, 8), v("x", 0x28, 8), v("empty", 0x30, 0))
	l, err := linkAll(dynImage().build(), files, true)
	if err != nil {
		t.Fatal(err)
	}
	now, err := parseLibrary(with(middle(0x90), v("x", 0, 8), v("w", 0x20, 8), v("v", 0x30, 8)))
	if err != nil {
		t.Fatal(err)
	}
	out, u, err := l.Replace(0, now, updateBase)
	if err != nil {
		t.Fatal(err)
	}
	checkUpdate(t, l, out, u)
	const base = dynBase + PageSize
	for _, want := range []Move{
		{dynText + 0x10, dynText + 0x10, 8, UpdateCode},
		{dynText + 0x18, dynText + 0x90, 4, UpdateCode},
		{dynConst, dynConst, 16, UpdateConst},
		{dynConst + 16, 0, 0, UpdateGone},
		{dynBSS + 0x400, dynBSS + 0x430, 8, UpdateData},
		{dynBSS + 0x408, 0, 0, UpdateGone},
		{dynBSS + 0x420, dynBSS + 0x420, 8, UpdateData},
		{dynBSS + 0x428, dynBSS + 0x400, 8, UpdateData},
	} {
		if want.From += base; want.Kind != UpdateGone {
			want.To += updateBase
		}
		if !slices.Contains(u.Moves, want) {
			t.Errorf("no move %+v", want)
		}
	}
	gone := 0
	for _, m := range u.Moves {
		if m.Kind == UpdateGone {
			gone++
		}
	}
	if gone != 2 || !slices.Equal(u.Lost, []string{"variable left"}) {
		t.Errorf("%d times gone, lost %q: %+v", gone, u.Lost, u.Moves)
	}
}
