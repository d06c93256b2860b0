package lab

import (
	"compress/gzip"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
)

// The packages of a lab. linux-image-amd64 is empty and depends on the kernel.
var (
	dom0Packages = packageSet{
		name:  "dom0",
		names: []string{"xen-hypervisor-4.17-amd64", "linux-image-amd64>linux-image-", "busybox-static"},
		keep: []string{"boot/xen-4.17-amd64.gz", "boot/vmlinuz-*", "bin/busybox", "lib/modules/*/kernel/drivers/xen",
			"lib/modules/*/kernel/drivers/net/xen-netback", "lib/modules/*/kernel/drivers/virtio", "lib/modules/*/kernel/net/9p",
			"lib/modules/*/kernel/net/bridge", "lib/modules/*/kernel/net/llc", "lib/modules/*/kernel/net/802",
			"lib/modules/*/kernel/fs/9p", "lib/modules/*/kernel/fs/fscache", "lib/modules/*/kernel/fs/netfs", "lib/modules/*/kernel/fs/overlayfs"},
	}
	qemuPackages = packageSet{
		name:  "qemu",
		names: []string{"qemu-system-x86"},
		deps:  true,
		keep: []string{"usr/bin/qemu-system-x86_64", "usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe",
			"lib/*-linux-gnu", "usr/lib/*-linux-gnu/*.so*", "usr/lib/*-linux-gnu/qemu"},
	}
	xlPackages = packageSet{
		name:  "xl",
		names: []string{"xen-utils-4.17", "xenstore-utils"},
		deps:  true,
		keep: []string{"usr/lib/xen-4.17", "usr/lib/xen-common", "usr/sbin/xen*", "usr/bin/xenstore*", "etc/xen",
			"lib/*-linux-gnu", "usr/lib/*-linux-gnu/*.so*"},
	}
)

// parts are the files of this machine that a lab is made of.
type parts struct {
	xen     string   // unpacked
	kernel  string   // of dom0
	modules string   // the folder of its modules
	busybox string   // static
	xl      string   // root folder of the toolstack, or empty
	qemu    []string // the command and the arguments it needs where it lies
	qemuEnv []string // NAME=VALUE, likewise
}

// dom0Modules are loaded at start, in this order and after what they depend on; fileModules too where
// dom0 sees folders of the host.
var (
	dom0Modules = []string{"xen-privcmd", "xenfs", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-netback", "bridge"}
	fileModules = []string{"virtio_pci", "9pnet_virtio", "9p", "overlay"}
)

func findParts(ctx context.Context, xl bool, progress io.Writer) (parts, error) {
	if runtime.GOARCH != "amd64" {
		return parts{}, fmt.Errorf("lab: %s: Xen and dom0 are for amd64, and run programs of this machine: use an amd64 one", runtime.GOARCH)
	}
	root, err := dom0Packages.fetch(ctx, progress)
	if err != nil {
		return parts{}, err
	}
	p := parts{busybox: filepath.Join(root, "bin", "busybox"), modules: filepath.Join(root, "lib", "modules")}
	if p.kernel, err = newest(filepath.Join(root, "boot", "vmlinuz-*")); err != nil {
		return parts{}, err
	}
	if p.xen, err = gunzipBeside(filepath.Join(root, "boot", "xen-4.17-amd64.gz")); err != nil {
		return parts{}, err
	}
	if xl {
		if p.xl, err = xlPackages.fetch(ctx, progress); err != nil {
			return parts{}, err
		}
	}
	if installed, err := exec.LookPath("qemu-system-x86_64"); err == nil {
		p.qemu = []string{installed}
		return p, nil
	}
	if root, err = qemuPackages.fetch(ctx, progress); err != nil {
		return parts{}, err
	}
	p.qemu = fetchedQEMU(root)
	p.qemuEnv = []string{"QEMU_MODULE_DIR=" + filepath.Join(root, "usr", "lib", "x86_64-linux-gnu", "qemu")}
	return p, nil
}

// fetchedQEMU starts the fetched QEMU with the libraries fetched with it, C library included, by
// naming their loader: nothing depends on what this machine has.
func fetchedQEMU(root string) []string {
	libraries := ""
	for _, folder := range libraryFolders {
		libraries += filepath.Join(root, folder) + ":"
	}
	return []string{
		filepath.Join(root, "lib", "x86_64-linux-gnu", "ld-linux-x86-64.so.2"),
		"--library-path", libraries[:len(libraries)-1],
		filepath.Join(root, "usr", "bin", "qemu-system-x86_64"),
		"-L", filepath.Join(root, "usr", "share", "qemu"),
		"-L", filepath.Join(root, "usr", "share", "seabios"),
		"-L", filepath.Join(root, "usr", "lib", "ipxe", "qemu"),
	}
}

// libraryFolders hold shared libraries in a tree of unpacked Debian packages.
var libraryFolders = []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"}

func newest(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("lab: %s: not in the package: remove the folder and try again", pattern)
	}
	sort.Strings(found)
	return found[len(found)-1], nil
}

// gunzipBeside unpacks name.gz to name, once: QEMU's multiboot loader takes no compressed image.
func gunzipBeside(packed string) (string, error) {
	name := packed[:len(packed)-len(".gz")]
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	err := func() error {
		in, err := os.Open(packed)
		if err != nil {
			return err
		}
		defer in.Close()
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return err
		}
		out, err := os.CreateTemp(filepath.Dir(name), "xen-*")
		if err != nil {
			return err
		}
		defer os.Remove(out.Name())
		defer out.Close()
		if _, err := io.Copy(out, unpacked); err != nil {
			return err
		}
		return os.Rename(out.Name(), name)
	}()
	if err != nil {
		return "", fmt.Errorf("lab: unpack Xen: %w", err)
	}
	return name, nil
}

// libraries returns the shared libraries, and the loader, that a dynamic program needs, by the path
// they have under root.
func libraries(root string, programs []string) (map[string]string, error) {
	found := map[string]string{}
	var visit func(path string) error
	visit = func(path string) error {
		f, err := elf.Open(path)
		if err != nil {
			return fmt.Errorf("lab: %s: %w", path, err)
		}
		needed, err := f.ImportedLibraries()
		f.Close()
		if err != nil {
			return fmt.Errorf("lab: %s: %w", path, err)
		}
		for _, library := range needed {
			at, ok := findLibrary(root, library)
			if !ok {
				return fmt.Errorf("lab: %s needs %s: not in its packages", path, library)
			}
			if _, known := found["/"+at]; known {
				continue
			}
			found["/"+at] = filepath.Join(root, at)
			if err := visit(filepath.Join(root, at)); err != nil {
				return err
			}
		}
		return nil
	}
	for _, program := range programs {
		if err := visit(program); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func findLibrary(root, library string) (string, bool) {
	for _, folder := range libraryFolders {
		at := filepath.Join(folder, library)
		if _, err := os.Stat(filepath.Join(root, at)); err == nil {
			return at, true
		}
	}
	return "", false
}
