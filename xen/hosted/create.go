package hosted

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// maxMemory bounds a RAM window to what surely fits between any base and abi.RamEnd.
const maxMemory = 1 << 44

// build is a domain under construction. The stub gets its order as soon as it can, and works while the rest is done here.
type build struct {
	h         *Hypervisor
	c         *xen.Config
	img       *image
	libraries libraries
	maps      []stubMap // of image and libraries
	place     xen.Place
	blank     *blank
	ram       int
	d         *Domain
	spin      uint32
	steps     xen.Steps
}

// Create implements xen.Hypervisor.
func (h *Hypervisor) Create(ctx context.Context, c *xen.Config) (xen.Domain, error) {
	h.births.RLock()
	defer h.births.RUnlock()
	defer h.pool.poke()
	b := &build{h: h, c: c, ram: -1}
	err := b.steps.Run(ctx, c.Step, append([]xen.Step{{Name: "check", Do: b.check}}, b.making()...)...)
	if err != nil {
		return nil, err
	}
	return b.d, nil
}

func (b *build) making() []xen.Step {
	return []xen.Step{
		{Name: "blank", Do: b.takeBlank},
		{Name: "memory", Do: b.memory},
		{Name: "order", Do: b.order},
		{Name: "fill", Do: b.fill},
		{Name: "boot", Do: b.boot},
		{Name: "watch", Do: b.watch},
		{Name: "map", Do: b.awaitMapped},
	}
}

// check looks at what was asked for, before anything is made.
func (b *build) check() error {
	img, ok := b.c.Image.(*image)
	if !ok {
		return fmt.Errorf("image of another hypervisor (%T)", b.c.Image)
	}
	if b.c.Memory == 0 || b.c.Memory > maxMemory {
		return fmt.Errorf("memory: %d bytes: must be 1 to %d", b.c.Memory, uint64(maxMemory))
	}
	b.place.RAMPages = (b.c.Memory + abi.PageSize - 1) / abi.PageSize
	if err := b.c.Boot.Check(b.place.RAMPages); err != nil {
		return err
	}
	if err := b.h.memory.check(b.place.RAMPages * abi.PageSize); err != nil {
		return err
	}
	if !img.retain() {
		return fmt.Errorf("image is closed")
	}
	b.img = img
	b.steps.OnFailure(func() { img.Close() })
	return b.useLibraries()
}

func (b *build) takeBlank() (err error) {
	if b.place.ID == 0 { // else it is a reset domain's
		if b.place.ID, err = b.h.newID(); err != nil {
			return err
		}
		b.steps.OnFailure(func() { b.h.set(b.place.ID, nil) })
	}
	if b.blank, err = b.h.takeBlank(); err != nil {
		return err
	}
	b.steps.OnFailure(b.blank.close)
	return nil
}

// takeBlank takes a blank of the pool, or begins one: settle must follow soon.
func (h *Hypervisor) takeBlank() (*blank, error) {
	for {
		b := h.pool.take()
		if b == nil {
			return beginBlank(h.zygote)
		}
		if !hasEnded(b.pidfd) {
			return b, nil
		}
		b.close() // somebody killed it while it waited
	}
}

// memory makes the domain's frames, all zero. The file's name says whose they are, to people and to
// later engines.
func (b *build) memory() (err error) {
	b.place.DynamicPages = b.c.Dynamic.Pages
	b.place.ImagePages = b.img.pages + b.place.DynamicPages
	b.place.RAMVA = b.c.Dynamic.VA + b.place.DynamicPages*abi.PageSize
	if b.c.Dynamic.VA == 0 {
		b.place.RAMVA = xen.RandomBase(b.place.RAMPages)
	}
	pages := b.place.ImagePages + b.place.RAMPages
	b.ram, err = sizedMemfd(ramName(b.place.ID), pages*abi.PageSize)
	if err == nil {
		b.steps.OnFailure(func() { unix.Close(b.ram) })
	}
	return err
}

