package shell

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"

	"kxsh/elf"
	"kxsh/engine"
)

var lddCommand = Command{
	Name:     "ldd",
	Synopsis: "[--lib-path DIR]… [--json] [--no-headers] PID|IMAGE",
	Short:    "list the shared libraries of a pVM, or those that run would give an image",
	Long: `SHARERS is how many running pVMs have the same pages: its read-only part, SHARED bytes, is there once for all of them. Who these may be says
LOADER: self, the pVM itself and what it forks; app, also others of the same image; any. VERSION and SIGNED are what its record says, which was
verified if the image had to be signed. BOUND and LAZY are the calls of the library's functions, in program and libraries, that are bound, and that
will be when they are made first. DIGEST begins the file's SHA-256. Of an image there are only names and files; the status is 1 if one is not found.`,
	Examples: []string{"ldd web", "ldd --json 7 | jq '.[].base'", "ldd ./app.kx"},
	Flags: func(f *pflag.FlagSet) {
		libPathFlag(f)
		f.Bool("json", false, "as JSON")
		f.Bool("no-headers", false, "without the line of headers")
	},
	FlagArgs: map[string]Kind{"lib-path": File},
	Args:     PVMOrFile,
	Pages:    true,
	Run:      ldd,
}

func ldd(c *Call) error {
	if err := c.want(1, 1); err != nil {
		return err
	}
	arg := c.Args[0]
	if c.isImage(arg) {
		return c.lddImage(arg)
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	pid, err := c.one(api, arg, false)
	if err != nil {
		return err
	}
	list, err := api.Libraries(c, pid)
	if err != nil {
		return aboutPVM(arg, err)
	}
	if c.flagBool("json") {
		return writeJSON(c.Stdout, list)
	}
	g := grid{
		head:  []string{"NAME", "ADDRESS", "SHARED", "SHARERS", "LOADER", "VERSION", "SIGNED", "BOUND", "LAZY", "DIGEST", "PATH"},
		right: []bool{false, true, true, true, false, true, false, true, true, false, false},
	}
	for _, l := range list {
		bound, lazy := strconv.Itoa(l.Bound), strconv.Itoa(l.Lazy)
		if l.Bound < 0 {
			bound, lazy = "-", "-"
		}
		version := "-"
		if l.Version != 0 {
			version = strconv.FormatUint(l.Version, 10)
		}
		g.rows = append(g.rows, []string{
			l.Name, fmt.Sprintf("%#x", l.Base), humanBytes(l.Shared), strconv.Itoa(l.Sharers), l.Loader, version, cmp.Or(l.Signed, "-"), bound, lazy, l.SHA256[:12], l.Path,
		})
	}
	return g.write(c.Stdout, !c.flagBool("no-headers"), width(c.Stdout), c.style().head)
}

// neededLibrary is a library of an image. Path is "" if there is none.
type neededLibrary struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// lddImage finds the libraries as the engine would, and reads them.
func (c *Call) lddImage(arg string) error {
	m, done, err := openImage(c.Path(arg))
	if err != nil {
		return fmt.Errorf("%s: %w", arg, err)
	}
	defer done()
	folders := append(c.libPath(), filepath.Dir(c.Path(arg)))
	own := engine.NewBuiltIn(c.shell.cfg.Libraries, c.shell.cfg.StateDir)
	list, missing := []neededLibrary{}, false
	_, err = elf.Tree(m, func(name, by string) (*elf.Library, error) {
		path, err := engine.FindLibrary(name, folders)
		var data []byte
		if err != nil {
			path, data, err = own.Read(name)
		}
		list = append(list, neededLibrary{name, path})
		if data != nil {
			return elf.ParseLibrary(bytes.NewReader(data), int64(len(data)))
		}
		if err != nil {
			missing = true
			return &elf.Library{Dynamic: &elf.Dynamic{}}, nil
		}
		return readLibrary(path)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", arg, err)
	}
	if c.flagBool("json") {
		err = writeJSON(c.Stdout, list)
	} else {
		g := grid{head: []string{"NAME", "PATH"}, right: []bool{false, false}}
		for _, l := range list {
			if l.Path == "" {
				l.Path = "not found"
			}
			g.rows = append(g.rows, []string{l.Name, l.Path})
		}
		err = g.write(c.Stdout, !c.flagBool("no-headers"), width(c.Stdout), c.style().head)
	}
	if err == nil && missing {
		return Status(1)
	}
	return err
}

// readLibrary reads what a library needs; it cannot be linked afterwards, for its file is closed.
func readLibrary(path string) (*elf.Library, error) {
	f, fi, err := openRegular(path, 0, engine.FileMax)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	l, err := elf.ParseLibrary(f, fi.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: not a library of pVMs: %w", path, err)
	}
	return l, nil
}
