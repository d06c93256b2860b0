package privcmd

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// Requests of /dev/xen/privcmd. Source: include/uapi/xen/privcmd.h of Linux.
const (
	ioctlHypercall   = unsafe.Sizeof(hypercallArg{})<<16 | 'P'<<8 | 0
	ioctlMMapBatchV2 = unsafe.Sizeof(mmapBatch{})<<16 | 'P'<<8 | 4
)

// Error is a hypercall or a request to a Xen device that failed.
type Error struct {
	Call  string // e.g. "domctl createdomain"
	Errno unix.Errno
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s (%s)", e.Call, unix.ErrnoName(e.Errno), e.Errno.Error())
	switch {
	case e.Errno == unix.EPERM, e.Errno == unix.EACCES:
		s += ": kxsh must be root in Xen's control domain, elsewhere --hypervisor hosted needs no Xen"
	case e.Errno == unix.ENOSYS:
		s += ": this Xen was built without it"
	case e.noNumber():
		s += ": Xen has no memory or no number left for a domain: end a pVM"
	case e.Errno == unix.ENOMEM:
		s += ": end a pVM, or give dom0 less memory"
	case e.Errno == unix.ENOSPC:
		s += ": none is left: end a pVM"
	}
	return s
}

// noNumber tells whether Xen may have refused a domain because all numbers are taken: ENOMEM, and from
// 4.21 on EEXIST (xen/common/domctl.c).
func (e *Error) noNumber() bool {
	return e.Call == "domctl "+domctlNames[domctlCreate] && (e.Errno == unix.ENOMEM || e.Errno == unix.EEXIST)
}

// Unwrap lets errors.Is find the errno, and ErrNoMemory and ErrNoDomain by what they mean to Xen.
func (e *Error) Unwrap() []error {
	switch {
	case e.Errno == unix.ENOMEM, e.noNumber():
		return []error{e.Errno, xen.ErrNoMemory}
	case e.Errno == unix.ESRCH:
		return []error{e.Errno, xen.ErrNoDomain}
	}
	return []error{e.Errno}
}

// openDevice opens a device of Xen; the descriptor is not for children.
func openDevice(path, module string, flags int) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|flags, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return -1, fmt.Errorf("%s: %w: not Xen's control domain, or modprobe %s is missing: --hypervisor hosted needs no Xen", path, err, module)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return -1, fmt.Errorf("%s: %w: be root, or use --hypervisor hosted", path, err)
	case err != nil:
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	return fd, nil
}

// devices is the one way to make a request of a device, so that a test can have any of them fail.
type devices struct {
	// inject, if not nil, may make a request fail in place of Linux and Xen; for tests.
	inject atomic.Pointer[func(call string) unix.Errno]
}

func (d *devices) injected(name string) error {
	if inject := d.inject.Load(); inject != nil {
		if errno := (*inject)(name); errno != 0 {
			return &Error{name, errno}
		}
	}
	return nil
}

// ioctl makes a request; name is for the error.
func (d *devices) ioctl(name string, fd int, request uintptr, arg unsafe.Pointer) (uintptr, error) {
	if err := d.injected(name); err != nil {
		return 0, err
	}
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
		switch errno {
		case 0:
			return r, nil
		case unix.EINTR, unix.EAGAIN, unix.ERESTART:
			// A long operation that wants to be continued.
			runtime.Gosched()
		default:
			return 0, &Error{name, errno}
		}
	}
}

// mmap maps a device from an offset on; path is for the error.
func (d *devices) mmap(path string, fd int, offset int64, size, prot int) ([]byte, error) {
	name := "mmap " + path
	if err := d.injected(name); err != nil {
		return nil, err
	}
	area, err := unix.Mmap(fd, offset, size, prot, unix.MAP_SHARED)
	if errno := unix.Errno(0); errors.As(err, &errno) {
		return nil, &Error{name, errno}
	}
	return area, err
}

// munmap undoes mmap.
func (d *devices) munmap(area []byte) error {
	return again(func() error {
		if err := d.injected("munmap"); err != nil {
			return err
		}
		return os.NewSyscallError("munmap", unix.Munmap(area))
	})
}

// again repeats what would leave something behind if it failed, and for which nobody could do anything
// else: it may have failed for want of memory, for a moment. What is not there needs no end.
func again(f func() error) error {
	const times, pause = 5, time.Millisecond
	for i := 1; ; i++ {
		err := f()
		if err == nil || i == times || errors.Is(err, xen.ErrNoDomain) || errors.Is(err, os.ErrClosed) {
			return err
		}
		time.Sleep(pause)
	}
}
