package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// A library's path tells its content; no name leads out of the libraries.
func TestBuiltIn(t *testing.T) {
	files := fstest.MapFS{"libm.so": {Data: []byte("one")}, "sub/libn.so": {Data: []byte("two")}}
	b := NewBuiltIn(files, "/state")
	path, data, err := b.Read("libm.so")
	if err != nil || string(data) != "one" || path != "/state/lib/"+digest([]byte("one"))[:16]+"/libm.so" {
		t.Errorf("%s, %q, %v", path, data, err)
	}
	if own := b.find("libm.so"); own != (builtIn{path, digest([]byte("one"))}) {
		t.Errorf("%+v", own)
	}
	for _, name := range []string{"libn.so", "", ".", "..", "/libm.so", "../libm.so", "sub", "libm.so/"} {
		if path, _, err := b.Read(name); !errors.Is(err, fs.ErrNotExist) || path != "" || b.find(name) != (builtIn{}) {
			t.Errorf("%q: %s, %v", name, path, err)
		}
	}
	if _, _, err := NewBuiltIn(nil, "/state").Read("libm.so"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of none: %v", err)
	}
}

// An engine keeps those files that a running pVM was linked with, whatever version of kxsh they are of.
func TestPruneBuiltIn(t *testing.T) {
	e, _ := testEngine(t)
	for _, name := range []string{"old", "used", "current"} {
		if err := os.MkdirAll(filepath.Join(e.builtIn.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	p := newPVM()
	p.pid = 77
	p.rec.Libraries = []LibraryUse{{Name: "libm.so", Path: filepath.Join(e.builtIn.dir, "used", "libm.so")}}
	e.mu.Lock()
	e.table[p.pid] = p
	e.mu.Unlock()
	e.pruneBuiltIn()
	left, err := filepath.Glob(filepath.Join(e.builtIn.dir, "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "used" {
		t.Errorf("%q, %v", left, err)
	}
	e.mu.Lock()
	p.rec.Exit = &Exit{}
	e.mu.Unlock()
	e.pruneBuiltIn()
	if left, _ := filepath.Glob(filepath.Join(e.builtIn.dir, "*")); len(left) != 0 {
		t.Errorf("%q", left)
	}
	e.mu.Lock()
	delete(e.table, p.pid)
	e.mu.Unlock()
}
