package lab

import (
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Scripts that /init sources where dom0 sees folders of the host.
var (
	//go:embed hostroot.sh
	hostRootScript string
	//go:embed shared.sh
	sharedScript string
)

// Folders in dom0: the host's file system, and the layer over it.
const (
	hostRoot  = "/lab/root"
	hostAbove = "/lab/above"
)

// shareTag names a shared folder between QEMU and dom0, and the link to it in the machine's folder.
func shareTag(i int) string { return fmt.Sprint("share", i) }

// shares lists the shared folders' paths in dom0; the index is that of shareTag.
func (m *machine) shares() []string { return slices.Sorted(maps.Keys(m.Shared)) }

// linkShares makes the shared folders reachable by names without commas.
func (m *machine) linkShares() error {
	for i, name := range m.shares() {
		folder, err := filepath.Abs(m.Shared[name])
		if err == nil && !isFolder(folder) {
			err = fmt.Errorf("%s: not a folder", folder)
		}
		if err == nil {
			err = os.Symlink(folder, filepath.Join(m.folder, shareTag(i)))
		}
		if err != nil {
			return fmt.Errorf("lab: shared folder: %w", err)
		}
	}
	return nil
}

// fileDevices are QEMU's arguments for what dom0 sees of the host. A device must use the guest's DMA
// mapping (iommu_platform): a PV dom0's addresses are not the machine's. security_model=none takes files
// as they are and does not mind that an ordinary user cannot give them away.
func (m *machine) fileDevices() (args []string) {
	add := func(tag, options string) {
		args = append(args, "-fsdev", "local,id="+tag+",security_model=none,multidevs=remap,"+options,
			"-device", "virtio-9p-pci,fsdev="+tag+",mount_tag="+tag+",iommu_platform=on,disable-legacy=on")
	}
	if m.HostRoot {
		add("host", "path=/,readonly=on")
	}
	for i := range m.shares() {
		add(shareTag(i), "path="+shareTag(i)+"/.")
	}
	return args
}

// hostFiles adds the scripts that mount what dom0 sees of the host.
func (m *machine) hostFiles(c *cpio) {
	if m.HostRoot {
		c.text("lab/setup/1-hostroot", 0o644, hostRootScript)
	}
	if len(m.Shared) > 0 {
		list := ""
		for i, name := range m.shares() {
			list += shareTag(i) + " " + path.Clean("/"+name) + "\n"
		}
		c.text("lab/shares", 0o644, list)
		c.text("lab/setup/2-shared", 0o644, sharedScript)
	}
}

// script is the line for dom0's shell that becomes the command. In the host's file system the environment is
// the host's too as far as it says where things are.
func (m *machine) script() (string, error) {
	if !m.HostRoot {
		return "exec " + quote(m.Command) + "\n", nil
	}
	folder, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	args := []string{"chroot", hostRoot, "/usr/bin/env"}
	search := os.Getenv("PATH")
	if m.XL {
		search += ":" + path.Join(xlFolder, "bin")
	}
	args = append(args, "PATH="+search, "HOME="+os.Getenv("HOME"))
	args = append(args, m.Env...)
	args = append(args, "/bin/sh", "-c", `cd "$0" && exec "$@"`, folder)
	return "exec " + quote(append(args, m.Command...)) + "\n", nil
}

// place is where a file for dom0 goes in the initramfs.
func (m *machine) place(name string) string {
	if m.HostRoot {
		return path.Join(strings.TrimPrefix(hostAbove, "/"), name)
	}
	return name
}
