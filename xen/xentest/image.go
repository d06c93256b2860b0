package xentest

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"kxsh/elf"
	"kxsh/xen"
)

var guest struct {
	sync.Once
	path string
	err  error
}

// GuestEnv is the environment variable that names an image of the test guests built before.
const GuestEnv = "KX_XENTEST_GUEST"

// GuestPath builds the test guests, once, and returns the image's path. It needs gcc and make, as
// all of kxsh's guest side does.
func GuestPath(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(GuestEnv); path != "" {
		return path
	}
	guest.Do(func() {
		dir, err := os.MkdirTemp("", "kx-xentest-")
		if err != nil {
			guest.err = err
			return
		}
		guest.path = filepath.Join(dir, "guest.kx")
		cmd := exec.Command("make", "-s", "-C", filepath.Join(moduleRoot(), "xen/xentest/guest"), "OUT="+guest.path)
		cmd.Stderr = os.Stderr
		guest.err = cmd.Run()
	})
	if guest.err != nil {
		t.Fatalf("building the test guests: %v", guest.err)
	}
	return guest.path
}

// moduleRoot is the folder of go.mod above the current one, where go test runs a package's tests: the names of source
// files are not there in what -trimpath builds.
func moduleRoot() string {
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return "."
}

// RemoveGuest deletes what GuestPath built; for TestMain.
func RemoveGuest() {
	if guest.path != "" {
		os.RemoveAll(filepath.Dir(guest.path))
	}
}

// PrepareGuest prepares the test guests on a real hypervisor.
func PrepareGuest(t testing.TB, hv xen.Hypervisor) xen.Image {
	t.Helper()
	f, err := os.Open(GuestPath(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	img, err := elf.ParseImage(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	im, err := hv.Prepare(img, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}
