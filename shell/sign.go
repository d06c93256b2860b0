package shell

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"kxsh/elf"
	"kxsh/engine"
)

var signCommand = Command{
	Name:     "sign",
	Synopsis: "[--key FILE] [--name NAME] [--version N] [--loader self|app|any] [--need NAME=N]… [--need-signed] FILE…",
	Short:    "sign images and libraries, and say what restricts them",
	Long: `Writes a restriction record into FILE, with a signature over the whole file, its root archive included. What a flag does not say stays as
the record has it; a new one has the file's name without .kx, version 1, loader any, and no needs. The key is that of keygen, unless --key
names another. FILE is replaced at once, and keeps its mode; a symbolic link is not followed.

--loader says who may have a library linked into a pVM: itself, also others of the same application, or any. --need says which version of a library
it takes at least, --need '' forgets them all; --need-signed that all its libraries must be signed.

What changes the file afterwards, strip too, breaks the signature: strip first, sign last.`,
	Examples: []string{"sign --version 3 web.kx", "sign --key release.key --need libm.so=2 --need-signed web.kx"},
	Flags: func(f *pflag.FlagSet) {
		f.String("key", "", "the private key `FILE`")
		f.String("name", "", "what it is called, whatever its file is")
		f.Uint64("version", 1, "its version")
		f.String("loader", "any", "self, app or any")
		f.StringArray("need", nil, "a library and its least version, `NAME=N`")
		f.Bool("need-signed", false, "its libraries must be signed")
	},
	FlagArgs: map[string]Kind{"key": File, "loader": Choice},
	Choices:  []string{"self", "app", "any"},
	Args:     File,
	Run:      signFiles,
}

func signFiles(c *Call) error {
	if err := c.want(1, -1); err != nil {
		return err
	}
	change, err := c.recordFlags()
	if err != nil {
		return err
	}
	path := c.shell.cfg.SignKey
	if k := c.flagString("key"); k != "" {
		path = c.Path(k)
	}
	key, err := readPrivate(path)
	if errors.Is(err, syscall.ENOENT) && c.flagString("key") == "" {
		return fmt.Errorf("no key %s: make one with keygen, or name another with --key", path)
	}
	if err != nil {
		return fmt.Errorf("--key %s: %w", path, err)
	}
	failed := false
	for _, file := range c.Args {
		err := rewrite(c.Path(file), func(data []byte) ([]byte, error) {
			old, err := elf.ReadRecord(bytesReader(data))
			if err != nil {
				return nil, err
			}
			rec := elf.Record{Name: recordName(file), Version: 1, Loader: elf.LoaderAny}
			if old != nil {
				rec = *old
			}
			change(&rec)
			return elf.Sign(data, rec, key)
		})
		if err != nil {
			c.warnf("%s: %v", printable(file), err)
			failed = true
		}
	}
	if failed {
		return Status(1)
	}
	return nil
}

// recordName is what a file is called in its first record.
func recordName(file string) string { return strings.TrimSuffix(filepath.Base(file), ".kx") }

// recordFlags reads the flags into a change of a record.
func (c *Call) recordFlags() (func(*elf.Record), error) {
	var changes []func(*elf.Record)
	change := func(flag string, f func(*elf.Record)) {
		if c.Flags.Changed(flag) {
			changes = append(changes, f)
		}
	}
	loader, err := elf.ParseLoader(c.flagString("loader"))
	if err != nil {
		return nil, usagef("--%v", err)
	}
	name, version, signed := c.flagString("name"), c.flagUint("version"), c.flagBool("need-signed")
	if c.Flags.Changed("name") && !elf.ValidName(name) {
		return nil, usagef("--name %q: 1 to 63 letters, digits, _ . + or -", name)
	}
	texts, _ := c.Flags.GetStringArray("need")
	var needs []elf.Need
	for _, text := range texts {
		if text == "" {
			needs = nil
			continue
		}
		library, least, _ := strings.Cut(text, "=")
		n, err := strconv.ParseUint(least, 10, 64)
		if err != nil || !elf.ValidName(library) {
			return nil, usagef("--need %s: not NAME=N", text)
		}
		for _, other := range needs {
			if other.Name == library {
				return nil, usagef("--need %s: twice", library)
			}
		}
		needs = append(needs, elf.Need{Name: library, Version: n})
	}
	change("name", func(r *elf.Record) { r.Name = name })
	change("version", func(r *elf.Record) { r.Version = version })
	change("loader", func(r *elf.Record) { r.Loader = loader })
	change("need", func(r *elf.Record) { r.Needs = needs })
	change("need-signed", func(r *elf.Record) { r.SignedLibraries = signed })
	return func(r *elf.Record) {
		for _, f := range changes {
			f(r)
		}
	}, nil
}

// rewrite replaces the file at path by what f makes of its content: at once, with its mode and owner, or not at all.
func rewrite(path string, f func([]byte) ([]byte, error)) error {
	data, fi, err := readRegular(path, syscall.O_NOFOLLOW, engine.FileMax)
	if err != nil {
		return err
	}
	if data, err = f(data); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".kxsh-*")
	if err != nil {
		return errno(err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	st := fi.Sys().(*syscall.Stat_t)
	if int(st.Uid) != os.Geteuid() || int(st.Gid) != os.Getegid() {
		if err := tmp.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("cannot keep its owner: %w", errno(err))
		}
	}
	if err := tmp.Chmod(fi.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)); err != nil {
		return errno(err)
	}
	if _, err := tmp.Write(data); err != nil {
		return errno(err)
	}
	if err := tmp.Sync(); err != nil {
		return errno(err)
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(now, fi) || !now.ModTime().Equal(fi.ModTime()) || now.Size() != fi.Size() {
		return errors.New("was changed meanwhile: try again")
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return errno(err)
	}
	return nil
}
