package lab

import (
	_ "embed"
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
	for name, from := range shared {
		c.host(name, from)
		if path.Base(name) == path.Base(loader) {
			c.symlink(loader, name)
		}
	}
	c.folder("etc/xen")
	c.text("etc/xen/xl.conf", 0o644, "autoballoon=\"off\"\n")
	c.text("lab/setup/3-toolstack", 0o644, toolstackScript)
	return nil
}
