package completions_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// kxsh is the program of this tree, built once for all tests.
var kxsh = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kxsh-completions")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "kxsh")
	if out, err := exec.Command("go", "build", "-o", path, "kxsh").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build kxsh: %v\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := kxsh(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

func build(t *testing.T) string {
	t.Helper()
	path, err := kxsh()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// fakePS stands in for kxsh: it knows some pVMs, one of them with a name meant to be run, and writes
// the arguments of all else to the file $SEEN, those of the question for pVMs to $ASKED.
const fakePS = `#!/bin/sh
case "$*" in
*--no-start*)
	printf '%s\n' "$*" >"$ASKED"
	printf '   7    7 web\n  12    7 web-worker\n  30   30 db\n  31   30 $(touch${IFS}ran)\n  32   30 ;touch ran\n'
	;;
*)
	printf '%s\n' "$@" >"$SEEN.new"
	mv "$SEEN.new" "$SEEN"
	;;
esac
`

// desk is a folder with files, where somebody types.
type desk struct{ dir, seen, asked string }

func newDesk(t *testing.T) *desk {
	dir := t.TempDir()
	d := &desk{dir: filepath.Join(dir, "desk"), seen: filepath.Join(dir, "seen"), asked: filepath.Join(dir, "asked")}
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "bin/kxsh"), fakePS, 0o755)
	for _, name := range []string{"hello.kx", "my app.kx", "notes.txt", "folder/inner.kx", "folder/other.txt"} {
		write(filepath.Join(d.dir, name), "", 0o644)
	}
	return d
}

func (d *desk) env() []string {
	home := filepath.Dir(d.dir)
	return append(os.Environ(), "PATH="+home+"/bin:"+os.Getenv("PATH"), "SEEN="+d.seen, "ASKED="+d.asked,
		"HOME="+home, "ZDOTDIR="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home, "TERM=xterm", "HISTFILE=")
}

// noneRan checks that no pVM's name was run as a command.
func (d *desk) noneRan(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(d.dir, "ran")); err == nil {
		t.Error("a pVM's name was run as a command")
	}
}
