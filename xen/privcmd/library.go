package privcmd

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"kxsh/elf"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// Nothing that a domain has put in the place of a library's page gets to another one: Xen maps a frame only while the holder is named as
// its owner.

// segment is a domain's dynamic segment, as far as it is shared. Its holders are retained.
type segment struct {
	libraries []*holder
	mappings  []xen.Mapping
}

// retain keeps the holders for one more domain, all or none.
func (g *segment) retain() error {
	if len(g.libraries) == 0 {
		return nil
	}
	h := g.libraries[0].h
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.ContainsFunc(g.libraries, func(s *holder) bool { return s.users == 0 }) {
		return fmt.Errorf("library: %w", os.ErrClosed)
	}
	for _, s := range g.libraries {
		s.users++
	}
	return nil
}

// pages is how many it has.
func (g *segment) pages() (n uint64) {
	for _, m := range g.mappings {
		n += m.Pages
	}
	return n
}

func (g *segment) close() {
	for _, s := range g.libraries {
		s.Close()
	}
}

// each calls do for each page, with its frame's number in a domain of a geometry, the holder and the machine frame.
func (g *segment) each(geo *geometry, do func(frame uint64, of *holder, mfn, bits uint64)) {
	for _, m := range g.mappings {
		of := g.libraries[m.Of]
		for i := range m.Pages {
			do(geo.frameOf(m.VA)+i, of, of.mfns[m.First+i], bitsOf(m.Prot))
		}
	}
}

// fill maps the pages into a domain; entry finds the place of a page table entry.
func (g *segment) fill(c *conn, id xen.DomID, geo *geometry, entry func(frame uint64) uint64) error {
	for _, of := range g.libraries {
		var ops []mmuUpdate
		g.each(geo, func(frame uint64, owner *holder, mfn, bits uint64) {
			if owner == of {
				ops = append(ops, mmuUpdate{Ptr: entry(frame), Val: mfn<<pageShift | bits})
			}
		})
		if _, err := c.mmuUpdates(id, of.id, ops); err != nil {
			return err
		}
	}
	return nil
}

// number is the entry of such a page in the list of machine frame numbers.
func (s *holder) number() uint64 { return abi.MfnShared | uint64(s.id)<<abi.MfnOwnerShift }

// dynamic lists and maps the dynamic segment of a new domain. Its own pages take slots that the image leaves over, from next on;
// the result is the first that is still left.
func (b *build) dynamic(next uint64, list []uint64) (uint64, error) {
	d, geo := &b.c.Dynamic, b.geometry()
	number := func(frame uint64) *uint64 { return &list[b.l.numbers()-geo.image+frame] }
	b.slotOf = map[uint64]uint64{}
	var ops []mmuUpdate
	for _, r := range d.Private {
		for i := range r.Pages {
			frame := geo.frameOf(r.VA) + i
			b.slotOf[frame], *number(frame) = next, b.mfns[next]
			ops = append(ops, mmuUpdate{Ptr: b.l.entry(b.mfns, r.VA+i*pageSize), Val: b.mfns[next]<<pageShift | spanData})
			next++
		}
	}
	if err := b.enter(ops); err != nil {
		return next, err
	}
	g := &segment{libraries: b.libraries, mappings: d.Shared}
	if err := g.retain(); err != nil {
		return next, err
	}
	b.d.segment.Store(g)
	b.steps.OnFailure(g.close)
	g.each(&geo, func(frame uint64, of *holder, _, _ uint64) { *number(frame) = of.number() })
	return next, g.fill(b.h.c, b.d.id, &geo, func(frame uint64) uint64 { return b.l.entry(b.mfns, geo.address(frame)) })
}

// ---- fork ----

// kindLibrary is a page of the parent that was a library's at its start.
const kindLibrary = 0xff

// libraries says which pages are to be mapped, instead of shared or copied.
func (a apart) libraries(geo *geometry, g *segment) {
	g.each(geo, func(frame uint64, _ *holder, _, _ uint64) { a[frame] = kindLibrary })
}

// fromLibrary tells whether the parent has still a library's page there.
func (p *part) fromLibrary(frame, entry uint64) (still bool) {
	parent := p.parent.segment.Load()
	for _, m := range parent.mappings {
		if i := frame - p.geo.frameOf(m.VA); i < m.Pages {
			mfn := parent.libraries[m.Of].mfns[m.First+i]
			still = entry&ptePresent != 0 && entry&pteFrame>>pageShift == mfn
		}
	}
	if !still {
		p.apart[frame] = kindCopied
	}
	return still
}

