package privcmd

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// Hypercall numbers. Source: xen/include/public/xen.h.
const (
	hvMemoryOp       = 12
	hvXenVersion     = 17
	hvMMUExtOp       = 26
	hvEventChannelOp = 32
	hvSysctl         = 35
	hvDomctl         = 36
)

// Requests of /dev/xen/privcmd. Source: include/uapi/xen/privcmd.h of Linux.
const (
	ioctlHypercall   = unsafe.Sizeof(hypercallArg{})<<16 | 'P'<<8 | 0
	ioctlMMapBatchV2 = unsafe.Sizeof(mmapBatch{})<<16 | 'P'<<8 | 4
)

// hypercallArg is struct privcmd_hypercall.
type hypercallArg struct {
	Op  uint64
	Arg [5]uint64
}

// Error is a hypercall or a request to a Xen device that failed.
type Error struct {
	Call  string // e.g. "domctl createdomain"
	Errno unix.Errno
}

func (e *Error) Error() string {
	s := fmt.Sprintf("%s: %s (%s)", e.Call, unix.ErrnoName(e.Errno), e.Errno.Error())
	switch e.Errno {
	case unix.EPERM, unix.EACCES:
		s += ": kxsh must be root in Xen's control domain"
	case unix.ENOSYS:
		s += ": this Xen was built without it"
	}
	return s
}

// Unwrap lets errors.Is find the errno, and ErrNoMemory and ErrNoDomain by what they mean to Xen.
func (e *Error) Unwrap() []error {
	switch e.Errno {
	case unix.ENOMEM:
		return []error{e.Errno, xen.ErrNoMemory}
	case unix.ESRCH:
		return []error{e.Errno, xen.ErrNoDomain}
	}
	return []error{e.Errno}
}

// conn is an open way to Xen. Every user holds it; the last one to let go closes it, so that a
// domain can still be destroyed and released when its Hypervisor is closed.
type conn struct {
	privcmd, hypercall int // descriptors
	version            version

	mu   sync.Mutex
	refs int
	free [2][][]byte // resident buffers that nobody uses, by class

	// inject, if not nil, may make a call fail in place of Xen; for tests.
	inject func(call string) unix.Errno
}

// dial opens the devices. The descriptors are not for children.
func dial() (*conn, error) {
	c := &conn{refs: 1, hypercall: -1}
	var err error
	if c.privcmd, err = unix.Open("/dev/xen/privcmd", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return nil, deviceError("/dev/xen/privcmd", "xen-privcmd", err)
	}
	if c.hypercall, err = unix.Open("/dev/xen/hypercall", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		unix.Close(c.privcmd)
		return nil, deviceError("/dev/xen/hypercall", "xen-privcmd", err)
	}
	return c, nil
}

// deviceError says what to do about a device that does not open.
func deviceError(path, module string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s: %w: not Xen's control domain, or modprobe %s is missing", path, err, module)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w: be root", path, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

func (c *conn) retain() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refs++
	return c
}

func (c *conn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refs--; c.refs > 0 {
		return
	}
	for _, class := range c.free {
		for _, b := range class {
			unix.Munmap(b)
		}
	}
	closeAll(c.privcmd, c.hypercall)
}

func closeAll(fds ...int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// call makes a hypercall; memory that its arguments point to must be resident (see buffer). name is
// for the error.
func (c *conn) call(name string, op uint64, args ...uint64) (int64, error) {
	if c.inject != nil {
		if errno := c.inject(name); errno != 0 {
			return 0, &Error{name, errno}
		}
	}
	h := hypercallArg{Op: op}
	copy(h.Arg[:], args)
	for {
		r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(c.privcmd), ioctlHypercall, uintptr(unsafe.Pointer(&h)))
		switch errno {
		case 0:
			return int64(r), nil
		case unix.EINTR, unix.EAGAIN, unix.ERESTART:
			// A long operation that wants to be continued.
			runtime.Gosched()
		default:
			return 0, &Error{name, errno}
		}
	}
}

// Sizes of resident buffers, in bytes: one for structs, one for lists of frames.
var bufferSizes = [2]int{16 << 10, batchFrames*8 + 4096}

// batchFrames is how many frames one hypercall is given at most.
const batchFrames = 16384

// buffer returns n zero bytes of memory that is always resident, as hypercalls need it: Xen copies
// from the caller's address space and cannot bring pages in. The second result gives it back.
func (c *conn) buffer(n int) ([]byte, func(), error) {
	class := 0
	if n > bufferSizes[0] {
		class = 1
	}
	if n > bufferSizes[1] {
		return nil, nil, fmt.Errorf("hypercall buffer of %d bytes: at most %d", n, bufferSizes[1])
	}
	c.mu.Lock()
	var b []byte
	if last := len(c.free[class]) - 1; last >= 0 {
		b = c.free[class][last]
		c.free[class] = c.free[class][:last]
	}
	c.mu.Unlock()
	if b == nil {
		var err error
		b, err = unix.Mmap(c.hypercall, 0, bufferSizes[class], unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return nil, nil, os.NewSyscallError("mmap /dev/xen/hypercall", err)
		}
	}
	clear(b[:n])
	return b[:n], func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.free[class] = append(c.free[class], b)
	}, nil
}

// address is where a resident buffer is, for a hypercall's argument.
func address(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(&b[0]))) }

// bytesOf is the memory of a struct.
func bytesOf[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

// withStruct makes a hypercall with a copy of *v in resident memory, and copies back what it became.
func withStruct[T any](c *conn, v *T, call func(at uint64) error) error {
	b, done, err := c.buffer(int(unsafe.Sizeof(*v)))
	if err != nil {
		return err
	}
	defer done()
	copy(b, bytesOf(v))
	err = call(address(b))
	copy(bytesOf(v), b)
	return err
}
