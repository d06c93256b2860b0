package elf

import (
	"fmt"
	"slices"
	"testing"
)

// memory is what a program has in its writable pages, by the addresses of its words.
type memory map[uint64]uint64

func load(contents []Content) memory {
	m := memory{}
	for _, c := range contents {
		for i, b := range c.Bytes {
			va := c.VA + uint64(i)
			m[va&^7] |= uint64(b) << (8 * (va & 7))
		}
	}
	return m
}

func (m memory) bytes(va, n uint64) (p []byte) {
	for i := range n {
		p = append(p, byte(m[(va+i)&^7]>>(8*((va+i)&7))))
	}
	return p
}

func (m memory) setByte(va uint64, b byte) {
	shift := 8 * (va & 7)
	m[va&^7] = m[va&^7]&^(0xff<<shift) | uint64(b)<<shift
}

// carryOut does with a program's memory what guest/include/kx_abi.h says of struct kx_update.
func (u *Update) carryOut(t *testing.T, m memory) memory {
	t.Helper()
	pinned := 0
	translate := func(value uint64) uint64 {
		if !u.Old.has(value) {
			return value
		}
		kind := uint32(0)
		for _, p := range u.Parts {
			if value >= p.VA && value < p.End {
				kind = p.Kind
			}
		}
		mv := u.move(value)
		switch {
		case kind == UpdateCode && (mv == nil || mv.From != value):
			t.Errorf("%#x of the old library is a return address", value)
		case mv != nil:
			return mv.To + value - mv.From
		case kind == UpdateConst:
			pinned++
		default:
			t.Errorf("%#x of the old library has no counterpart", value)
		}
		return value
	}
	after := memory{}
	for va, value := range m {
		if !u.Old.has(va) {
			after[va] = translate(value)
		}
	}
	for _, p := range u.Pages {
		for i := uint64(0); i+8 <= uint64(len(p.Bytes)); i += 8 {
			after[p.VA+i] = le.Uint64(p.Bytes[i:])
		}
	}
	first := memory{}
	for va, value := range after {
		first[va] = value
	}
	for _, mv := range u.Moves {
		if mv.Kind != UpdateData {
			continue
		}
		for i, b := range m.bytes(mv.From, mv.Size) {
			after.setByte(mv.To+uint64(i), b)
		}
		for va := mv.To; va+8 <= mv.To+mv.Size; va += 8 {
			if va%8 != 0 {
				break
			}
			from := mv.From + va - mv.To
			literal := slices.Index(u.Literals, Word{from, m[from]})
			if literal >= 0 {
				after[va] = first[va]
			} else {
				after[va] = translate(after[va])
			}
		}
	}
	for _, w := range u.Words {
		after[w.VA] = w.Value
	}
	if pinned > 0 {
		t.Logf("%d words are pinned", pinned)
	}
	return after
}

// TestReplaceCarriedOut carries a replacement out in memory as it is at the start, and wants what the new library would have had from the start: all first
// values are the same, so every pointer of every module has to be.
func TestReplaceCarriedOut(t *testing.T) {
	const image = `
		long kx_libraries[205];
		void kx_resolve(void) {}
		extern int copied, v2, v4, s_of_two(void), f1(int), f2(int), f8(int), g_of_three(void);
		extern const int c4[3];
		extern int z3[];
		int (*held)(int) = f2, (*table[])(int) = {f1, f8};
		const int *inside = &c4[2], *end = c4 + 3;
		int *of_library = &v2, *middle;
		int main(void) { middle = z3; return f1(copied) + held(1) + s_of_two() + v4 + g_of_three(); }`
	const two = `
		extern int v1, v8, copied, f1(int), f5(int), z6[];
		int *a = &v1, *b = &v8, *c = &z6[1], *d = &copied;
		int (*e)(int) = f1;
		static int (*const k)(int) = f5;
		int s_of_two(void) { return v1 + f1(copied) + f5(v8) + e(*a) + k(*b) + *c + *d; }`
	const three = `
		extern int v1, *a, s_of_two(void), f7(int);
		int g_of_three(void) { return f7(*a) + s_of_two() + v1; }`
	stub := func(name, source string) []byte {
		return buildLibrary(t, name, map[string]string{name + ".c": source}, "-Wl,--allow-shlib-undefined")
	}
	a, b := updateLibrary(t, 1), updateLibrary(t, 2, "-O2")
	libraries := map[string][]byte{"libone.so": a, "libtwo.so": stub("libtwo.so", two), "libthree.so": stub("libthree.so", three)}
	for _, lazy := range []bool{false, true} {
		l := linkProgram(t, image, libraries, lazy)
		i := slices.IndexFunc(l.Libraries, func(p Placed) bool { return p.Name == "libone.so" })
		now, err := parseLibrary(b)
		if err != nil {
			t.Fatal(err)
		}
		out, u, err := l.Replace(i, now, updateBase)
		if err != nil {
			t.Fatal(err)
		}
		checkUpdate(t, l, out, u)
		if len(u.Lost) > 0 {
			t.Errorf("lost: %q", u.Lost)
		}
		want, err := Relink(imageOf(l), out.Libraries, lazy)
		if err != nil {
			t.Fatal(err)
		}
		got := u.carryOut(t, load(l.Content))
		differ := 0
		for va, value := range load(want.Content) {
			if got[va] != value {
				name, _ := out.Name(value)
				if differ++; differ < 20 {
					t.Errorf("lazy %v: %#x: %#x, want %#x %s", lazy, va, got[va], value, name)
				}
			}
			delete(got, va)
		}
		for va, value := range got {
			if value != 0 {
				t.Errorf("lazy %v: %#x: %#x, want nothing", lazy, va, value)
			}
		}
		if differ > 0 {
			t.Error(fmt.Sprint(differ, " words differ"))
		}
	}
}

// imageOf is the image of what is linked.
func imageOf(l *Linked) *Image { return &Image{Dynamic: l.modules[0].Dynamic} }
