package privcmd

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

const (
	tokenSize = int(unsafe.Sizeof(tokenHead{})) // and then the name
	// firstPort is what a new domain's first port is; the engine allocates it.
	firstPort = 1
)

// tokenHead is what of a domain neither Xen nor, for a fork, the domain itself can be asked.
type tokenHead struct {
	Handle        handle
	Port          uint32
	_             uint32
	HypercallPage uint64
	Family        uint64
	// geometry
	Slots, Reach, Room, RAMPages, Ready uint64
	RAMVA, Image, Dynamic, Pages        uint64
	Base, Line                          uint64 // Domain.base, and how many of Domain.line follow, 4 bytes each
}

// maxLine bounds the line of a domain that is adopted.
const maxLine = 1 << 16

// Token implements xen.Domain.
func (d *Domain) Token() []byte { return d.tokenWith(d.segment.Load()) }

// tokenWith is its token when it has that segment.
func (d *Domain) tokenWith(s *segment) []byte {
	g := &d.geometry
	t := tokenHead{
		Handle: d.handle, Port: d.remotePort, HypercallPage: d.hypercallPage, Family: uint64(d.family.root),
		Slots: g.slots, Reach: g.reach, Room: g.room, RAMPages: g.ramPages, Ready: g.ready,
		RAMVA: g.ramVA, Image: g.image, Dynamic: g.dynamic, Pages: g.pages,
		Base: d.base, Line: uint64(len(d.line)),
	}
	token := append([]byte(nil), bytesOf(&t)...)
	for _, id := range d.line {
		token = binary.LittleEndian.AppendUint32(token, uint32(id))
	}
	return append(s.token(token), d.name...)
}

// Adopt implements xen.Hypervisor. Without a token it must be a domain of an engine with this key.
func (h *Hypervisor) Adopt(id xen.DomID, token []byte) (xen.Domain, error) {
	d, err := h.adopt(id, token)
	if err != nil {
		return nil, fmt.Errorf("adopt domain %d: %w", id, err)
	}
	return d, nil
}

func (h *Hypervisor) adopt(id xen.DomID, token []byte) (_ *Domain, err error) {
	if id == 0 || id > xen.MaxDomID || len(token) != 0 && len(token) < tokenSize {
		return nil, xen.ErrNoDomain
	}
	info, err := h.c.domainInfo(id)
	if err != nil {
		return nil, err
	}
	if !h.ours(&info) || info.Flags&infDying != 0 || info.OnlineVCPUs == 0 && info.Flags&infShutdown == 0 {
		return nil, xen.ErrNoDomain
	}
	d := newDomain(h, id, info.Handle)
	d.mu.Lock() // who watches for ends knows it before it can be used
	defer d.mu.Unlock()
	d.paused.Store(info.Flags&infPaused != 0)
	d.remotePort = firstPort
	root := id
	if len(token) != 0 {
		var t tokenHead
		copy(bytesOf(&t), token)
		g := geometry{shape{slots: t.Slots, reach: t.Reach, room: t.Room, ramPages: t.RAMPages, ready: t.Ready}, t.RAMVA, t.Image, t.Dynamic, t.Pages}
		rest := token[tokenSize:]
		if t.Handle != info.Handle || !g.valid() || t.Base > 2*maxMemory/pageSize || t.Line > maxLine || uint64(len(rest)) < 4*t.Line {
			return nil, xen.ErrNoDomain
		}
		for ; t.Line > 0; t.Line-- {
			d.line, rest = append(d.line, xen.DomID(binary.LittleEndian.Uint32(rest))), rest[4:]
		}
		var libraries *segment
		if libraries, rest, err = h.adoptSegment(rest); err != nil {
			return nil, err
		}
		d.segment.Store(libraries)
		defer func() {
			if err != nil {
				libraries.close()
			}
		}()
		d.base = t.Base
		d.capped.Store(info.MaxPages < t.Base)
		d.remotePort, d.hypercallPage, d.geometry = t.Port, t.HypercallPage, g
		d.name = string(rest)
		root = xen.DomID(t.Family)
	}
	if err = h.add(d); err != nil {
		return nil, err
	}
	h.familyOf(root).join(d)
	defer func() {
		if err != nil {
			d.released = true
			h.remove(d)
			d.family.leave(d)
			d.c.release()
		}
	}()
	if err = d.remap(); err != nil {
		return nil, err
	}
	if d.port, err = h.events.bind(id, d.remotePort, d.ring); err != nil {
		d.c.munmap(d.area)
		return nil, err
	}
	if err = d.relink(); err != nil {
		h.events.unbind(d.port)
		d.c.munmap(d.area)
		return nil, err
	}
	if d.name != "" {
		d.register(true)
	}
	// It may have rung, or ended, while nobody listened.
	d.ring()
	h.lookNow()
	return d, nil
}

// Adopted implements xen.Hypervisor.
func (h *Hypervisor) Adopted() {
	h.endStrangers()
	h.endUnused()
}

// remap finds the control area through the domain's page tables; where nothing need be, layout.control has the first page.
func (d *Domain) remap() error {
	v, err := d.c.vcpuContext(d.id)
	if err != nil {
		return err
	}
	d.top = v.CtrlReg[3] >> pageShift
	w := newWalker(d.c, d.id, d.top)
	defer w.close()
	mfns := make([]uint64, ctlPages)
	for i := range uint64(ctlPages) {
		mfn, err := w.frame(abi.CtlVa + i*pageSize)
		if err != nil {
			if i < taskEnd || i >= conoutPage && i <= argsPage {
				return err
			}
			mfn = mfns[0]
		}
		mfns[i] = mfn
	}
	d.area, err = d.c.mapFrames(d.id, mfns, protWrite)
	return err
}
