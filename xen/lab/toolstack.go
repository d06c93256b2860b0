package lab

import (
	_ "embed"
	"fmt"
	"path"
	"path/filepath"
)

// toolstackScript is sourced by /init: it starts what xl needs.
//
//go:embed toolstack.sh
var toolstackScript string

// toolstackPrograms, of Debian's Xen tools; paths under their root.
var toolstackPrograms = []string{
	"usr/lib/xen-4.17/bin/xl", "usr/lib/xen-4.17/bin/xenstored", "usr/lib/xen-4.17/bin/xenconsoled",
	"usr/lib/xen-4.17/bin/xenconsole", "usr/lib/xen-4.17/bin/xen-init-dom0", "usr/lib/xen-4.17/bin/libxl-save-helper",
	"usr/bin/xenstore-ls", "usr/bin/xenstore-read", "usr/bin/xenstore-write", "usr/bin/xenstore-rm",
}

const xlConf = "autoballoon=\"off\"\n"

// loader is the path that the toolstack's programs name as their interpreter.
const loader = "lib64/ld-linux-x86-64.so.2"

// toolstack adds xl, xenstored and what they need: a copy in dom0 to compare kxsh with.
func (m *machine) toolstack(c *cpio) error {
	root := m.parts.xl
	programs := make([]string, len(toolstackPrograms))
	for i, program := range toolstackPrograms {
		programs[i] = filepath.Join(root, program)
		c.host(program, programs[i])
	}
	shared, err := libraries(root, programs)
	if err != nil {
		return err
	}
	// glibc loads it when a thread is cancelled, which xl does at its end.
	if at, ok := findLibrary(root, "libgcc_s.so.1"); ok {
		shared["/"+at] = filepath.Join(root, at)
	}
	for name, from := range shared {
		c.host(name, from)
		if path.Base(name) == path.Base(loader) {
			c.symlink(loader, name)
		}
	}
	if m.HostRoot {
		m.toolstackAbove(c, programs, shared)
	}
	c.folder("etc/xen")
	c.text("etc/xen/xl.conf", 0o644, xlConf)
	c.text("lab/setup/3-toolstack", 0o644, toolstackScript)
	return nil
}

// xlFolder holds, in the host's file system, commands that start the toolstack with its own libraries.
const xlFolder = "/lab/xl"

// toolstackAbove adds a copy of the programs for who sees the host's file system.
func (m *machine) toolstackAbove(c *cpio, programs []string, shared map[string]string) {
	for _, from := range shared {
		c.host(m.place(path.Join(xlFolder, "lib", path.Base(from))), from)
	}
	for _, from := range programs {
		name := path.Base(from)
		c.host(m.place(path.Join(xlFolder, "programs", name)), from)
		c.text(m.place(path.Join(xlFolder, "bin", name)), 0o755, fmt.Sprintf(
			"#!/bin/sh\nexec %[1]s/lib/%[2]s --library-path %[1]s/lib %[1]s/programs/%[3]s \"$@\"\n", xlFolder, path.Base(loader), name))
	}
	for _, folder := range []string{"var/lib/xen", "var/log/xen"} {
		c.folder(m.place(folder))
	}
	c.text(m.place("etc/xen/xl.conf"), 0o644, xlConf)
}
