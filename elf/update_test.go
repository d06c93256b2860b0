package elf

import (
	"bytes"
	stdelf "debug/elf"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// updateC is a program with libraries: it has a copy of one of their variables, a pointer to another, and the address of a function.
const updateC = `
long kx_libraries[205];
void kx_resolve(void) {}
extern int copied, v2;
int f1(int), f2(int);
int (*held)(int) = f2;
int main(void) { return f1(copied) + held(1); }
`

// sharedFlags link a library as kxsh cc -shared does.
var sharedFlags = []string{"-shared", "-fPIC", "-fplt", "-nostdlib", "-fcf-protection=none", "-fno-stack-protector", "-Wl,-z,lazy", "-Wl,-z,norelro",
	"-Wl,-z,separate-code", "-Wl,-z,noexecstack", "-Wl,--hash-style=sysv", "-Wl,--build-id=none"}

func buildLibrary(t *testing.T, name string, sources map[string]string, flags ...string) []byte {
	return readFile(t, gcc(t, sources, slices.Concat(sharedFlags, []string{"-O2", "-g", "-Wl,-soname," + name}, flags)...))
}

// linkProgram builds an image with what is in libraries, and links it.
func linkProgram(t *testing.T, source string, libraries map[string][]byte, lazy bool) *Linked {
	t.Helper()
	dir := t.TempDir()
	flags := []string{"-O1", "-no-pie", "-nostdlib", "-fcf-protection=none", "-Wl,-z,noexecstack", "-Wl,-e,start", "-Wl,--no-dynamic-linker", "-Wl,-E", "-Wl,-z,lazy",
		"-Wl,-z,norelro", "-Wl,--hash-style=sysv", "-Wl,--allow-shlib-undefined", "-Wl,--no-as-needed"}
	for name, b := range libraries {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	names := sorted(libraries)
	for _, name := range names {
		flags = append(flags, "-Wl,"+filepath.Join(dir, name))
	}
	l, err := linkAll(readFile(t, gcc(t, map[string]string{"a.S": testAsm, "a.c": source}, flags...)), libraries, lazy)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// updateSources is a library in two files. Whatever the seed, it has the same functions and variables, in another order and with functions of
// other sizes; each variable has a first value of its own.
func updateSources(seed uint64, more string) map[string]string {
	rnd := rand.New(rand.NewPCG(seed, 1))
	files := map[string]string{}
	for f, name := range []string{"a.c", "b.c"} {
		var parts []string
		for i := f; i < 120; i += 2 {
			data := fmt.Sprintf("int v%[1]d = %[2]d;\nstatic int s%[1]d = %[3]d;\nstatic int same%[4]d = %[5]d;\n", i, 10000+i, 20000+i, i/2, 30000+i)
			if i%3 == 0 {
				data += fmt.Sprintf("int z%[1]d[%[2]d];\nstatic long y%[1]d;\n", i, 1+i%7)
			}
			if i%4 == 0 {
				data += fmt.Sprintf("int f%[1]d(int);\nint (*pf%[1]d)(int) = f%[1]d;\nstatic int (*qf%[1]d)(int) = f%[1]d;\nint *pv%[1]d = &v%[1]d;\n"+
					"static int *ps%[1]d = &s%[1]d + 1;\nconst char *pl%[1]d = \"literal %[1]d\";\nstatic const char *ql%[1]d = \"static literal %[1]d\";\n"+
					"const int c%[1]d[3] = {%[1]d};\nstatic const int d%[1]d[5] = {%[2]d};\nconst char *const names%[1]d[] = {\"one %[1]d\", \"two\"};\n", i, 40000+i)
			}
			var body strings.Builder
			for k := range rnd.IntN(20) {
				fmt.Fprintf(&body, "\tx = x * %d ^ (x >> %d);\n", 3+2*rnd.IntN(1000), 1+k%9)
			}
			if i%4 == 0 {
				fmt.Fprintf(&body, "\tx += qf%[1]d != pf%[1]d; ql%[1]d += x; ps%[1]d += *pv%[1]d; x += d%[1]d[x %% 5] + *pl%[1]d + *names%[1]d[x %% 2];\n", i)
			}
			if i%3 == 0 {
				fmt.Fprintf(&body, "\ty%[1]d += z%[1]d[0] += x;\n", i)
			}
			fn := fmt.Sprintf("__attribute__((noinline)) int f%[1]d(int x) {\n\tstatic int calls = %[2]d;\n%[3]s\tcalls += x;\n\tv%[1]d += s%[1]d++ + same%[4]d++;\n\treturn calls + v%[1]d;\n}\n"+
				"static int g%[1]d(int x) { static int calls = %[5]d; return calls += x; }\n__attribute__((noinline)) int h%[1]d(int x) { return g%[1]d(x) * %[6]d; }\n",
				i, 50000+i, body.String(), i/2, 60000+i, rnd.IntN(100)+3)
			parts = append(parts, data+fn)
		}
		rnd.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		files[name] = strings.Join(parts, "\n")
	}
	files["a.c"] += "int copied = 70001, more_of_it = 70002;\nint *to_copied = &copied;\n"
	files["b.c"] += more
	return files
}

var updateLibraries = map[string][]byte{}

// updateLibrary builds it, once. All but the first have something more.
func updateLibrary(t *testing.T, seed uint64, flags ...string) []byte {
	t.Helper()
	more := ""
	if seed > 1 {
		more = "int fresh = 1; static int late = 2; int s_of_two(void) __attribute__((weak));\n" +
			"int added(int x) { static int calls = 3; return fresh++ + late++ + (calls += x) + (s_of_two ? s_of_two() : 0); }\n"
	}
	key := fmt.Sprint(seed, flags)
	if updateLibraries[key] == nil {
		updateLibraries[key] = buildLibrary(t, "libone.so", updateSources(seed, more), flags...)
	}
	return updateLibraries[key]
}

// named is an independent reading of a symbol table.
type named struct {
	stdelf.Symbol
	unit string
}

func symbolsOf(t *testing.T, b []byte) (f *stdelf.File, list []named) {
	t.Helper()
	f, err := stdelf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	all, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	unit := ""
	for _, s := range all {
		if stdelf.ST_TYPE(s.Info) == stdelf.STT_FILE {
			unit = s.Name
		} else if s.Section > 0 && s.Section < stdelf.SHN_LORESERVE && s.Size > 0 {
			n := named{s, unit}
			if stdelf.ST_BIND(s.Info) != stdelf.STB_LOCAL {
				n.unit = ""
			}
			list = append(list, n)
		}
	}
	return f, list
}

// firstBytes is what a file has at an address.
func firstBytes(t *testing.T, f *stdelf.File, va, n uint64) []byte {
	t.Helper()
	p := make([]byte, n)
	for _, s := range f.Progs {
		if s.Type == stdelf.PT_LOAD && va >= s.Vaddr && va < s.Vaddr+s.Memsz {
			if va < s.Vaddr+s.Filesz {
				s.ReadAt(p[:min(n, s.Vaddr+s.Filesz-va)], int64(va-s.Vaddr))
			}
			return p
		}
	}
	t.Fatalf("nothing at %#x", va)
	return nil
}

const updateBase = dynBase + 0x1000000

// TestReplace replaces a library with hundreds of things by itself in another order, and compares each move with what the symbol tables say.
func TestReplace(t *testing.T) {
	a := updateLibrary(t, 1)
	l := linkProgram(t, updateC, map[string][]byte{"libone.so": a}, true)
	modules := slices.Clone(l.modules)
	for _, flags := range [][]string{{"-O2"}, {"-O3", "-gdwarf-2"}} {
		b := updateLibrary(t, 2, flags...)
		now, err := parseLibrary(b)
		if err != nil {
			t.Fatal(err)
		}
		out, u, err := l.Replace(0, now, updateBase)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(l.modules, modules) || l.Libraries[0].Base == updateBase {
			t.Error("what was linked has changed")
		}
		checkUpdate(t, l, out, u)
		checkMoves(t, u, a, b, l.Libraries[0].Base)

		// Back again: the same, the other way round.
		old, err := parseLibrary(a)
		if err != nil {
			t.Fatal(err)
		}
		again, back, err := out.Replace(0, old, l.Libraries[0].Base)
		if err != nil {
			t.Fatal(err)
		}
		checkUpdate(t, out, again, back)
		for _, m := range u.Moves {
			if r := back.move(m.To); m.Kind != UpdateGone && (r == nil || r.From != m.To || r.To != m.From || r.Kind == UpdateData && *r != (Move{m.To, m.From, m.Size, m.Kind})) {
				t.Errorf("back of %+v: %+v", m, r)
			}
		}
	}
}

// checkMoves compares moves with the two symbol tables, and first values.
func checkMoves(t *testing.T, u *Update, a, b []byte, base uint64) {
	t.Helper()
	fa, sa := symbolsOf(t, a)
	fb, sb := symbolsOf(t, b)
	stem := func(name string) string { s, _, _ := strings.Cut(name, "."); return s }
	at := func(list []named, va uint64) (found []named) {
		for _, s := range list {
			if s.Value == va {
				found = append(found, s)
			}
		}
		return found
	}
	moved := map[string]int{}
	for _, m := range u.Moves {
		if m.Kind == UpdateGone {
			continue
		}
		was, is := at(sa, m.From-base), at(sb, m.To-updateBase)
		same := slices.IndexFunc(was, func(x named) bool {
			return slices.ContainsFunc(is, func(y named) bool { return stem(x.Name) == stem(y.Name) && x.unit == y.unit && x.Info == y.Info })
		})
		if same < 0 {
			t.Errorf("%+v: from %v to %v", m, was, is)
			continue
		}
		s := was[same]
		section := fa.Sections[s.Section]
		kind := UpdateConst
		switch {
		case section.Flags&stdelf.SHF_EXECINSTR != 0:
			kind = UpdateCode
		case section.Flags&stdelf.SHF_WRITE != 0 && section.Name != ".data.rel.ro" && s.Name != "copied":
			kind = UpdateData
		}
		if m.Kind != kind || m.Size != s.Size {
			t.Errorf("%s: %+v, want kind %d and %d bytes", s.Name, m, kind, s.Size)
		}
		if kind == UpdateData && !strings.Contains(s.Name, "p") && !strings.HasPrefix(s.Name, "q") {
			if x, y := firstBytes(t, fa, s.Value, s.Size), firstBytes(t, fb, m.To-updateBase, s.Size); !bytes.Equal(x, y) {
				t.Errorf("%s of %s begins as %x, and then as %x", s.Name, s.unit, x, y)
			}
		}
		moved[fmt.Sprintf("%s %d", stem(s.Name), m.Kind)]++
	}
	for i := range 120 {
		want := []string{fmt.Sprintf("f%d 1", i), fmt.Sprintf("h%d 1", i), fmt.Sprintf("v%d 3", i), fmt.Sprintf("s%d 3", i)}
		if i%3 == 0 {
			want = append(want, fmt.Sprintf("z%d 3", i), fmt.Sprintf("y%d 3", i))
		}
		if i%4 == 0 {
			for _, name := range []string{"pf%d 3", "pv%d 3", "ps%d 3", "pl%d 3", "ql%d 3", "c%d 2", "d%d 2", "names%d 2"} {
				want = append(want, fmt.Sprintf(name, i))
			}
		}
		for _, w := range want {
			if moved[w] != 1 {
				t.Errorf("%d moves of %s", moved[w], w)
			}
		}
	}
	if moved["calls 3"] != 240 || moved["same0 3"] != 2 || moved["same59 3"] != 2 || moved["copied 2"] != 1 || moved["more_of_it 3"] != 1 || moved["to_copied 3"] != 1 {
		t.Errorf("moves: %v", moved)
	}
	// Every pointer to a literal has its text in both.
	texts := map[string]bool{}
	for _, w := range u.Literals {
		m := u.move(w.VA)
		if m == nil || m.From != w.VA || m.Kind != UpdateData {
			t.Fatalf("literal %+v is in no variable: %+v", w, m)
		}
		text, _, _ := strings.Cut(string(firstBytes(t, fa, w.Value-base, 30)), "\x00")
		for _, p := range u.Pages {
			if off := m.To - p.VA; m.To >= p.VA && off < PageSize {
				now, _, _ := strings.Cut(string(firstBytes(t, fb, le.Uint64(p.Bytes[off:])-updateBase, 30)), "\x00")
				if now != text {
					t.Errorf("literal %q becomes %q", text, now)
				}
				texts[text] = true
			}
		}
	}
	if len(texts) != 60 || len(u.Literals) != 60 {
		t.Errorf("%d literals: %v", len(texts), texts)
	}
}

// checkUpdate holds what the types promise of any update.
func checkUpdate(t testing.TB, l, out *Linked, u *Update) {
	t.Helper()
	i := slices.IndexFunc(l.Libraries, func(p Placed) bool { return p.Base == u.Old.VA })
	was, is := l.Libraries[i], out.Libraries[i]
	allows := func(p *Placed, va, n uint64, prot Prot) bool {
		return va >= p.Base && in(p.Segments, va-p.Base, n, prot)
	}
	if u.Old != (Span{was.Base, was.Base + was.Pages()*PageSize}) || u.New != (Span{is.Base, is.Base + is.Pages()*PageSize}) || was.Name != is.Name {
		t.Fatalf("%+v, %+v", u.Old, u.New)
	}
	at := u.Old.VA
	for _, p := range u.Parts {
		if p.VA < at || p.End <= p.VA || p.VA%PageSize != 0 || p.End%PageSize != 0 || p.End > u.Old.End || p.Kind < UpdateCode || p.Kind > UpdateData {
			t.Fatalf("part %+v", p)
		}
		at = p.End
	}
	pages := map[uint64][]byte{}
	last := uint64(0)
	for _, p := range u.Pages {
		if p.VA%PageSize != 0 || p.VA <= last || p.Bytes != nil && len(p.Bytes) != PageSize || p.VA < u.New.VA || p.VA >= u.New.End {
			t.Fatalf("page %#x, %d bytes", p.VA, len(p.Bytes))
		}
		pages[p.VA], last = p.Bytes, p.VA
	}
	end := uint64(0)
	for _, m := range u.Moves {
		if m.Kind == UpdateGone {
			if m != (Move{From: end}) || end == 0 {
				t.Fatalf("move %+v, after %#x", m, end)
			}
			continue
		}
		prot := map[uint32]Prot{UpdateCode: Exec, UpdateConst: Read, UpdateData: Write}[m.Kind]
		if m.From < end || prot == 0 || !allows(&was, m.From, m.Size, prot) || !allows(&is, m.To, m.Size, prot) && m.Kind != UpdateCode || !allows(&is, m.To, 0, prot) {
			t.Fatalf("move %+v, after %#x", m, end)
		}
		end = m.From + m.Size
		if m.Kind == UpdateData {
			for va := m.To &^ (PageSize - 1); va < m.To+m.Size; va += PageSize {
				if _, ok := pages[va]; !ok {
					t.Fatalf("move %+v to no page", m)
				}
			}
		}
	}
	end = 0
	for _, w := range u.Literals {
		m := u.move(w.VA)
		if w.VA < end || m == nil || m.Kind != UpdateData || w.VA+8 > m.From+m.Size || !u.Old.has(w.Value) || u.move(w.Value) != nil {
			t.Fatalf("literal %+v in %+v", w, m)
		}
		end = w.VA + 8
	}
	if len(u.Words) != tableItem/8 {
		t.Fatalf("%d words", len(u.Words))
	}
	item := l.modules[1+i].item
	for k, want := range out.itemWords(1 + i) {
		if u.Words[k] != (Word{item + 8*uint64(k), want}) {
			t.Fatalf("word %d: %+v", k, u.Words[k])
		}
	}
	// What others have is where it was, or is the same in the new library.
	for k := range l.modules {
		for n := range l.modules[k].slots {
			if k == 1+i {
				continue
			}
			a, name, err := l.call(k, n)
			b, _, err2 := out.call(k, n)
			if err != nil || err2 != nil || u.Old.has(a) != u.New.has(b) || !u.Old.has(a) && a != b && a != 0 {
				t.Fatalf("call of %s: %#x, %v, and then %#x, %v", name, a, err, b, err2)
			}
			if mv := u.move(a); u.Old.has(a) && mv != nil && (mv.From != a || mv.To != b) {
				t.Fatalf("call of %s: %#x, and then %#x: %+v", name, a, b, mv)
			}
		}
	}
}
