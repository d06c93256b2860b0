package privcmd

import (
	"fmt"
	"slices"
	"sync/atomic"

	"kxsh/xen"
)

// Libraries that come and go while a domain runs: entries of its page tables, and of its list of machine frame numbers. What the
// domain needs of its own beside, it gets itself.

// Map implements xen.Domain.
func (d *Domain) Map(shared []xen.Shared, at []xen.Mapping, before func(token []byte) error) error {
	done, err := d.remapping()
	if err != nil {
		return err
	}
	defer done()
	came := &segment{mappings: slices.Clone(at)}
	if came.libraries, err = holdersOf(shared); err != nil {
		return err
	}
	g := &d.geometry
	for _, m := range at {
		if m.VA < g.dynamicVA() || (m.VA-g.dynamicVA())/pageSize+m.Pages > g.dynamic || m.Of >= len(shared) || m.First+m.Pages > uint64(len(came.libraries[m.Of].mfns)) {
			return fmt.Errorf("%#x: not in the dynamic segment of domain %d", m.VA, d.id)
		}
	}
	if err := came.retain(); err != nil {
		return err
	}
	had := d.segment.Load()
	all := &segment{libraries: slices.Concat(had.libraries, came.libraries), mappings: slices.Clone(had.mappings)}
	for _, m := range came.mappings {
		m.Of += len(had.libraries)
		all.mappings = append(all.mappings, m)
	}
	if before != nil {
		err = before(d.tokenWith(all))
	}
	if err == nil {
		err = d.renumber(came, func(of *holder, number *uint64) { atomic.StoreUint64(number, of.number()) })
	}
	if err == nil {
		err = came.fill(d.c, d.id, g, d.entry)
	}
	if err != nil {
		d.takeAway(came)
		came.close()
		return err
	}
	d.segment.Store(all)
	return nil
}

// MapFor implements xen.Domain.
func (d *Domain) MapFor(shared []xen.Shared, at []xen.Mapping, tell func()) error {
	if err := d.Map(shared, at, nil); err != nil {
		return err
	}
	tell()
	return d.Notify()
}

// Unmap implements xen.Domain.
func (d *Domain) Unmap(ranges ...xen.Range) error {
	done, err := d.remapping()
	if err != nil {
		return err
	}
	defer done()
	had := d.segment.Load()
	stay, gone := &segment{}, &segment{libraries: had.libraries}
	number := map[int]int{}
	for _, m := range had.mappings {
		if slices.ContainsFunc(ranges, func(r xen.Range) bool { return r.Has(m.VA) }) {
			gone.mappings = append(gone.mappings, m)
			continue
		}
		if _, known := number[m.Of]; !known {
			number[m.Of] = len(stay.libraries)
			stay.libraries = append(stay.libraries, had.libraries[m.Of])
		}
		m.Of = number[m.Of]
		stay.mappings = append(stay.mappings, m)
	}
	if err := d.takeAway(gone); err != nil {
		return err
	}
	for i, of := range had.libraries {
		if _, stays := number[i]; !stays {
			of.Close()
		}
	}
	d.segment.Store(stay)
	return nil
}

// remapping keeps forks, and others who change libraries, off until done is called, and finds what is needed.
func (d *Domain) remapping() (done func(), err error) {
	if err := d.useLiving(); err != nil {
		return nil, err
	}
	d.mapping.Lock()
	done = func() {
		d.mapping.Unlock()
		d.mu.RUnlock()
	}
	if d.geometry.dynamic == 0 {
		err = fmt.Errorf("domain %d has no room for libraries", d.id)
	}
	if err == nil {
		err = d.h.window.open(d.c, d.id, d.top)
	}
	if err == nil {
		d.pauses.Lock()
		err = d.find()
		d.pauses.Unlock()
	}
	if err != nil {
		done()
		return nil, err
	}
	return done, nil
}

func (d *Domain) entry(frame uint64) uint64 { return d.geometry.entry(d.leaves, frame) }

// renumber calls set with the place of the number of each page.
func (d *Domain) renumber(s *segment, set func(of *holder, number *uint64)) error {
	var frames []uint32
	owners := map[uint32]*holder{}
	s.each(&d.geometry, func(frame uint64, of *holder, _, _ uint64) {
		frames = append(frames, uint32(frame))
		owners[uint32(frame)] = of
	})
	slices.Sort(frames)
	p := part{parent: d, geo: d.geometry}
	return p.eachNumber(view{d.id, d.list, true}, frames, func(i int, number *uint64) { set(owners[frames[i]], number) })
}

// takeAway undoes Map, as far as the domain has nothing else there by now. It is paused for that, which flushes its TLB.
func (d *Domain) takeAway(s *segment) error {
	type page struct{ place, mfn uint64 }
	tables := map[uint64][]page{} // of level 1, by their frames
	s.each(&d.geometry, func(frame uint64, _ *holder, mfn, _ uint64) {
		place := d.entry(frame)
		tables[place>>pageShift] = append(tables[place>>pageShift], page{place, mfn})
	})
	var ops []mmuUpdate
	for table, pages := range tables {
		err := d.h.window.with(d.c, view{d.id, []uint64{table}, false}, func(area []byte) error {
			for _, p := range pages {
				entry := atomic.LoadUint64(&words(area)[p.place%pageSize/8])
				if entry&ptePresent != 0 && entry&pteFrame>>pageShift == p.mfn {
					ops = append(ops, mmuUpdate{Ptr: p.place})
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(ops) > 0 {
		d.pauses.Lock()
		err := d.c.mmuUpdatesFlushed(d.id, ops)
		d.pauses.Unlock()
		if err != nil {
			return err
		}
	}
	return d.renumber(s, func(of *holder, number *uint64) { atomic.CompareAndSwapUint64(number, of.number(), 0) })
}
