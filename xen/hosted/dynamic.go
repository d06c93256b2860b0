package hosted

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/ipc/abi"
	"kxsh/ipc/bell"
	"kxsh/xen"
)

// The dynamic segment is a part of the file of frames, where nothing can be read but what is some library's own. Over that lie
// the files of the libraries. A domain that has one keeps its socket: whatever is to be mapped there while it runs, its stub maps, by order.

const (
	// mapPatience is how long a stub may take to map libraries.
	mapPatience = 10 * time.Second
	// mapNap is the first pause before it is asked again; mapNapMax the longest.
	mapNap, mapNapMax = 50 * time.Microsecond, time.Millisecond
)

// dynamicMaps says how to map all of a dynamic segment behind an image of so many pages, in the order of addresses.
func dynamicMaps(d *xen.Dynamic, image uint64) (maps []stubMap) {
	if d.Pages == 0 {
		return nil
	}
	maps = []stubMap{emptyMap(d.VA, d.Pages*abi.PageSize, image*abi.PageSize)}
	for _, m := range d.Shared {
		maps = overlay(maps, libraryMap(m))
	}
	for _, r := range d.Private {
		maps = overlay(maps, stubMap{VA: r.VA, Len: r.Pages * abi.PageSize, Off: image*abi.PageSize + r.VA - d.VA, FD: fdRAM, Prot: prot(elf.Read | elf.Write)})
	}
	return maps
}

// libraryMap is pages of a library.
func libraryMap(m xen.Mapping) stubMap {
	return stubMap{VA: m.VA, Len: m.Pages * abi.PageSize, Off: m.First * abi.PageSize, FD: fdLibrary + uint32(m.Of), Prot: prot(m.Prot)}
}

// emptyMap is pages that the domain has no use for: it may have one later.
func emptyMap(va, size, off uint64) stubMap {
	return stubMap{VA: va, Len: size, Off: off, FD: fdRAM, Prot: unix.PROT_NONE}
}

// overlay puts a map in the place of what is there. The result is by addresses, and maps stays as it is.
func overlay(maps []stubMap, m stubMap) (result []stubMap) {
	var pieces []stubMap
	end := m.VA + m.Len
	for _, o := range maps {
		if o.VA+o.Len <= m.VA || o.VA >= end {
			pieces = append(pieces, o)
			continue
		}
		if o.VA < m.VA {
			before := o
			before.Len = m.VA - o.VA
			pieces = append(pieces, before)
		}
		if o.VA+o.Len > end {
			pieces = append(pieces, stubMap{VA: end, Len: o.VA + o.Len - end, Off: o.Off + end - o.VA, FD: o.FD, Prot: o.Prot})
		}
	}
	pieces = append(pieces, m)
	slices.SortFunc(pieces, func(a, b stubMap) int { return cmp.Compare(a.VA, b.VA) })
	for _, p := range pieces {
		result = join(result, p)
	}
	return result
}

// offset is where the frame of an address is in the file of frames of a domain that is being built.
func (b *build) offset(va uint64) uint64 {
	if d := &b.c.Dynamic; d.VA != 0 && va >= d.VA {
		return b.img.pages*abi.PageSize + va - d.VA
	}
	return va - abi.ImageVa
}

// dynamicOf is how many pages the dynamic segment of an adopted domain has. That is the domain's word; a wrong one harms its children.
func (d *Domain) dynamicOf(p *process) uint64 {
	c := (*abi.KxControl)(unsafe.Pointer(&p.control[abi.ControlVa-abi.CtlVa]))
	n := atomic.LoadUint64(&c.DynamicPages)
	if n%xen.DynamicUnit != 0 || n > (abi.P2mEnd-abi.P2mVa)/abi.PageSize {
		return 0
	}
	return n
}

// Map implements xen.Domain.
func (d *Domain) Map(shared []xen.Shared, at []xen.Mapping, before func(token []byte) error) error {
	return d.mapThem(shared, at, before, nil)
}

// MapFor implements xen.Domain. If the guest sleeps the stub maps before it runs again, so that waking it is all that it takes.
func (d *Domain) MapFor(shared []xen.Shared, at []xen.Mapping, tell func()) error {
	return d.mapThem(shared, at, nil, tell)
}

func (d *Domain) mapThem(shared []xen.Shared, at []xen.Mapping, before func(token []byte) error, tell func()) error {
	d.forking.Lock()
	defer d.forking.Unlock()
	came, err := librariesOf(shared)
	if err != nil {
		return err
	}
	order := &stubRemap{}
	maps := d.maps
	start, _ := d.dynamicStart()
	for _, m := range at {
		if m.VA < start || (m.VA-start)/abi.PageSize+m.Pages > d.dynamic || m.Of >= len(came) {
			return fmt.Errorf("%#x: not in the dynamic segment of domain %d", m.VA, d.id)
		}
		n := libraryMap(m)
		if err := order.add(n); err != nil {
			return err
		}
		n.FD += uint32(len(d.libraries))
		maps = overlay(maps, n)
	}
	if err := came.retain(); err != nil {
		return err
	}
	if before != nil {
		err = before(d.Token())
	}
	if err == nil {
		err = d.remap(order, maps, slices.Concat(d.libraries, came), came.fds(), tell)
	}
	if err != nil {
		came.close()
	}
	return err
}

