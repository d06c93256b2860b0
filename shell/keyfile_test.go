package shell

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kxsh/elf"
)

// testPublic is a public key in PEM form.
func testPublic(t *testing.T) []byte {
	t.Helper()
	key, err := newKey("ed25519")
	if err != nil {
		t.Fatal(err)
	}
	public, err := elf.NewKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: public.DER()})
}

func TestTrustStore(t *testing.T) {
	good := testPublic(t)
	for _, c := range []struct {
		name   string
		change func(dir string) error
		want   string // error, or how many keys
	}{
		{"as it should be", func(dir string) error { return nil }, "1"},
		{"no folder", os.RemoveAll, "0"},
		{"not a key's name", func(dir string) error { return os.WriteFile(filepath.Join(dir, "readme"), []byte("x"), 0o666) }, "1"},
		{"two keys", func(dir string) error { return os.WriteFile(filepath.Join(dir, "b.pub"), testPublic(t), 0o644) }, "2"},
		{"folder of all", func(dir string) error { return os.Chmod(dir, 0o777) }, "lets others change it: chmod go-w"},
		{"a file in its place", func(dir string) error {
			os.RemoveAll(dir)
			return os.WriteFile(dir, nil, 0o600)
		}, "not a directory"},
		{"key of all", func(dir string) error { return os.Chmod(filepath.Join(dir, "a.pub"), 0o664) }, "a.pub: mode 0664 lets others change it: chmod go-w"},
		{"empty", func(dir string) error { return os.WriteFile(filepath.Join(dir, "b.pub"), nil, 0o644) }, "b.pub: not a key in PEM form: keygen makes one"},
		{"two in a file", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "b.pub"), append(good, good...), 0o644)
		}, "b.pub: more than one key: give each a file of its own"},
		{"of another type", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "b.pub"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}), 0o644)
		}, `b.pub: PEM of type "CERTIFICATE", want "PUBLIC KEY"`},
		{"damaged", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "b.pub"), pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: []byte{1}}), 0o644)
		}, "b.pub: not a public key: "},
		{"large", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "b.pub"), make([]byte, keyFileMax+1), 0o644)
		}, "b.pub: 65537 bytes: at most 65536 are taken"},
		{"a folder", func(dir string) error { return os.Mkdir(filepath.Join(dir, "b.pub"), 0o755) }, "b.pub: not a regular file"},
	} {
		dir := filepath.Join(t.TempDir(), "trust")
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "a.pub"), good, 0o644), c.change(dir)); err != nil {
			t.Fatal(err)
		}
		call := &Call{shell: &Shell{cfg: Config{TrustDir: dir}}}
		trust, err := call.trust("")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "trust store: "+dir) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		} else if n := string(rune('0' + len(trust.keys))); n != c.want || len(trust.keys) > 0 && trust.names[trust.keys[0].ID] != "a" {
			t.Errorf("%s: %s keys, want %s; %v", c.name, n, c.want, trust.names)
		}
	}
}

func TestRewrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	fresh := func() {
		if err := errors.Join(os.WriteFile(path, []byte("old"), 0o600), os.Chmod(path, 0o2751)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what, want string) {
		t.Helper()
		if data, err := os.ReadFile(path); err != nil || string(data) != want {
			t.Errorf("%s: %q, %v, want %q", what, data, err, want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s: left behind: %v, %v", what, entries, err)
		}
	}
	fresh()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := rewrite(path, func(data []byte) ([]byte, error) { return append(data, " and new"...), nil }); err != nil {
		t.Fatal(err)
	}
	check("rewritten", "old and new")
	if now, err := os.Stat(path); err != nil || now.Mode() != before.Mode() {
		t.Errorf("mode %v, want %v", now.Mode(), before.Mode())
	}

	fresh()
	no := errors.New("no")
	if err := rewrite(path, func([]byte) ([]byte, error) { return nil, no }); err != no {
		t.Errorf("%v, want %v", err, no)
	}
	check("refused", "old")

	for what, change := range map[string]func() error{
		"written to meanwhile": func() error { return os.WriteFile(path, []byte("else"), 0) },
		"replaced meanwhile": func() error {
			other := filepath.Join(dir, "other")
			return errors.Join(os.WriteFile(other, []byte("else"), 0o600), os.Rename(other, path))
		},
	} {
		fresh()
		err := rewrite(path, func(data []byte) ([]byte, error) { return data, change() })
		if err == nil || err.Error() != "was changed meanwhile: try again" {
			t.Errorf("%s: %v", what, err)
		}
		check(what, "else")
	}
}

// TestKeygenAllOrNothing holds that a key that cannot be trusted, because there is one of its name, is not made.
func TestKeygenAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	trust := filepath.Join(dir, "trust")
	if err := errors.Join(os.Mkdir(trust, 0o700), os.WriteFile(filepath.Join(trust, "k.pub"), testPublic(t), 0o644)); err != nil {
		t.Fatal(err)
	}
	cmd := keygenCommand
	call := &Call{Args: []string{filepath.Join(dir, "k.key")}, Flags: cmd.flagSet(), cmd: &cmd, shell: &Shell{cfg: Config{TrustDir: trust}}}
	if err := call.Flags.Set("trust", "true"); err != nil {
		t.Fatal(err)
	}
	if err := keygen(call); err == nil || !strings.Contains(err.Error(), "k.pub: is there already") {
		t.Errorf("%v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
