package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kxsh/xen"
	"kxsh/xen/fake"
	"kxsh/xen/xentest"
)

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, bytes string) string {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+bytes); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func fillUp(t *testing.T, dir string) (free func()) {
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 4096); err == nil; {
		_, err = f.Write(b)
	}
	f.Close()
	return func() { os.Remove(f.Name()) }
}

// A full disk is said with the mend, and harms no store.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "512k")
	open := func() (*Engine, error) {
		host := fake.NewHost(programs)
		return New(Options{Open: func(first xen.DomID) (xen.Hypervisor, error) { return host.Open(first), nil }, State: dir})
	}
	free := fillUp(t, dir)
	_, err := open()
	if err == nil || !strings.HasPrefix(err.Error(), "state folder "+dir+": ") || !strings.HasSuffix(err.Error(), ": make room, or name another folder with --state") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a new store: %v", err)
	}
	free()
	e, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "engine.db.damaged")); err == nil {
		t.Error("the store was taken for damaged")
	}
	pid := launch(t, e, "hello")
	wait(t, e, pid)
	free = fillUp(t, dir)
	for range 100 { // until bbolt needs another page
		if _, err = e.Run(context.Background(), RunRequest{Image: xentest.GuestPath(t), Args: []string{"hello"}}); err != nil {
			break
		}
	}
	if err == nil || !strings.HasSuffix(err.Error(), ": make room in the state folder (see info)") {
		t.Errorf("run: %v", err)
	}
	e.Shutdown(context.Background(), true)
	e.Stop()
	free()
	if e, err = open(); err != nil {
		t.Fatal(err)
	}
	if x := wait(t, e, pid); x.Code != 3 {
		t.Errorf("after all that: %+v", x)
	}
	e.Stop()
}
