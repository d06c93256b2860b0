package privcmd

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// TestErrors holds what people are told about a request that failed: which, with what, and what to do.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		call  string
		errno unix.Errno
		want  string
		is    error
	}{
		{"domctl createdomain", unix.ENOMEM, "ENOMEM (cannot allocate memory): Xen has no memory or no number left for a domain: end a pVM", xen.ErrNoMemory},
		{"domctl createdomain", unix.EEXIST, "EEXIST (file exists): Xen has no memory or no number left for a domain: end a pVM", xen.ErrNoMemory},
		{"domctl createdomain", unix.EPERM, "EPERM (operation not permitted): kxsh must be root in Xen's control domain, elsewhere --hypervisor hosted needs no Xen", unix.EPERM},
		{"domctl max_vcpus", unix.ENOMEM, "ENOMEM (cannot allocate memory): end a pVM, or give dom0 less memory", xen.ErrNoMemory},
		{"domctl pausedomain", unix.ESRCH, "ESRCH (no such process)", xen.ErrNoDomain},
		{"evtchn bind_interdomain", unix.ENOSPC, "ENOSPC (no space left on device): none is left: end a pVM", unix.ENOSPC},
		{"mmap /dev/xen/privcmd", unix.ENOSYS, "ENOSYS (function not implemented): this Xen was built without it", unix.ENOSYS},
		{"domctl createdomain", unix.EINVAL, "EINVAL (invalid argument)", unix.EINVAL},
	} {
		err := &Error{c.call, c.errno}
		if got := err.Error(); got != c.call+": "+c.want || !errors.Is(err, c.is) || !errors.Is(err, c.errno) {
			t.Errorf("%s", got)
		}
	}
	if errors.Is(&Error{"domctl max_vcpus", unix.EEXIST}, xen.ErrNoMemory) {
		t.Error("EEXIST means something else elsewhere")
	}
}

// TestNoDevice opens devices that are not there, or not for us.
func TestNoDevice(t *testing.T) {
	_, err := openDevice("/dev/xen/no-such-device", "xen-module", 0)
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "not Xen's control domain, or modprobe xen-module") {
		t.Error(err)
	}
	if _, err = openDevice(os.DevNull+"/x", "m", 0); !errors.Is(err, unix.ENOTDIR) || !strings.Contains(err.Error(), os.DevNull) {
		t.Error(err)
	}
}

// TestAgain holds how often what must not fail is tried.
func TestAgain(t *testing.T) {
	for _, c := range []struct {
		err          error
		fails, tries int
		want         error
	}{
		{nil, 0, 1, nil},
		{unix.ENOMEM, 1, 2, nil},
		{unix.ENOMEM, 100, 5, unix.ENOMEM},
		{xen.ErrNoDomain, 100, 1, xen.ErrNoDomain},
		{os.ErrClosed, 100, 1, os.ErrClosed},
	} {
		tries := 0
		err := again(func() error {
			if tries++; tries <= c.fails {
				return c.err
			}
			return nil
		})
		if err != c.want || tries != c.tries {
			t.Errorf("%v, %d times: %v after %d", c.err, c.fails, err, tries)
		}
	}
}
