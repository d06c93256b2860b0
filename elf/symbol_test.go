package elf

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func symbols(t testing.TB, s *imageSpec) *SymTab {
	b := s.build()
	tab, err := Symbols(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// TestLookup looks up the borders of all kinds of symbols in the synthetic image.
func TestLookup(t *testing.T) {
	s := validSpec()
	s.symbols = slices.Concat(s.symbols,
		symbol(12, symbolNone, 0, secText, 0x400110, 0),      // a label inside start: start wins
		symbol(1, symbolFunc, 1, secBss, 0x403420, 8),        // not code
		symbol(1, symbolFunc, 1, 0, 0x400140, 8),             // undefined
		symbol(1, symbolFunc, 1, 0xfff1, 0x400140, 8),        // absolute
		symbol(1, 1, 1, secText, 0x400140, 8),                // an object
		symbol(0, symbolFunc, 1, secText, 0x400140, 8),       // no name
		symbol(9999, symbolFunc, 1, secText, 0x400140, 8),    // name outside the strings
		symbol(1, symbolFunc, 1, secText, 0x400300, 8),       // outside its section
		symbol(7, symbolFunc, 1, secText, 0x4002f0, 1<<64-1), // reaches around
		make([]byte, symbolSize-1))                           // half a symbol
	tab := symbols(t, s)
	for _, c := range []struct {
		addr uint64
		name string
		off  uint64
	}{
		{0x4000ff, "", 0},
		{0x400100, "start", 0},
		{0x400110, "start", 0x10},
		{0x40013f, "start", 0x3f},
		{0x400140, "", 0},
		{0x40017f, "", 0},
		{0x400180, "label", 0},
		{0x4001ff, "label", 0x7f},
		{0x400200, "main", 0}, // global before the local alias
		{0x40023f, "main", 0x3f},
		{0x400240, "", 0},
		{0x400280, "evil?[2J", 0},
		{0x4002f0, "main", 0},
		{0x4002ff, "main", 0xf},
		{0x400300, "", 0},
		{0, "", 0},
		{1<<64 - 1, "", 0},
	} {
		name, off, ok := tab.Lookup(c.addr)
		if name != c.name || off != c.off || ok != (c.name != "") {
			t.Errorf("%#x: %q+%#x, %v; want %q+%#x", c.addr, name, off, ok, c.name, c.off)
		}
	}
}

func TestNoSymbols(t *testing.T) {
	var zero SymTab
	stripped := validSpec()
	stripped.patch = func(b []byte) []byte {
		le.PutUint64(b[40:], 0)
		le.PutUint16(b[60:], 0)
		return b
	}
	empty := validSpec()
	empty.symbols = nil
	for what, tab := range map[string]*SymTab{"zero": &zero, "stripped": symbols(t, stripped), "empty": symbols(t, empty)} {
		if name, off, ok := tab.Lookup(0x400100); ok || name != "" || off != 0 {
			t.Errorf("%s: finds %q", what, name)
		}
	}
}

func TestDamagedSymbols(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(b []byte)
		reason string
	}{
		"link":        {func(b []byte) { le.PutUint32(section0(b, secSymtab)[40:], 77) }, "damaged symbol table: its strings are in section 77, which has none"},
		"link to bss": {func(b []byte) { le.PutUint32(section0(b, secSymtab)[40:], secBss) }, "damaged symbol table: its strings are in section 2, which has none"},
		"off":         {func(b []byte) { le.PutUint64(section0(b, secSymtab)[24:], 1<<63) }, "truncated: section 3 has 144 bytes at byte 9223372036854775808 of 1560"},
	} {
		b := validSpec().build()
		c.damage(b)
		if _, err := Symbols(bytes.NewReader(b), int64(len(b))); err == nil || err.Error() != c.reason {
			t.Errorf("%s: %v, want %q", name, err, c.reason)
		}
	}
}

// TestLongName holds that no name floods a report.
func TestLongName(t *testing.T) {
	s := validSpec()
	s.strings = "\x00" + strings.Repeat("a", 1<<16) // and no NUL at its end
	name, _, ok := symbols(t, s).Lookup(0x400100)
	if !ok || len(name) != maxName {
		t.Errorf("a name of %d bytes, %v", len(name), ok)
	}
}

// TestManySymbols has more symbols than one reading takes.
func TestManySymbols(t *testing.T) {
	s := validSpec()
	s.symbols = nil
	for i := range uint64(100000) {
		s.symbols = append(s.symbols, symbol(7, symbolFunc, 1, secText, 0x400100+i%0x200, 1)...)
	}
	tab := symbols(t, s)
	if len(tab.funcs) != 0x200 {
		t.Errorf("%d functions, want %d", len(tab.funcs), 0x200)
	}
}

func FuzzSymbols(f *testing.F) {
	f.Add(validSpec().build(), uint64(0x400100))
	f.Fuzz(func(t *testing.T, b []byte, addr uint64) {
		tab, err := Symbols(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, a := range []uint64{addr, 0, 0x400100, 1<<64 - 1} {
			name, off, ok := tab.Lookup(a)
			if len(name) > maxName || off > a || ok != (name != "") {
				t.Fatalf("Lookup(%#x) = %q, %#x, %v", a, name, off, ok)
			}
			for _, c := range []byte(name) {
				if c < ' ' || c > '~' {
					t.Fatalf("Lookup(%#x) = %q", a, name)
				}
			}
		}
	})
}
