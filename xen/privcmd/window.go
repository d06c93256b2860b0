package privcmd

import (
	"fmt"
	"sync"
	"unsafe"

	"kxsh/xen"
)

const (
	hvUpdateVAOther = 22 // update_va_mapping_otherdomain
	uvmfTLBFlush    = 1
	uvmfAll         = 4

	// windowFrames is how many frames a window shows at most; half as many are copied at once.
	windowFrames = 1024
	// pteSpecial is Linux's _PAGE_SPECIAL, which a mapping of what is not its memory has: without it munmap
	// would look for a struct page.
	pteSpecial = 1 << 9
)

// window shows frames of domains for a moment. Linux takes 1.2 µs to map a frame of a domain and 4 to unmap it, since Xen
// emulates its write to the page table. So Linux maps a window once, and from then on Xen is asked to change the
// entries: a frame in 0.7 µs, and the next one in its place. Between uses there are none, so that the window keeps no
// domain's frames; Linux does not miss them.
type window struct {
	mu   sync.Mutex
	area []byte
}

// view is a run of frames of one domain in a window.
type view struct {
	id       xen.DomID
	mfns     []uint64
	writable bool
}

// open makes the window, if there is none; any frame of a domain will do to have Linux make its page tables.
func (w *window) open(c *conn, id xen.DomID, mfn uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.area != nil {
		return nil
	}
	all := make([]uint64, windowFrames)
	for i := range all {
		all[i] = mfn
	}
	area, err := c.mapFrames(id, all, protRead)
	if err != nil {
		return err
	}
	w.area = area
	if err := w.empty(c, windowFrames); err != nil {
		c.munmap(area)
		w.area = nil
		return err
	}
	return nil
}

func (w *window) close(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.area != nil {
		c.munmap(w.area)
		w.area = nil
	}
}

// copy copies frames of one domain to as many of another.
func (w *window) copy(c *conn, source xen.DomID, from []uint64, target xen.DomID, to []uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	shown, err := 0, error(nil)
	for len(from) > 0 && err == nil {
		n := min(len(from), windowFrames/2)
		shown = max(shown, 2*n)
		if err = w.show(c, view{source, from[:n], false}, view{target, to[:n], true}); err == nil {
			copy(w.area[n*pageSize:], w.area[:n*pageSize])
		}
		from, to = from[n:], to[n:]
	}
	return w.shut(c, shown, err)
}

// with shows frames of a domain, one after the other, for as long as f runs.
func (w *window) with(c *conn, v view, f func(area []byte) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.show(c, v)
	if err == nil {
		err = f(w.area[:len(v.mfns)*pageSize])
	}
	return w.shut(c, len(v.mfns), err)
}

// show lets the window's first pages be the frames, all views one after the other. The window must be open.
func (w *window) show(c *conn, views ...view) error {
	const flags = pteBase | pteSpecial | pteNX
	n := 0
	for _, v := range views {
		n += len(v.mfns)
	}
	if n > windowFrames || w.area == nil {
		return fmt.Errorf("window: more than %d frames", windowFrames)
	}
	ops := make([]multicall, 0, n)
	for _, v := range views {
		bits := uint64(flags)
		if v.writable {
			bits |= pteWrite
		}
		for _, mfn := range v.mfns {
			ops = append(ops, w.op(len(ops), mfn<<pageShift|bits, v.id))
		}
	}
	return w.update(c, ops)
}

// shut empties what was shown, whatever came of it.
func (w *window) shut(c *conn, shown int, err error) error {
	if e := again(func() error { return w.empty(c, min(shown, windowFrames)) }); err == nil {
		err = e
	}
	return err
}

// empty takes the first n frames out of the window.
func (w *window) empty(c *conn, n int) error {
	if w.area == nil {
		return nil
	}
	ops := make([]multicall, n)
	for i := range n {
		ops[i] = w.op(i, 0, domidSelf)
	}
	return w.update(c, ops)
}

func (w *window) op(page int, entry uint64, owner xen.DomID) multicall {
	at := uint64(uintptr(unsafe.Pointer(&w.area[page*pageSize])))
	return multicall{Op: hvUpdateVAOther, Arg: [6]uint64{at, entry, 0, uint64(owner)}}
}

// update writes entries of this process's own page tables, and has every CPU forget the old ones.
func (w *window) update(c *conn, ops []multicall) error {
	const name = "update_va_mapping_otherdomain"
	if len(ops) == 0 {
		return nil
	}
	ops[len(ops)-1].Arg[2] = uvmfTLBFlush | uvmfAll
	if i, err := c.multi(name, ops); err != nil {
		return fmt.Errorf("frame %#x of domain %d: %w", ops[i].Arg[1]&pteFrame>>pageShift, ops[i].Arg[3], err)
	}
	return nil
}
