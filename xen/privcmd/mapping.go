package privcmd

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// mapFrames maps frames of a domain, one after the other. The mapping can only be unmapped whole
// (Linux: a part is EINVAL), and while it is there the frames are not freed.
func (c *conn) mapFrames(id xen.DomID, mfns []uint64, prot int) ([]byte, error) {
	const name = "privcmd mmapbatch"
	if len(mfns) == 0 {
		return nil, nil
	}
	area, err := c.mmap(privcmdPath, c.privcmd, 0, len(mfns)*pageSize, prot)
	if err != nil {
		return nil, err
	}
	errs := make([]int32, len(mfns))
	b := mmapBatch{
		Num: uint32(len(mfns)), Dom: uint16(id), Addr: uint64(uintptr(unsafe.Pointer(&area[0]))),
		Arr: uint64(uintptr(unsafe.Pointer(&mfns[0]))), Err: uint64(uintptr(unsafe.Pointer(&errs[0]))),
	}
	var pin runtime.Pinner
	pin.Pin(&mfns[0])
	pin.Pin(&errs[0])
	_, err = c.ioctl(name, c.privcmd, ioctlMMapBatchV2, unsafe.Pointer(&b))
	pin.Unpin()
	for i, e := range errs {
		if e != 0 {
			c.munmap(area)
			return nil, fmt.Errorf("map frame %#x of domain %d: %w", mfns[i], id, &Error{name, unix.Errno(-e)})
		}
	}
	if err != nil {
		c.munmap(area)
		return nil, err
	}
	return area, nil
}

// withFrames maps frames for as long as f runs.
func (c *conn) withFrames(id xen.DomID, mfns []uint64, prot int, f func(area []byte) error) error {
	area, err := c.mapFrames(id, mfns, prot)
	if err != nil || area == nil {
		return err
	}
	err = f(area)
	if e := c.munmap(area); err == nil && e != nil {
		err = fmt.Errorf("unmap frames of domain %d: %w", id, e)
	}
	return err
}

const (
	protRead  = unix.PROT_READ
	protWrite = unix.PROT_READ | unix.PROT_WRITE
)

// write writes bytes to frames of a domain, from the first one's begin on.
func (c *conn) write(id xen.DomID, mfns []uint64, p []byte) error {
	for len(p) > 0 {
		n := min(pagesOf(uint64(len(p))), batchFrames)
		err := c.withFrames(id, mfns[:n], protWrite, func(area []byte) error {
			p = p[copy(area, p):]
			return nil
		})
		if err != nil {
			return err
		}
		mfns = mfns[n:]
	}
	return nil
}
