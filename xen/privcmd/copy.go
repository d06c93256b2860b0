package privcmd

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

const (
	hvMulticall     = 13
	hvUpdateVAOther = 22 // update_va_mapping_otherdomain
	uvmfTLBFlush    = 1
	uvmfAll         = 4

	// copyFrames is how many frames are copied at once.
	copyFrames = 512
	// pteSpecial is Linux's _PAGE_SPECIAL, which a mapping of what is not its memory has: without it munmap
	// would look for a struct page.
	pteSpecial = 1 << 9
)

// multicall is struct multicall_entry of public/xen.h.
type multicall struct {
	Op     uint64
	Result int64
	Arg    [6]uint64
}

// copier copies frames from domain to domain. Linux takes 1.2 µs to map a frame of a domain and 4 to unmap it, since Xen
// emulates its write to the page table. So Linux maps a window once, and from then on Xen is asked to change the
// entries: a frame in 0.7 µs, and the next one in its place. Between copies there are none, so that the window keeps no
// domain's frames; Linux does not miss them.
type copier struct {
	mu     sync.Mutex
	window []byte // sources, then targets
}

func (w *copier) close(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.window != nil {
		c.munmap(w.window)
		w.window = nil
	}
}

// copy copies frames of one domain to as many of another.
func (w *copier) copy(c *conn, source xen.DomID, from []uint64, target xen.DomID, to []uint64) (err error) {
	if len(from) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.window == nil {
		if err := w.open(c, source, from[0]); err != nil {
			return err
		}
	}
	used := 0
	for len(from) > 0 && err == nil {
		n := min(len(from), copyFrames)
		used = max(used, n)
		if err = w.point(c, source, from[:n], target, to[:n]); err == nil {
			copy(w.window[copyFrames*pageSize:][:n*pageSize], w.window)
		}
		from, to = from[n:], to[n:]
	}
	if e := again(func() error { return w.empty(c, used) }); err == nil {
		err = e
	}
	return err
}

// open makes the window; any frame of a domain will do to have Linux make its page tables.
func (w *copier) open(c *conn, id xen.DomID, mfn uint64) (err error) {
	all := make([]uint64, 2*copyFrames)
	for i := range all {
		all[i] = mfn
	}
	if w.window, err = c.mapFrames(id, all, protRead); err != nil {
		return err
	}
	if err := w.empty(c, copyFrames); err != nil {
		c.munmap(w.window)
		w.window = nil
		return err
	}
	return nil
}

// point lets the window's pages be the frames.
func (w *copier) point(c *conn, source xen.DomID, from []uint64, target xen.DomID, to []uint64) error {
	const flags = pteBase | pteSpecial | pteNX
	ops := make([]multicall, 0, 2*len(from))
	for i := range from {
		ops = append(ops, w.op(i, from[i]<<pageShift|flags, source), w.op(copyFrames+i, to[i]<<pageShift|flags|pteWrite, target))
	}
	return w.update(c, ops)
}

// empty takes n sources and targets out of the window.
func (w *copier) empty(c *conn, n int) error {
	ops := make([]multicall, 0, 2*n)
	for i := range n {
		ops = append(ops, w.op(i, 0, domidSelf), w.op(copyFrames+i, 0, domidSelf))
	}
	return w.update(c, ops)
}

func (w *copier) op(page int, entry uint64, owner xen.DomID) multicall {
	at := uint64(uintptr(unsafe.Pointer(&w.window[page*pageSize])))
	return multicall{Op: hvUpdateVAOther, Arg: [6]uint64{at, entry, 0, uint64(owner)}}
}

// update writes entries of this process's own page tables, and has every CPU forget the old ones.
func (w *copier) update(c *conn, ops []multicall) error {
	const name = "update_va_mapping_otherdomain"
	if len(ops) == 0 {
		return nil
	}
	ops[len(ops)-1].Arg[2] = uvmfTLBFlush | uvmfAll
	b, release, err := c.buffer(len(ops) * int(unsafe.Sizeof(multicall{})))
	if err != nil {
		return err
	}
	defer release()
	list := unsafe.Slice((*multicall)(unsafe.Pointer(&b[0])), len(ops))
	copy(list, ops)
	if _, err := c.call(name, hvMulticall, address(b), uint64(len(ops))); err != nil {
		return err
	}
	for i := range list {
		if r := list[i].Result; r != 0 {
			return fmt.Errorf("frame %#x of domain %d: %w", ops[i].Arg[1]&pteFrame>>pageShift, ops[i].Arg[3], &Error{name, unix.Errno(-r)})
		}
	}
	return nil
}
