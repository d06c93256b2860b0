package privcmd

import (
	"fmt"
	"unsafe"

	"kxsh/xen"
)

// mmuExt makes operations on the page tables and frames of a domain.
func (c *conn) mmuExt(name string, id xen.DomID, ops []mmuExtOp) error {
	_, err := batches(c, ops, func(at, n uint64) error {
		_, err := c.call("mmuext_op "+name, hvMMUExtOp, at, n, 0, uint64(id))
		return err
	})
	return err
}

// domidSelf is DOMID_SELF of public/xen.h.
const domidSelf xen.DomID = 0x7ff0

// mmuUpdates writes entries of the page tables of a domain, which may be running: its tables must be
// pinned, or the table that is written at least. owner is whose the frames are that the entries
// name; for domidSelf, which is the host, they may be anybody's, in one batch. Xen counts each frame
// as mapped there: its owner's end waits for the entry to go. The domain may replace such an entry by
// one for a frame of its own, but can neither make it writable nor map the frame elsewhere.
//
// Xen does not flush the domain's TLB: pause and unpause it around the call, or rewrite an entry of a level
// above. The result is how many entries were written; those after a failure were not.
//
// Source: do_mmu_update in xen/arch/x86/mm.c; public/xen.h: "foreigndom", bits 31:16 are the tables' owner
// plus 1.
func (c *conn) mmuUpdates(tables, owner xen.DomID, ops []mmuUpdate) (int, error) {
	b, release, err := c.buffer(8)
	if err != nil {
		return 0, err
	}
	defer release()
	written := (*uint32)(unsafe.Pointer(&b[0]))
	done, err := batches(c, ops, func(at, n uint64) error {
		_, err := c.call("mmu_update", hvMMUUpdate, at, n, address(b), uint64(tables+1)<<16|uint64(owner))
		return err
	})
	if err != nil {
		return done + int(*written), fmt.Errorf("page tables of domain %d: %w", tables, err)
	}
	return done, nil
}

// mmuUpdatesFlushed is mmuUpdates for entries that name frames of their own domain, which is paused meanwhile: that flushes its TLB. For Xen each batch is
// one call, so that an engine that is killed leaves no domain paused.
func (c *conn) mmuUpdatesFlushed(id xen.DomID, ops []mmuUpdate) error {
	b, done, err := c.buffer(2 * ctlSize)
	if err != nil {
		return err
	}
	defer done()
	pause, unpause := b, b[ctlSize:]
	*(*domctlHeader)(unsafe.Pointer(&pause[0])) = domctlHeader{Cmd: domctlPause, Version: c.version.domctl, Domain: uint16(id)}
	*(*domctlHeader)(unsafe.Pointer(&unpause[0])) = domctlHeader{Cmd: domctlUnpause, Version: c.version.domctl, Domain: uint16(id)}
	_, err = batches(c, ops, func(at, n uint64) error {
		_, err := c.multi("mmu_update", []multicall{
			{Op: hvDomctl, Arg: [6]uint64{address(pause)}},
			{Op: hvMMUUpdate, Arg: [6]uint64{at, n, 0, uint64(id+1)<<16 | uint64(id)}},
			{Op: hvDomctl, Arg: [6]uint64{address(unpause)}},
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("page tables of domain %d: %w", id, err)
	}
	return nil
}

// batches gives a list of operations to call in resident memory, as many at a time as fit; the result
// is how many were in calls that worked.
func batches[T any](c *conn, ops []T, call func(at, n uint64) error) (int, error) {
	size := int(unsafe.Sizeof(*new(T)))
	batch := min(len(ops), bufferSizes[1]/size)
	b, release, err := c.buffer(size * batch)
	if err != nil {
		return 0, err
	}
	defer release()
	for done := 0; ; {
		n := min(len(ops)-done, batch)
		if n == 0 {
			return done, nil
		}
		copy(unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n), ops[done:done+n])
		if err := call(address(b), uint64(n)); err != nil {
			return done, err
		}
		done += n
	}
}
