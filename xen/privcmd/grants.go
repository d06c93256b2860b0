package privcmd

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

const gntdevPath = "/dev/xen/gntdev"

// Requests of /dev/xen/gntdev. Source: include/uapi/xen/gntdev.h of Linux.
const (
	ioctlMapGrants   = 24<<16 | 'G'<<8 | 0
	ioctlUnmapGrants = unsafe.Sizeof(unmapGrants{})<<16 | 'G'<<8 | 1
)

// grantRef is struct ioctl_gntdev_grant_ref.
type grantRef struct{ Domain, Ref uint32 }

// mapGrants is struct ioctl_gntdev_map_grant_ref, before refs.
type mapGrants struct {
	Count uint32
	_     uint32
	Index uint64 // out: offset to mmap at
}

// unmapGrants is struct ioctl_gntdev_unmap_grant_ref.
type unmapGrants struct {
	Index uint64
	Count uint32
	_     uint32
}

// maxGrants is how many grants are mapped at once at most; Linux's own limit is higher.
const maxGrants = 256

// mapGrants maps pages that a domain lets the host have, one after the other: for what a domain offers
// by itself, where dom0 would otherwise have to know its frames. The second result unmaps them;
// while they are mapped the domain cannot end for good. A page that was granted read-only needs
// protRead.
func (c *conn) mapGrants(id xen.DomID, refs []uint32, prot int) (_ []byte, _ func() error, err error) {
	if len(refs) == 0 || len(refs) > maxGrants {
		return nil, nil, fmt.Errorf("grants of domain %d: %d: must be 1 to %d", id, len(refs), maxGrants)
	}
	fd, err := openDevice(gntdevPath, "xen-gntdev", 0)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(fd) // the mapping stays
	// Linux reads as many references as Count says.
	var arg struct {
		mapGrants
		refs [maxGrants]grantRef
	}
	arg.Count = uint32(len(refs))
	for i, ref := range refs {
		arg.refs[i] = grantRef{uint32(id), ref}
	}
	if _, err := c.ioctl("gntdev map_grant_ref", fd, ioctlMapGrants, unsafe.Pointer(&arg)); err != nil {
		return nil, nil, fmt.Errorf("grants of domain %d: %w", id, err)
	}
	area, err := c.mmap(gntdevPath, fd, int64(arg.Index), len(refs)*pageSize, prot)
	if err != nil {
		return nil, nil, fmt.Errorf("grants of domain %d: %w", id, err)
	}
	// From here on Linux holds the grants for as long as they are mapped, and no longer.
	u := unmapGrants{Index: arg.Index, Count: arg.Count}
	if _, err := c.ioctl("gntdev unmap_grant_ref", fd, ioctlUnmapGrants, unsafe.Pointer(&u)); err != nil {
		c.munmap(area)
		return nil, nil, fmt.Errorf("grants of domain %d: %w", id, err)
	}
	return area, func() error { return c.munmap(area) }, nil
}

const grantQuerySize = 6 // GNTTABOP_query_size

// grantFrames is how large a domain's grant table is.
func (c *conn) grantFrames(id xen.DomID) (grantSize, error) {
	s := grantSize{Dom: uint16(id)}
	err := withStruct(c, &s, func(at uint64) error {
		_, err := c.call("grant_table_op query_size", hvGrantTableOp, grantQuerySize, at, 1)
		return err
	})
	if err == nil && s.Status != 0 {
		err = fmt.Errorf("grant_table_op query_size: status %d", s.Status)
	}
	return s, err
}