// libraries maps what of the parent's libraries it has not changed.
func (f *fork) libraries() error {
	g := f.parent.segment.Load()
	if err := g.retain(); err != nil {
		return err
	}
	f.d.segment.Store(g)
	f.steps.OnFailure(g.close)
	var frames []uint32
	var numbers []uint64
	unchanged := &segment{libraries: g.libraries}
	for _, m := range g.mappings {
		for i := range m.Pages {
			page := m
			page.VA, page.Pages, page.First = m.VA+i*pageSize, 1, m.First+i
			frame := f.geo.frameOf(page.VA)
			if f.apart[frame] == kindLibrary {
				unchanged.mappings = append(unchanged.mappings, page)
				frames, numbers = append(frames, uint32(frame)), append(numbers, g.libraries[m.Of].number())
			}
		}
	}
	if err := unchanged.fill(f.h.c, f.d.id, &f.geo, func(frame uint64) uint64 { return f.geo.entry(f.d.leaves, frame) }); err != nil {
		return err
	}
	return f.eachNumber(view{f.d.id, f.d.list, true}, frames, func(i int, number *uint64) { *number = numbers[i] })
}

// ---- adoption ----

// Limits of what a token may say.
const (
	maxLibraries = abi.Libraries + 2 // while one takes the place of another: it, and the plan for that
	maxMappings  = maxLibraries * 16
	maxHeld      = 1 << 14 // pages of a library
)

// token appends what adopt needs.
func (g *segment) token(t []byte) []byte {
	put := func(v ...uint64) {
		for _, v := range v {
			t = binary.LittleEndian.AppendUint64(t, v)
		}
	}
	put(uint64(len(g.libraries)), uint64(len(g.mappings)))
	for _, s := range g.libraries {
		put(uint64(s.id), uint64(s.serial), uint64(len(s.mfns)))
		put(s.mfns...)
	}
	for _, m := range g.mappings {
		put(m.VA, m.Pages, uint64(m.Of), m.First, uint64(m.Prot))
	}
	return t
}

// adoptSegment reads what token has written, and retains it. The rest of the token is returned.
func (h *Hypervisor) adoptSegment(t []byte) (g *segment, rest []byte, err error) {
	take := func() (v uint64) {
		if len(t) < 8 {
			err = xen.ErrNoDomain
			return 0
		}
		v, t = binary.LittleEndian.Uint64(t), t[8:]
		return v
	}
	g = &segment{}
	libraries, mappings := take(), take()
	if libraries > maxLibraries || mappings > maxMappings {
		return nil, nil, xen.ErrNoDomain
	}
	for range libraries {
		s := &holder{h: h, id: xen.DomID(take()), serial: uint32(take())}
		for n := min(take(), maxHeld); n > 0 && err == nil; n-- {
			s.mfns = append(s.mfns, take())
		}
		g.libraries = append(g.libraries, s)
	}
	for range mappings {
		m := xen.Mapping{Range: xen.Range{VA: take(), Pages: take()}, Of: int(take()), First: take()}
		m.Prot = elf.Prot(take()) & (elf.Read | elf.Exec)
		if err == nil && (m.Of >= len(g.libraries) || m.VA < abi.RamMin || m.VA >= abi.RamEnd || m.Pages > maxHeld || m.First > maxHeld ||
			m.First+m.Pages > uint64(len(g.libraries[m.Of].mfns))) {
			err = xen.ErrNoDomain
		}
		g.mappings = append(g.mappings, m)
	}
	if err != nil {
		return nil, nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range g.libraries {
		if known := h.libraries[s.id]; known != nil && known.serial == s.serial {
			g.libraries[i] = known
		} else {
			h.libraries[s.id] = s
		}
		g.libraries[i].users++
	}
	return g, t, nil
}

// endUnused ends the holders of an earlier engine of which no user was adopted.
func (h *Hypervisor) endUnused() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, hd := range h.unclaimed {
		if h.libraries[id] == nil {
			h.c.destroy(id)
			h.unlabel(id, hd)
		}
	}
	h.unclaimed = nil
}
