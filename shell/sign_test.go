package shell

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kxsh/elf"
)

// TestSignRefusals has what cannot be signed or verified, and keys that cannot be used: a line for each, and nothing is changed.
func TestSignRefusals(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	file("script", "#!/bin/sh\n", 0o755)
	file("not.pub", "hello\n", 0o644)
	if err := errors.Join(os.Symlink("script", filepath.Join(dir, "link")), syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"k"}, {"-t", "rsa", "r"}} {
		if out, errs, status := direct(t, dir, &keygenCommand, args...); status != 0 || !strings.HasPrefix(out, filepath.Join(dir, args[len(args)-1])+" ") {
			t.Fatalf("keygen %v: %s%s", args, out, errs)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "open"), nil, 0o640); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cmd    *Command
		args   string
		want   string
		status int
	}{
		{&signCommand, "--key k link script . none fifo", "sign: link: a symbolic link: name the file itself\n" +
			"sign: script: not an ELF file: it begins with \"#!/b\"\nsign: .: not a regular file\nsign: none: no such file or directory\nsign: fifo: not a regular file\n", 1},
		{&signCommand, "--key none script", "--key " + dir + "/none: no such file or directory\n", 1},
		{&signCommand, "--key open script", "open: mode 0640 lets others at a private key: chmod 600\n", 1},
		{&signCommand, "--key k.pub script", "k.pub: mode 0644 lets others at a private key: chmod 600\n", 1},
		{&signCommand, "--key fifo script", "fifo: not a regular file\n", 1},
		{&signCommand, "--key k --loader all script", `--loader "all": self, app or any`, 2},
		{&signCommand, "--key k --need m script", "--need m: not NAME=N", 2},
		{&signCommand, "--key k --need m=1 --need m=2 script", "--need m: twice", 2},
		{&signCommand, "--key k --name a/b script", `--name "a/b": 1 to 63 letters`, 2},
		{&signCommand, "--key k --version -1 script", "--version -1: not a whole number of 0 or more", 2},
		{&signCommand, "--key k", "usage: sign", 2},
		{&verifyCommand, "--key k script", "--key k: a private key: give the public one, FILE.pub\n", 1},
		{&verifyCommand, "--key not.pub script", "--key not.pub: not a key in PEM form: keygen makes one\n", 1},
		{&verifyCommand, "--key k.pub script", "verify: script: not an ELF file: it begins with \"#!/b\"\n", 1},
		{&verifyCommand, "--key k.pub fifo", "verify: fifo: not a regular file\n", 1},
		{&verifyCommand, "--key k.pub --require no-rollback script", "--require no-rollback: only run knows what has run", 2},
		{&verifyCommand, "--key k.pub --require all script", `--require "all": signed, name=NAME`, 2},
		{&verifyCommand, "", "usage: verify", 2},
		{&keygenCommand, "-t dsa d", "-t dsa: ed25519 or rsa", 2},
		{&keygenCommand, "k", "k: is there already: name another file, or remove it\n", 1},
		{&keygenCommand, "none/k", "none/k: no such file or directory\n", 1},
		{&keygenCommand, "a b", "usage: keygen", 2},
	} {
		out, errs, status := direct(t, dir, c.cmd, strings.Fields(c.args)...)
		lines := strings.Count(c.want, "\n")
		if out != "" || status != c.status || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != max(lines, 1) {
			t.Errorf("%s %s: status %d\n%s%s\nwant %s", c.cmd.Name, c.args, status, out, errs, c.want)
		}
	}
	for name, mode := range map[string]os.FileMode{"k": 0o600, "k.pub": 0o644, "r": 0o600} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err != nil || fi.Mode() != mode {
			t.Errorf("%s: %v, %v, want %v", name, fi.Mode(), err, mode)
		}
	}
	for _, name := range []string{"k", "r"} {
		private, err := readPrivate(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		public, err := readPublic(filepath.Join(dir, name+publicExt), anyMode)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := elf.NewKey(private.Public()); err != nil || k.ID != public.ID {
			t.Errorf("%s: the public key is %v, want %v, %v", name, public, k, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".kxsh-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
