package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestCpio reads an archive back by the format's rules. That Linux unpacks it too is what
// TestDom0 shows.
func TestCpio(t *testing.T) {
	from := t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "odd"), []byte("five!"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(from, "inner"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../odd", filepath.Join(from, "inner", "link")); err != nil {
		t.Fatal(err)
	}

	var archive bytes.Buffer
	c := newCpio(&archive)
	c.folder("dev")
	c.text("/init", 0o755, "#!/bin/sh\n")
	c.text("empty", 0o600, "")
	c.text("deep/er/file", 0o644, "123")
	c.host("given", from)
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`040755 dev ""`,
		`100755 init "#!/bin/sh\n"`,
		`100600 empty ""`,
		`040755 deep ""`, `040755 deep/er ""`, `100644 deep/er/file "123"`,
		`040755 given ""`, `040755 given/inner ""`, `120777 given/inner/link "../odd"`, `100640 given/odd "five!"`,
		`000000 TRAILER!!! ""`,
	}
	if got := list(t, archive.Bytes()); !slices.Equal(got, want) {
		t.Errorf("archive holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// list parses an archive: 110 bytes of header, name, content, the last two ending at a multiple of four.
func list(t *testing.T, archive []byte) []string {
	t.Helper()
	var entries []string
	inodes := map[uint32]bool{}
	for r := bytes.NewReader(archive); r.Len() > 0; {
		var inode, mode, links, size, length, ignored uint32
		if _, err := fmt.Fscanf(io.LimitReader(r, 110), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", &inode, &mode, &ignored,
			&ignored, &links, &ignored, &size, &ignored, &ignored, &ignored, &ignored, &length, &ignored); err != nil {
			t.Fatalf("header %d: %v", len(entries), err)
		}
		take := func(n uint32) string {
			b := make([]byte, n)
			if _, err := io.ReadFull(r, b); err != nil {
				t.Fatalf("entry %d: %v", len(entries), err)
			}
			if padding := -(len(archive) - r.Len()) & 3; padding > 0 {
				if _, err := r.Seek(int64(padding), io.SeekCurrent); err != nil {
					t.Fatal(err)
				}
			}
			return string(b)
		}
		name, content := take(length), take(size)
		if !strings.HasSuffix(name, "\x00") || links != 1 || inodes[inode] {
			t.Errorf("%q: %d links, inode %d", name, links, inode)
		}
		inodes[inode] = true
		entries = append(entries, fmt.Sprintf("%06o %s %q", mode, strings.TrimSuffix(name, "\x00"), content))
	}
	return entries
}

func TestCpioRefuses(t *testing.T) {
	for _, test := range []struct {
		why  string
		fill func(c *cpio)
	}{
		{"given twice", func(c *cpio) { c.text("a/b", 0o644, "1"); c.text("/a//b", 0o644, "2") }},
		{"EOF", func(c *cpio) { c.file("short", 0o644, 10, strings.NewReader("nine char")) }},
		{"no such file", func(c *cpio) { c.host("a", filepath.Join(t.TempDir(), "missing")) }},
		{"4 GiB", func(c *cpio) { c.file("huge", 0o644, 1<<32, strings.NewReader("")) }},
	} {
		c := newCpio(&bytes.Buffer{})
		test.fill(c)
		if err := c.close(); err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%v: want %q in it", err, test.why)
		}
	}
}

func TestCpioTellsOfAFullDisk(t *testing.T) {
	c := newCpio(fullDisk{})
	c.text("a", 0o644, "1")
	if err := c.close(); !errors.Is(err, errFull) {
		t.Errorf("%v", err)
	}
}

var errFull = errors.New("no space left on device")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }
