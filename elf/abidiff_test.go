package elf

import (
	"bytes"
	stddwarf "debug/dwarf"
	stdelf "debug/elf"
	"errors"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A library, and what becomes of it.
const abiC = `
#include <stdarg.h>
typedef unsigned long size;
struct item;
enum colour { RED, GREEN = 5, DEBT = -3 };
struct point { int x, y; };
union word { int i; float f; };
typedef struct list { struct list *next; struct point at; unsigned a : 3, b : 5; char name[16]; union word w; int (*call)(struct point *, long); enum colour c; } list;
struct other;
int table[10] = { 1 };
list head;
const char *greeting = "hello";
static int calls;
static const int primes[] = { 2, 3, 5 };
extern double late[];
double late[4] = { 1.5 };
int add(int a, int b) { static long long sum; calls++; return sum += a + b + primes[a % 3]; }
size measure(const list *l, size n) { return l ? n + l->at.x : 0; }
void forget(struct other *o) { (void)o; calls--; }
int print(const char *format, ...) { va_list v; va_start(v, format); int n = va_arg(v, int); va_end(v); return n; }
struct point *origin(void) { return &head.at; }
__attribute__((visibility("hidden"))) int secret(void) { return calls; }
static inline int twice(int n) { static int seen; return seen += 2 * n; }
int use(int n) { return twice(n) + twice(n + 1); }
`

func library(t testing.TB, source string, flags ...string) []byte {
	t.Helper()
	tt := t.(*testing.T)
	return readFile(tt, gcc(tt, map[string]string{"lib.c": source}, append([]string{"-shared", "-fPIC", "-nostdlib", "-g", "-O1", "-Wl,-soname,lib.so"}, flags...)...))
}

func readABI(b []byte) (*ABI, error) { return ReadABI(bytes.NewReader(b), int64(len(b))) }

func compareABI(t *testing.T, a, b []byte) *Changes {
	t.Helper()
	old, err := readABI(a)
	if err != nil {
		t.Fatal(err)
	}
	now, err := readABI(b)
	if err != nil {
		t.Fatal(err)
	}
	c, err := CompareABI(old, now, false)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestABISame(t *testing.T) {
	old := library(t, abiC)
	for _, flags := range [][]string{{}, {"-O0"}, {"-O2"}, {"-gdwarf-2"}, {"-gdwarf-3"}, {"-gdwarf-4"}, {"-gdwarf-5", "-O2"}, {"-gdwarf-2", "-gstrict-dwarf"}} {
		c := compareABI(t, old, library(t, abiC, flags...))
		if len(c.Reasons) != 0 || c.Functions != 6 || c.Variables != 4 || c.Added != 0 || !c.Typed {
			t.Errorf("%v: %+v", flags, c)
		}
		if back := compareABI(t, library(t, abiC, flags...), old); len(back.Reasons) != 0 {
			t.Errorf("%v, the other way: %+v", flags, back)
		}
	}
}

// TestABIDiff makes changes, some at a time because gcc takes its time, and wants the reasons for each.
func TestABIDiff(t *testing.T) {
	old := library(t, abiC)
	type change struct{ from, to, reason string }
	for _, changes := range [][]change{
		{ // what is allowed
			{"int use(", "int fresh(void) { return 1; } int more = 3; __thread int mine; int use(", ""},
			{"GREEN = 5,", "GREEN = 5, BLUE,", ""},
			{"static int calls;", "static int calls, moves; int move(void) { return moves++; }", ""},
			{"primes[] = { 2,", "primes[] = { 1, 2,", ""},
			{"const list *l, size n", "list *l, unsigned long n", ""},
			{"sum += a", "sum -= a", ""},
			{"int add(int a, int b)", "int add(const int a, volatile int b)", ""},
			{"struct other;", "struct other { int now_known; };", ""},
			{"{ static int seen; return seen +=", "{ int seen = 1; return seen +=", ""},
		},
		{
			{"int use(int n) {", "static int use(int n) {", "function use is removed"},
			{"int table[10]", "int table[11]", "variable table has 44 bytes, had 40"},
			{"const char *greeting", "const int *greeting", "variable greeting: const int, was const char"},
			{"int add(int a, int b)", "long add(int a, int b)", "function add: result: long int, was int"},
			{"GREEN = 5,", "GREEN = 6,", "enum colour: GREEN is 6, was 5"},
			{"static int calls;", "static long calls;", "static calls of lib.c: long int, was int"},
		},
		{
			{"int table[10] = { 1 };", "int table(void) { return 1; }", "table is a function, was a variable"},
			{"double late[4] = { 1.5 };", "double late[5] = { 1.5 };", "variable late has 40 bytes, had 32"},
			{"int add(int a, int b)", "int add(int a, unsigned b)", "function add: argument 2: unsigned int, was int"},
			{"print(const char *format, ...) {", "print(const char *format) { struct { char *l; } x; }\nint unused(const char *format, ...) {", "function print: takes other arguments behind the last"},
			{"DEBT = -3", "DEBT = -4", "enum colour: DEBT is -4, was -3"},
			{"static int seen;", "static unsigned seen;", "static seen of twice() in lib.c: unsigned int, was int"},
		},
		{
			{"int table[10] = { 1 };", "float table[10] = { 1 };", "variable table: float, was int"},
			{"int add(int a, int b) {", "int add(int a, int b, int c) {", "function add: takes 3 arguments, took 2"},
			{"void forget(struct other *o) { (void)o;", "int forget(struct other *o) { (void)o; return", "function forget: result: int, was void"},
			{"RED, ", "", "enum colour: RED is removed"},
			{"static long long sum;", "static short sum;", "static sum of add() in lib.c: short int, was long long int"},
		},
		{
			{"int table[10] = { 1 };", "int table[5][2] = { 1 };", "variable table: int[5][2], was int[10]"},
			{"void forget(struct other *o)", "void forget(struct another *o)", "function forget: argument 1: struct another, was struct other"},
			{"GREEN = 5,", "GREEN = 5, HUGE = 1L << 40,", "enum colour has 8 bytes, had 4"},
		},
		{{"struct point { int x, y; }", "struct point { int y, x; }", "variable head: struct list: field at: struct point: field 1 is y, was x (and 2 others)"}},
		{{"struct point { int x, y; }", "struct point { int x; }", "struct point: field y is removed"}},
		{{"struct point { int x, y; }", "struct point { int x, y, z; }", "struct point: field z is added"}},
		{{"struct point { int x, y; }", "struct point { int x; float y; }", "struct point: field y: float, was int"}},
		{{"struct point { int x, y; };", "struct point { int x, y; } __attribute__((aligned(16)));", "function origin: result: struct point has 16 bytes, had 8"}},
		{{"struct point { int x, y; };", "struct point { int x, y; } __attribute__((aligned(8)));", "struct point is aligned otherwise"}},
		{{"struct point { int x, y; }", "struct point { int x; int y __attribute__((aligned(8))); }", "struct point: field y is at byte 8, was at byte 4"}},
		{{"unsigned a : 3, b : 5;", "unsigned a : 4, b : 4;", "struct list: field a is at bits 128 to 131, was at bits 128 to 130"}},
		{{"union word { int i; float f; }", "union word { int i; }", "union word: field f is removed"}},
		{{"int (*call)(struct point *, long)", "int (*call)(struct point *, int)", "field call: function pointer: argument 2: int, was long int"}},
		{{"char name[16]", "char name[2][8]", "struct list: field name: char[2][8], was char[16]"}},
		{{"struct list *next;", "struct point *next;", "struct list: field next: struct point, was struct list"}},
	} {
		changed := abiC
		for _, c := range changes {
			if !strings.Contains(changed, c.from) {
				t.Fatalf("no %q in the library", c.from)
			}
			changed = strings.ReplaceAll(changed, c.from, c.to)
		}
		got := compareABI(t, old, library(t, changed, "-w", "-Wno-implicit-function-declaration"))
		text := strings.Join(got.Reasons, "\n")
		for _, c := range changes {
			if c.reason == "" && text != "" || !strings.Contains(text, c.reason) {
				t.Errorf("%s\n  to %s:\n got %q\nwant %q", c.from, c.to, text, c.reason)
			}
		}
	}
}

// TestABIOther has what is not in the C text.
func TestABIOther(t *testing.T) {
	old := library(t, abiC)
	want := func(what, reason string, a, b []byte) {
		t.Helper()
		if got := strings.Join(compareABI(t, a, b).Reasons, "\n"); got != reason {
			t.Errorf("%s:\n got %q\nwant %q", what, got, reason)
		}
	}
	want("soname", `soname "lib.so.2", was "lib.so"`, old, library(t, abiC, "-Wl,-soname,lib.so.2"))
	want("without -g", "types cannot be compared: the new library has no debug information: build it with -g", old, library(t, abiC, "-g0"))
	want("the old one without -g", "types cannot be compared: the old library has no debug information: build it with -g", library(t, abiC, "-g0"), old)
	a, err := readABI(old)
	if err != nil {
		t.Fatal(err)
	}
	b, err := readABI(library(t, abiC, "-g0"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := CompareABI(a, b, true); err != nil || len(c.Reasons) != 0 || c.Typed || c.Functions != 6 {
		t.Errorf("symbols only: %+v, %v", c, err)
	}

	key, _ := testKey(1)
	signed := func(name string, version uint64) []byte {
		return sign(t, old, Record{Name: name, Version: version, Loader: LoaderAny}, key)
	}
	want("newer", "", signed("lib", 2), signed("lib", 3))
	want("first record", "", old, signed("lib", 3))
	want("older", "version 2, was 3", signed("lib", 3), signed("lib", 2))
	want("another", "signed as web, was lib", signed("lib", 3), signed("web", 4))
	strict := sign(t, old, Record{Name: "lib", Version: 3, Loader: LoaderApp}, key)
	want("laxer", "loader any, was app", strict, signed("lib", 3))
	want("stricter", "", signed("lib", 3), strict)
	want("no record", "no restriction record, had one: sign it", signed("lib", 3), old)

	thread := library(t, abiC+"__thread int mine = 1;\nint target(void) { return 1; }\nvoid *choose(void) { return target; }\nint chosen(void) __attribute__((ifunc(\"choose\")));\n")
	want("TLS, IFUNC", "indirect function chosen: it cannot be replaced\nthread-local variable mine: it cannot be replaced", thread, thread)

	zipped := zippedABI(t)
	zip := zipped(func([]byte) {})
	if c := compareABI(t, old, zip); len(c.Reasons) != 0 || !c.Typed {
		t.Errorf("compressed: %+v", c)
	}
	want("compressed, another type", "function add: argument 2: long int, was int", zip,
		library(t, strings.Replace(abiC, "add(int a, int b)", "add(int a, long b)", 1), "-gz=zlib"))

	for _, c := range []struct {
		name, reason string
		data         []byte
	}{
		{"image", "not a shared library", readFile(t, buildImage(t))},
		{"versions", "symbols with versions, which are not compared: link it without a version script", func() []byte {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "v.map"), []byte("V1 { global: *; };\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			return library(t, abiC, "-Wl,--version-script="+filepath.Join(dir, "v.map"))
		}()},
		{"compressed as GNU once did", "debug information compressed as GNU once did: build it with -gz=zlib or -gz=none", library(t, abiC, "-gz=zlib-gnu")},
		{"zstd", "debug information compressed by another way than zlib (2): build it with -gz=zlib or -gz=none", zipped(func(h []byte) { h[0] = 2 })},
		{"huge", "more than 268435456 bytes of debug information", zipped(func(h []byte) { h[13] = 1 })},
		{"shorter", "damaged compressed debug information: more or less than the 1 bytes that it says", zipped(func(h []byte) { le.PutUint64(h[8:], 1) })},
		{"damaged", "damaged compressed debug information: zlib: invalid header", zipped(func(h []byte) { h[24] ^= 1 })},
		{"split", "split debug information: build it without -gsplit-dwarf", library(t, abiC, "-gsplit-dwarf")},
		{"type units", "debug information with type units: build it with -fno-debug-types-section", library(t, abiC, "-fdebug-types-section")},
		{"64-bit DWARF", "debug information in 64-bit DWARF: build it with -gdwarf32", library(t, abiC, "-gdwarf64")},
	} {
		if _, err := readABI(c.data); err == nil || err.Error() != c.reason {
			t.Errorf("%s: %v, want %q", c.name, err, c.reason)
		}
	}
	bare := bytes.Clone(old)
	le.PutUint64(bare[40:], 0)
	le.PutUint32(bare[60:], 0)
	if _, err := readABI(bare); err == nil || !strings.HasPrefix(err.Error(), "a shared library without section headers") {
		t.Errorf("without sections: %v", err)
	}
}

// zippedABI returns a function that changes the header and more of compressed debug information of a library.
func zippedABI(t *testing.T) func(change func(h []byte)) []byte {
	lib := library(t, abiC, "-gz=zlib")
	f, err := stdelf.NewFile(bytes.NewReader(lib))
	if err != nil {
		t.Fatal(err)
	}
	s := f.Section(".debug_info")
	if s.Flags&stdelf.SHF_COMPRESSED == 0 {
		t.Fatal("it is not compressed")
	}
	return func(change func(h []byte)) []byte {
		b := bytes.Clone(lib)
		change(b[s.Offset:])
		return b
	}
}

// TestABIAssembler has functions of assembler, of which the debug information knows little.
func TestABIAssembler(t *testing.T) {
	asm := ".globl fast\n.type fast, @function\nfast: mov $1, %eax\n ret\n.size fast, . - fast\n.section .note.GNU-stack, \"\", @progbits\n"
	build := func(asm string) []byte {
		return readFile(t, gcc(t, map[string]string{"a.S": asm, "lib.c": "int slow(void) { return 1; }"}, "-shared", "-fPIC", "-nostdlib", "-g"))
	}
	old := build(asm)
	if c := compareABI(t, old, build(strings.Replace(asm, "$1", "$2", 1))); len(c.Reasons) != 0 || c.Functions != 2 {
		t.Errorf("%+v", c)
	}
	c := compareABI(t, old, build(strings.ReplaceAll(asm, "fast", "faster")))
	if strings.Join(c.Reasons, "\n") != "function fast is removed" {
		t.Errorf("%+v", c)
	}
}

// TestABIStripped compares what strip leaves: no debug information, and the exports.
func TestABIStripped(t *testing.T) {
	path := gcc(t, map[string]string{"lib.c": abiC}, "-shared", "-fPIC", "-nostdlib", "-g", "-w")
	if out, err := exec.Command("strip", path).CombinedOutput(); err != nil {
		t.Fatalf("strip: %v\n%s", err, out)
	}
	a, err := readABI(readFile(t, path))
	if err != nil || a.debug != nil || len(a.exports) < 10 {
		t.Fatalf("%+v, %v", a, err)
	}
}

// TestDwarfLikeStandard reads the entries that Go's debug/dwarf reads, with the same names and types.
func TestDwarfLikeStandard(t *testing.T) {
	for _, flags := range [][]string{{"-gdwarf-2"}, {"-gdwarf-4", "-O2"}, {"-gdwarf-5"}, {"-gdwarf-5", "-O3"}} {
		b := library(t, abiC, flags...)
		a, err := readABI(b)
		if err != nil {
			t.Fatal(err)
		}
		f, err := stdelf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		std, err := f.DWARF()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for r := std.Reader(); ; {
			e, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if e == nil {
				break
			}
			if e.Tag == 0 || !keptTags[uint32(e.Tag)] {
				continue
			}
			n++
			d := a.debug.find(uint64(e.Offset))
			if d == nil || d.tag != uint32(e.Tag) {
				t.Fatalf("%v: no entry at %#x: %+v", flags, e.Offset, d)
			}
			name, _ := e.Val(stddwarf.AttrName).(string)
			typ, _ := e.Val(stddwarf.AttrType).(stddwarf.Offset)
			origin, ok := e.Val(stddwarf.AttrAbstractOrigin).(stddwarf.Offset)
			if !ok {
				origin, _ = e.Val(stddwarf.AttrSpecification).(stddwarf.Offset)
			}
			external, _ := e.Val(stddwarf.AttrExternal).(bool)
			if d.name != name || d.typ != uint64(typ) || d.origin != uint64(origin) || (d.flags&dieExternal != 0) != external {
				t.Errorf("%v: entry at %#x: %+v, want %v", flags, e.Offset, d, e)
			}
			if size, ok := e.Val(stddwarf.AttrByteSize).(int64); ok && d.tag != tagMember && d.size != uint64(size) {
				t.Errorf("%v: entry at %#x: %d bytes, want %d", flags, e.Offset, d.size, size)
			}
		}
		if n < 50 {
			t.Errorf("%v: only %d entries", flags, n)
		}
	}
}

// checkABI reads and compares any bytes: an *Error or an answer, soon.
func checkABI(t testing.TB, good *ABI, b []byte) {
	begin := time.Now()
	a, err := readABI(b)
	if err == nil {
		_, err = CompareABI(good, a, false)
	}
	if err == nil {
		_, err = CompareABI(a, good, false)
	}
	var refused *Error
	if err != nil && (!errors.As(err, &refused) || refused.Reason == "") {
		t.Fatalf("error %v is no *Error", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Fatalf("it took %v", took)
	}
}

// TestABIMutated changes bytes of the debug information, the dynamic symbols and the headers of a library.
func TestABIMutated(t *testing.T) {
	for _, flags := range [][]string{{"-gdwarf-4"}, {"-gdwarf-5", "-O2"}} {
		b := library(t, abiC, flags...)
		good, err := readABI(b)
		if err != nil {
			t.Fatal(err)
		}
		f, err := stdelf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		rnd := rand.New(rand.NewSource(1))
		for _, name := range []string{".debug_info", ".debug_abbrev", ".debug_str", ".dynsym", ".dynstr", ".dynamic"} {
			s := f.Section(name)
			for range 300 {
				bad := bytes.Clone(b)
				for range 1 + rnd.Intn(3) {
					at := s.Offset + uint64(rnd.Int63n(int64(s.Size)))
					bad[at] = []byte{0, 1, 0x7f, 0x80, 0xff, bad[at] + 1, bad[at] ^ 1<<rnd.Intn(8)}[rnd.Intn(7)]
				}
				checkABI(t, good, bad)
			}
		}
		for at := range headerSize {
			bad := bytes.Clone(b)
			bad[at] = 0xff
			checkABI(t, good, bad)
		}
	}
}

// TestDwarfBounds has small files that ask for much work.
func TestDwarfBounds(t *testing.T) {
	unit := func(body ...byte) []byte {
		b := le.AppendUint32(nil, uint32(len(body)+7))
		return append(append(b, 4, 0, 0, 0, 0, 0, 8), body...)
	}
	read := func(info, abbrev []byte) (*dwarf, error) {
		d := &dwarf{info: info, abbrev: abbrev, tables: map[uint64]map[uint64]*abbreviation{}, steps: dwarfSteps}
		return d, d.read()
	}
	want := func(what, reason string, info, abbrev []byte) {
		t.Helper()
		begin := time.Now()
		d, err := read(info, abbrev)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != reason {
			t.Errorf("%s: %q, want %q", what, got, reason)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%s: took %v", what, took)
		}
		_ = d
	}
	// One abbreviation, a pointer with children and no attributes; one without children.
	nest := []byte{1, tagPointer, 1, 0, 0, 2, tagPointer, 0, 0, 0, 0}
	want("nested", "debug information nested more than 256 deep", unit(bytes.Repeat([]byte{1}, 300)...), nest)
	want("not closed", "damaged debug information", unit(1, 1, 0), nest)
	want("unknown abbreviation", "damaged debug information", unit(9), nest)
	want("closed", "", unit(1, 1, 0, 0), nest)
	want("many entries", "debug information of more than 1048576 entries", unit(append([]byte{1}, bytes.Repeat([]byte{2}, dwarfDIEs+1)...)...), nest)
	want("cut", "damaged debug information", unit(1, 1, 0, 0)[:9], nest)
	want("abbreviations without end", "damaged debug information", unit(1), []byte{1, tagPointer})
	want("no abbreviations", "damaged debug information", unit(1), nil)
	want("version", "debug information of DWARF 9: 2 to 5 are read", []byte{7, 0, 0, 0, 9, 0, 0, 0, 0, 0, 8}, nest)
	want("address of 4 bytes", "damaged debug information", []byte{7, 0, 0, 0, 4, 0, 0, 0, 0, 0, 4}, nest)

	// An entry of one byte that has thousands of attributes without bytes, again and again.
	heavy := []byte{1, tagPointer, 0}
	for range 10000 {
		heavy = append(heavy, attrExternal, formPresent)
	}
	heavy = append(heavy, 0, 0, 0)
	want("heavy entries", "debug information that takes more than 16777216 steps to read", unit(bytes.Repeat([]byte{1}, 20000)...), heavy)
	// As many tables of abbreviations as units, each a tail of one long one.
	var long, units []byte
	for i := range 30000 {
		long = append(long, 1, tagPointer, 0, 0, 0)
		u := unit(1)
		le.PutUint32(u[6:], uint32(5*i))
		units = append(units, u...)
	}
	want("tails", "debug information that takes more than 16777216 steps to read", units, append(long, 0))
}

// TestTypesBounds has types that go in circles.
func TestTypesBounds(t *testing.T) {
	d := &dwarf{dies: []die{
		{off: 1, tag: tagTypedef, typ: 2, next: 1}, {off: 2, tag: tagTypedef, typ: 1, next: 2},
		{off: 3, tag: tagPointer, typ: 3, next: 3}, {off: 4, tag: tagVariable, origin: 4, next: 4},
	}}
	for i := range 300 {
		d.dies = append(d.dies, die{off: uint64(10 + i), tag: tagPointer, typ: uint64(11 + i), next: int32(5 + i)})
	}
	diff := newTypeDiff(d, d)
	if _, err := diff.compare(1, 1, 0); err == nil || !strings.Contains(err.Error(), "a chain of more than 64 typedefs") {
		t.Errorf("typedefs in a circle: %v", err)
	}
	if d, err := diff.compare(3, 3, 0); d.text != "" || err != nil {
		t.Errorf("a pointer to itself: %q, %v", d, err)
	}
	if _, err := diff.compare(10, 10, 0); err == nil || err.Error() != "types nested more than 200 deep" {
		t.Errorf("deep: %v", err)
	}
	if _, err := diff.compare(99999, 1, 0); err != errDwarf {
		t.Errorf("no such type: %v", err)
	}
	if _, err := d.first(&d.dies[3]); err != errDwarf {
		t.Errorf("an instance of itself: %v", err)
	}
	if s := d.spell(3, spelledDepth); s != "… * * * * * *" {
		t.Errorf("spelled: %s", s)
	}
	// A difference at the end of a long way: the way is cut, and what is to blame is told.
	way := difference{text: "struct x: field y is removed"}.blamed()
	for range 1000 {
		way = way.of("struct %s: field z", strings.Repeat("n", dwarfString))
	}
	if len(way.text) > 2000 || !strings.HasSuffix(way.text, "…: struct x: field y is removed") {
		t.Errorf("a long way: %q", way.text)
	}
	diff.work = compareWork
	if _, err := diff.compare(3, 3, 0); err == nil || !strings.Contains(err.Error(), "types and fields to compare") {
		t.Errorf("much work: %v", err)
	}
}

func TestLEB(t *testing.T) {
	for _, c := range []struct {
		p    []byte
		u, s uint64
		bad  bool
	}{
		{[]byte{2}, 2, 2, false}, {[]byte{0x7f}, 127, ^uint64(0), false}, {[]byte{0xe5, 0x8e, 0x26}, 624485, 624485, false},
		{[]byte{0x80}, 0, 0, true}, {nil, 0, 0, true}, {bytes.Repeat([]byte{0x80}, 11), 0, 0, true},
	} {
		cu, cs := &cursor{c.p, 0, uint64(len(c.p)), false}, &cursor{c.p, 0, uint64(len(c.p)), false}
		if u, s := cu.uleb(), cs.sleb(); u != c.u || s != c.s || cu.bad != c.bad || cs.bad != c.bad {
			t.Errorf("% x: %d, %d, %v", c.p, u, int64(s), cu.bad)
		}
	}
}
