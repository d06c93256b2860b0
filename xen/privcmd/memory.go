package privcmd

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"kxsh/xen"
)

const (
	memoryDecrease = 1 // XENMEM_decrease_reservation
	memoryPopulate = 6 // XENMEM_populate_physmap
)

// superOrder is the size of extents in which Xen is asked for memory first: 2 MiB, hundreds of times
// faster than page by page.
const superOrder = 9

// populate gives a domain frames, one for each of mfns, which receives their machine frame numbers;
// frame i of the domain is mfns[i].
func (c *conn) populate(id xen.DomID, mfns []uint64) error {
	done, err := 0, error(nil)
	// What is left, and what Xen has no large extents for, comes in smaller ones.
	for order := superOrder; order >= 0 && err == nil; order -= 3 {
		done, err = c.populateOrder(id, mfns, done, uint(order))
	}
	if err == nil && done < len(mfns) {
		err = fmt.Errorf("memory_op populate_physmap: %d of %d frames: %w: end a pVM, or give dom0 less memory", done, len(mfns), xen.ErrNoMemory)
	}
	return err
}

// clearFrames fills frames of a domain with zeroes.
func (c *conn) clearFrames(id xen.DomID, mfns []uint64) error {
	ops := make([]mmuExtOp, len(mfns))
	for i := range ops {
		ops[i] = mmuExtOp{Cmd: mmuClearPage, Arg1: mfns[i]}
	}
	return c.mmuExt("clear_page", id, ops)
}

// takeBack takes a frame from a domain; it is free once nobody maps it any more.
func (c *conn) takeBack(id xen.DomID, mfn uint64) error {
	head := int(unsafe.Sizeof(memoryReservation{}))
	b, done, err := c.buffer(head + 8)
	if err != nil {
		return err
	}
	defer done()
	binary.LittleEndian.PutUint64(b[head:], mfn)
	*(*memoryReservation)(unsafe.Pointer(&b[0])) = memoryReservation{ExtentStart: address(b[head:]), NrExtents: 1, DomID: uint16(id)}
	_, err = c.call("memory_op decrease_reservation", hvMemoryOp, memoryDecrease, address(b))
	return err
}

// populateOrder gives frames from first on in extents of 1<<order, as far as there are any; the result
// is the first frame that the domain does not have.
func (c *conn) populateOrder(id xen.DomID, mfns []uint64, first int, order uint) (int, error) {
	head := int(unsafe.Sizeof(memoryReservation{}))
	extents := (len(mfns) - first) >> order
	b, done, err := c.buffer(head + 8*min(extents, batchFrames))
	if err != nil {
		return first, err
	}
	defer done()
	list := b[head:]
	for extents > 0 {
		n := min(extents, batchFrames)
		for i := range n {
			binary.LittleEndian.PutUint64(list[8*i:], uint64(first+i<<order))
		}
		*(*memoryReservation)(unsafe.Pointer(&b[0])) = memoryReservation{
			ExtentStart: address(list), NrExtents: uint64(n), ExtentOrder: uint32(order), DomID: uint16(id),
		}
		got, err := c.call("memory_op populate_physmap", hvMemoryOp, memoryPopulate, address(b))
		if err != nil {
			return first, err
		}
		got = min(max(got, 0), int64(n))
		for i := range int(got) {
			base := binary.LittleEndian.Uint64(list[8*i:])
			for k := range 1 << order {
				mfns[first] = base + uint64(k)
				first++
			}
		}
		if got < int64(n) {
			break
		}
		extents -= n
	}
	return first, nil
}