// Unmap implements xen.Domain.
func (d *Domain) Unmap(ranges ...xen.Range) error {
	d.forking.Lock()
	defer d.forking.Unlock()
	if len(d.maps) == 0 {
		return xen.ErrNoDomain
	}
	order := &stubRemap{}
	maps := d.maps
	start, off := d.dynamicStart()
	for _, m := range d.maps {
		if m.FD < fdLibrary || !slices.ContainsFunc(ranges, func(r xen.Range) bool { return r.Has(m.VA) }) {
			continue
		}
		n := emptyMap(m.VA, m.Len, off+m.VA-start)
		if err := order.add(n); err != nil {
			return err
		}
		maps = overlay(maps, n)
	}
	// Libraries of which nothing is left go, and the others get new numbers.
	var stay, gone libraries
	number := map[uint32]uint32{}
	for i, l := range d.libraries {
		fd := fdLibrary + uint32(i)
		if slices.ContainsFunc(maps, func(m stubMap) bool { return m.FD == fd }) {
			number[fd] = fdLibrary + uint32(len(stay))
			stay = append(stay, l)
			continue
		}
		gone = append(gone, l)
	}
	maps = slices.Clone(maps)
	for i, m := range maps {
		if m.FD >= fdLibrary {
			maps[i].FD = number[m.FD]
		}
	}
	d.findOpen(order, gone)
	if err := d.remap(order, maps, stay, nil, nil); err != nil {
		return err
	}
	gone.close()
	return nil
}

// findOpen has the stub close the files of libraries that go.
func (d *Domain) findOpen(order *stubRemap, gone libraries) {
	dir := fmt.Sprintf("/proc/%d/fd", d.proc.Load().pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		for _, l := range gone {
			n, err := strconv.ParseUint(e.Name(), 10, 32)
			if err == nil && int(order.NCloses) < len(order.Closes) && isFile(filepath.Join(dir, e.Name()), l.fd) {
				order.Closes[order.NCloses] = uint32(n)
				order.NCloses++
			}
		}
	}
}

func (s *stubRemap) add(m stubMap) error {
	if s.NMaps == maxMaps {
		return fmt.Errorf("more than %d pieces of libraries", maxMaps)
	}
	s.Maps[s.NMaps] = m
	s.NMaps++
	return nil
}

// dynamicStart is where the dynamic segment begins, and where its frames do in their file.
func (d *Domain) dynamicStart() (va, off uint64) {
	for _, m := range d.maps {
		if m.VA >= abi.RamMin {
			return m.VA, m.Off
		}
	}
	return 0, 0
}

// remap has the stub do it, and notes the result. The caller holds d.forking.
func (d *Domain) remap(order *stubRemap, maps []stubMap, l libraries, files []int, tell func()) error {
	if err := d.useLiving(); err != nil {
		return err
	}
	p := d.proc.Load()
	order.Number = forkNumber.Add(1) | 1<<31
	err := p.remap(order, files, tell)
	d.mu.RUnlock()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.released {
		return xen.ErrNoDomain
	}
	d.maps, d.libraries = maps, l
	return nil
}

// remap waits until the stub has done it. It is asked again and again: it does not look while it works for the guest. tell, if not nil, is called
// when the guest cannot run without what is to be mapped any more; then it is notified.
func (p *process) remap(order *stubRemap, files []int, tell func()) error {
	if p.sock < 0 {
		return fmt.Errorf("its libraries cannot be changed: the kernel is older than 5.6, or its engine has died and kernel.yama.ptrace_scope keeps this one from taking over")
	}
	s := p.state()
	atomic.StoreInt32(&s.Mapped, 0)
	if err := send(p.sock, order.bytes(), files...); err != nil {
		return err
	}
	atomic.StoreUint32(&s.Map, order.Number)
	told := func() error { return nil }
	if tell != nil {
		told = func() error { tell(); return p.notify() }
	}
	wake := func() error { return p.ringer().Kick(false) }
	asleep := atomic.LoadUint32(&s.Sleeping) != 0 // block() in stub/event.c looks for an order after it has cleared this
	if asleep && tell != nil {
		wake = told
	}
	end := time.Now().Add(mapPatience)
	for nap := mapNap; ; nap, wake = min(2*nap, mapNapMax), func() error { return p.ringer().Kick(false) } {
		if err := wake(); err != nil {
			return err
		}
		bell.Wait((*uint32)(unsafe.Pointer(&s.Mapped)), 0, nap)
		switch r := atomic.LoadInt32(&s.Mapped); {
		case r != 0 && atomic.LoadUint32(&s.MappedNumber) != order.Number:
			atomic.StoreInt32(&s.Mapped, 0)
		case r > 0 && asleep:
			return nil
		case r > 0:
			return told()
		case r < 0:
			return os.NewSyscallError("mmap", unix.Errno(-r))
		case hasEnded(p.pidfd):
			return xen.ErrNoDomain
		case time.Now().After(end):
			atomic.StoreUint32(&s.Map, 0)
			return fmt.Errorf("its libraries cannot be changed: it does not answer: see whether it is stopped")
		}
	}
}
