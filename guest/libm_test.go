package guest

import (
	stdelf "debug/elf"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const libm = librariesName + "/libm.so"

// The SDK's libm stands alone, keeps its symbols and works where events come on the program's stack.
func TestLibm(t *testing.T) {
	l := parseLibrary(t, libm)
	if l.Soname != "libm.so" || len(l.Needed) != 0 {
		t.Errorf("%q needs %q", l.Soname, l.Needed)
	}
	found, functions := faults(t, libm)
	if len(found) > 0 || functions < 300 {
		t.Errorf("%d functions: %q", functions, found)
	}
	f, err := stdelf.Open(libm)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if undefined, err := f.ImportedSymbols(); err != nil || len(undefined) > 0 {
		t.Errorf("%v, %v", undefined, err)
	}
	all, err := f.Symbols()
	if err != nil || !slices.ContainsFunc(all, func(s stdelf.Symbol) bool { return s.Name == "__sin" && stdelf.ST_BIND(s.Info) == stdelf.STB_LOCAL }) {
		t.Errorf("%d symbols, without what is its own: %v", len(all), err)
	}
}

// With -lm a program has mathematics in libm.so and only there, as long as the linker would not find another one.
func TestLinkLibm(t *testing.T) {
	dir := write(t, map[string]string{
		"main.c":     "#include <math.h>\n#include <stdio.h>\nint main(int n, char **v) { (void)v; return printf(\"%g\", sin(n) + signgam); }\n",
		"wave.c":     "#include <complex.h>\n#include <math.h>\ndouble complex wave(double complex z) { return z * z * sin(creal(z)); }\n",
		"use.c":      "#include <complex.h>\ndouble complex wave(double complex);\nint main(int n, char **v) { (void)v; return creal(wave(n)); }\n",
		"idle.c":     "#include <stdio.h>\nint main(void) { return printf(\"%g\", 0.5); }\n",
		"own/libm.a": "!<arch>\n",
	})
	compile(t, dir, "-shared", "-O2", "-o", "libwave.so", "wave.c", "-lm")
	compile(t, dir, "-shared", "-O2", "-o", "libplain.so", "wave.c")
	for args, want := range map[string]string{
		"main.c -lm": "libm.so", "-Wl,--no-as-needed -lm main.c": "libm.so", "main.c -l m": "libm.so", "main.c -l:libm.so": "libm.so", "main.c -L. -lm -lc": "libm.so",
		"main.c": "", "idle.c -lm": "", "main.c -lm -static": "", "main.c -L own -lm": "",
		"use.c -L. -lwave": "libwave.so", "use.c -L. -lwave -Wl,--no-as-needed -lm": "libwave.so libm.so", "use.c -L. -lplain": "libplain.so", "use.c libplain.so -lm": "libplain.so libm.so",
	} {
		if said := compile(t, dir, append([]string{"-Wall", "-o", "p.kx"}, strings.Fields(args)...)...); said != "" {
			t.Errorf("%s: %s", args, said)
		}
		var needed []string
		if img := parse(t, filepath.Join(dir, "p.kx")); img.Dynamic != nil {
			needed = img.Dynamic.Needed
		}
		if got := strings.Join(needed, " "); got != want {
			t.Errorf("%s: needs %q, want %q", args, got, want)
		}
		f, err := stdelf.Open(filepath.Join(dir, "p.kx"))
		if err != nil {
			t.Fatal(err)
		}
		all, err := f.Symbols()
		if err != nil {
			t.Fatal(err)
		}
		own := slices.ContainsFunc(all, func(s stdelf.Symbol) bool { return s.Name == "sin" && s.Section != stdelf.SHN_UNDEF })
		if own != (want == "" && args[:4] != "idle" || want == "libwave.so" || want == "libplain.so") {
			t.Errorf("%s: it has a sin of its own: %v", args, own)
		}
		f.Close()
	}
	if l := parseLibrary(t, filepath.Join(dir, "libwave.so")); !slices.Equal(l.Needed, []string{"libm.so"}) {
		t.Errorf("libwave.so needs %q", l.Needed)
	}
}