// order makes the blank map the domain's memory; then it waits to be unpaused.
func (b *build) order() error {
	p := &b.place
	s := &stubStart{Entry: b.img.entry, ImagePages: p.ImagePages, DynamicPages: p.DynamicPages, RAMVA: p.RAMVA, RAMPages: p.RAMPages}
	s.TSCMul, s.TSCShift = b.h.clock.rate()
	s.Spin = spin(s.TSCMul, s.TSCShift)
	b.spin = s.Spin
	copy(s.Title[:titleSize-1], title(p.ID, b.c.Boot.Name))
	n := copy(s.Maps[:], b.maps)
	s.Maps[n] = window(p)
	s.NMaps = uint32(n + 1)
	s.Libraries = uint32(len(b.libraries))
	files := []int{b.ram, b.img.fd}
	if b.place.DynamicPages > 0 {
		engine, err := dup(b.blank.sock)
		if err != nil {
			return err
		}
		defer unix.Close(engine)
		files = append(append(files, b.ram, b.ram, engine), b.libraries.fds()...)
	}
	if err := b.blank.order(s, files...); err != nil {
		return err
	}
	return b.blank.settle()
}

// window maps the RAM window.
func window(p *xen.Place) stubMap {
	return stubMap{
		VA: p.RAMVA, Len: p.RAMPages * abi.PageSize, Off: p.ImagePages * abi.PageSize,
		FD: fdRAM, Prot: unix.PROT_READ | unix.PROT_WRITE,
	}
}

// title is what ps shows of a domain's process.
func title(id xen.DomID, name string) string { return fmt.Sprintf("kx-pvm %d %s", id, name) }

// fill writes what of the memory is not zero at the start.
func (b *build) fill() error {
	for _, c := range b.contents() {
		if err := writeAt(b.ram, c.p, c.off); err != nil {
			return err
		}
	}
	return nil
}

// contents are what of the file of frames is not zero at the start; a later one may lie over an earlier one.
func (b *build) contents() []piece {
	all := slices.Clone(b.img.data)
	for _, c := range b.c.Dynamic.Content {
		all = append(all, piece{int64(b.offset(c.VA)), c.Bytes})
	}
	if root := b.c.Boot.Root; len(root) > 0 {
		off := b.place.ImagePages*abi.PageSize + b.place.RootVA(len(root)) - b.place.RAMVA
		all = append(all, piece{int64(off), root})
	}
	return all
}

func (b *build) boot() error {
	b.place.Evtchn = portEngine
	b.place.SharedInfo = abi.SharedVa
	b.place.FamilyPages, b.place.Bells = abi.FamilyPages, true
	return b.c.Boot.Write(b.blank.area[:abi.CtlSize], &b.place)
}

// watch hands everything to a Domain, which hears of the process from now on.
func (b *build) watch() error {
	p := b.blank.process(b.ram)
	b.d = newDomain(b.h, b.place.ID, p)
	b.d.img, b.d.libraries, b.d.dynamic = b.img, b.libraries, b.place.DynamicPages
	b.d.maps = append(b.maps, window(&b.place))
	if err := b.h.watcher.add(b.d, p); err != nil {
		return err
	}
	if b.place.DynamicPages > 0 {
		p.sock = b.blank.sock
	} else {
		unix.Close(b.blank.sock)
	}
	b.h.set(b.place.ID, b.d)
	// From here on everything is the domain's.
	b.steps.Instead(func() { xen.End(b.d) })
	return nil
}

func (b *build) awaitMapped() error {
	return attempt("map", func() error { return b.d.proc.Load().waitBuilt(b.spin, time.Minute) })
}

// ramName is the name of the memory file of a domain's frames.
func ramName(id xen.DomID) string { return fmt.Sprintf("%s%d", ramPrefix, id) }

const ramPrefix = "kx-ram:"
