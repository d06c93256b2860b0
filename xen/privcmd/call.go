package privcmd

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Hypercall numbers. Source: xen/include/public/xen.h.
const (
	hvMMUUpdate      = 1
	hvMemoryOp       = 12
	hvMulticall      = 13
	hvXenVersion     = 17
	hvGrantTableOp   = 20
	hvMMUExtOp       = 26
	hvEventChannelOp = 32
	hvSysctl         = 35
	hvDomctl         = 36
)

// hypercallArg is struct privcmd_hypercall.
type hypercallArg struct {
	Op  uint64
	Arg [5]uint64
}

// conn is an open way to Xen. Every user holds it; the last one to let go closes it, so that a
// domain can still be destroyed and released when its Hypervisor is closed.
type conn struct {
	devices
	privcmd, hypercall int // descriptors
	version            version

	mu   sync.Mutex
	refs int
	free [2][][]byte // resident buffers that nobody uses, by class
}

// dial opens the devices.
func dial() (*conn, error) {
	c := &conn{refs: 1, hypercall: -1}
	var err error
	if c.privcmd, err = openDevice(privcmdPath, "xen-privcmd", 0); err != nil {
		return nil, err
	}
	if c.hypercall, err = openDevice(hypercallPath, "xen-privcmd", 0); err != nil {
		unix.Close(c.privcmd)
		return nil, err
	}
	return c, nil
}

const (
	privcmdPath   = "/dev/xen/privcmd"
	hypercallPath = "/dev/xen/hypercall"
)

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
			c.munmap(b)
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
	h := hypercallArg{Op: op}
	copy(h.Arg[:], args)
	r, err := c.ioctl(name, c.privcmd, ioctlHypercall, unsafe.Pointer(&h))
	return int64(r), err
}

// multi makes several hypercalls in one, all of them whatever becomes of one. i is the first that failed, and name is for its error.
func (c *conn) multi(name string, ops []multicall) (i int, err error) {
	b, release, err := c.buffer(len(ops) * int(unsafe.Sizeof(multicall{})))
	if err != nil {
		return 0, err
	}
	defer release()
	list := unsafe.Slice((*multicall)(unsafe.Pointer(&b[0])), len(ops))
	copy(list, ops)
	if _, err := c.call(name, hvMulticall, address(b), uint64(len(ops))); err != nil {
		return 0, err
	}
	for i := range list {
		if r := list[i].Result; r != 0 {
			return i, &Error{name, unix.Errno(-r)}
		}
	}
	return 0, nil
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
		if b, err = c.mmap(hypercallPath, c.hypercall, 0, bufferSizes[class], protWrite); err != nil {
			return nil, nil, err
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
