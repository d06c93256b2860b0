package lab

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed init.sh
var initScript string

// image writes dom0's root file system: what init.sh uses, and the caller's files.
func (m *machine) image(w io.Writer) error {
	buffered := bufio.NewWriterSize(w, 1<<20)
	c := newCpio(buffered)
	for _, folder := range []string{"proc", "sys", "dev", "usr/bin", "usr/sbin", "lab", "lib/modules"} {
		c.folder(folder)
	}
	c.text("init", 0o755, initScript)
	c.text("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n")
	c.text("etc/group", 0o644, "root:x:0:\n")
	c.text("etc/hosts", 0o644, "127.0.0.1 localhost lab\n")
	script, err := m.script()
	if err != nil {
		return err
	}
	c.text("lab/command", 0o644, script)
	m.hostFiles(c)
	c.text("lab/environment", 0o644, m.environment())
	c.host("bin/busybox", m.parts.busybox)
	if err := m.modules(c); err != nil {
		return err
	}
	if m.Terminal != nil {
		c.text("lab/interactive", 0o644, "")
	} else {
		if m.Stderr != nil {
			c.text("lab/errors", 0o644, "")
		}
		stdin, err := m.readStdin()
		if err != nil {
			return err
		}
		c.text("lab/stdin", 0o644, stdin)
	}
	if m.XL {
		if err := m.toolstack(c); err != nil {
			return err
		}
	}
	for name, from := range m.Files {
		c.host(m.place(name), from)
	}
	if err := errors.Join(c.close(), buffered.Flush()); err != nil {
		return fmt.Errorf("lab: initramfs: %w", err)
	}
	return nil
}

// modules adds the kernel modules and the order to load them in.
func (m *machine) modules(c *cpio) error {
	names := dom0Modules
	if m.HostRoot || len(m.Shared) > 0 {
		names = slices.Concat(names, fileModules)
	}
	files, err := moduleOrder(m.parts.modules, names)
	if err != nil {
		return err
	}
	order := ""
	for _, file := range files {
		c.host(path.Join("lib/modules", filepath.Base(file)), file)
		order += strings.TrimSuffix(filepath.Base(file), ".ko") + "\n"
	}
	c.text("lib/modules/order", 0o644, order)
	return nil
}

// environment is the part of /init that differs between runs.
func (m *machine) environment() string {
	s := "nonce=" + m.nonce + "\n"
	if m.HostRoot {
		s += "root=" + hostRoot + "\n"
	}
	if m.Terminal != nil {
		rows, columns := terminalSize(m.Terminal)
		s += fmt.Sprintf("rows=%d columns=%d\n", rows, columns)
	}
	for _, variable := range m.Env {
		s += "export " + quote([]string{variable}) + "\n"
	}
	return s
}

func (m *machine) readStdin() (string, error) {
	if m.Stdin == nil {
		return "", nil
	}
	b, err := io.ReadAll(m.Stdin)
	if err != nil {
		return "", fmt.Errorf("lab: standard input: %w", err)
	}
	return string(b), nil
}

// host adds a file, folder or symbolic link of this machine under another name.
func (c *cpio) host(name, from string) {
	root, err := filepath.EvalSymlinks(from)
	if err != nil {
		c.fail(err)
		return
	}
	c.fail(filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, at)
		if err != nil {
			return err
		}
		target := path.Join(name, filepath.ToSlash(relative))
		switch {
		case d.IsDir():
			c.folder(target)
		case d.Type() == fs.ModeSymlink:
			link, err := os.Readlink(at)
			if err != nil {
				return err
			}
			c.symlink(target, link)
		case d.Type().IsRegular():
			return c.copyFile(target, at)
		}
		return c.err
	}))
}

func (c *cpio) copyFile(name, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	c.file(name, info.Mode(), info.Size(), f)
	return c.err
}

// quote writes arguments so that sh reads them as they are.
func quote(arguments []string) string {
	quoted := make([]string, len(arguments))
	for i, a := range arguments {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
