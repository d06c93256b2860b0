package xen

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"kxsh/ipc/abi"
)

// ErrBoot says that a Boot cannot be passed to a domain as it is.
var ErrBoot = errors.New("cannot be passed to the domain")

// startMagic is what Xen 3 and later put into start_info.
const startMagic = "xen-3.0-x86_64"

// Place is where a domain builder has put a domain: what the boot parameters say about it.
type Place struct {
	ID           DomID
	Evtchn       uint32 // the domain's port of the channel to the engine
	SharedInfo   uint64 // start_info.shared_info: its machine address
	MFNList      uint64 // start_info.mfn_list, 0 if frame numbers are machine frame numbers
	ImagePages   uint64 // frames of image and dynamic segment
	DynamicPages uint64 // of those, the dynamic segment's
	RAMVA        uint64
	RAMPages     uint64
	RAMLater     uint64 // pages of the window's end that the domain gets itself when it needs them
	Dirty        bool   // and which then may hold something else than zeroes

	FamilyPages uint64 // of the family area that are there
	Bells       bool   // the hypervisor rings members itself: abi.FBells
}

// RootVA is the address of a root archive of n bytes: at the end of the RAM window, on a page. 0
// if there is none.
func (p *Place) RootVA(n int) uint64 {
	if n == 0 {
		return 0
	}
	pages := (uint64(n) + abi.PageSize - 1) / abi.PageSize
	return p.RAMVA + (p.RAMPages-pages)*abi.PageSize
}

// Check tells whether the domain can be given all of it, in a RAM window of ramPages pages.
func (b *Boot) Check(ramPages uint64) error {
	size := 0
	for _, list := range b.strings() {
		for _, s := range list {
			if strings.IndexByte(s, 0) >= 0 {
				return fmt.Errorf("argument or variable %.32q: %w: it has a NUL inside", s, ErrBoot)
			}
			size += len(s) + 1
		}
	}
	most := abi.ArgsSize
	if len(b.Mounts) > 0 {
		most -= abi.FilesSize
	}
	if size > most {
		return fmt.Errorf("arguments and environment: %w: %d bytes, at most %d: shorten them", ErrBoot, size, most)
	}
	if len(b.Mounts) > abi.Mounts {
		return fmt.Errorf("%d folders: %w: at most %d", len(b.Mounts), ErrBoot, abi.Mounts)
	}
	// A domain that has nothing but its files cannot run: leave it at least as much again.
	if uint64(len(b.Root)) > ramPages*abi.PageSize/2 {
		return fmt.Errorf("root archive: %w: %d bytes in %d bytes of memory: give more memory", ErrBoot, len(b.Root), ramPages*abi.PageSize)
	}
	return nil
}

// Check tells whether a child can be made so, of a domain with a RAM window of ramPages pages.
func (f *Fork) Check(ramPages uint64) error {
	const canonical = 47 // bits of the lower half's addresses
	if f.RIP>>canonical != 0 || f.RSP>>canonical != 0 {
		return fmt.Errorf("go on at %#x with stack %#x: %w: no addresses of a domain", f.RIP, f.RSP, ErrNoFork)
	}
	if len(f.Boot.Root) != 0 {
		return fmt.Errorf("root archive: %w: a child has its parent's", ErrBoot)
	}
	return f.Boot.Check(ramPages)
}

// Write fills a fresh control area, all zeros, with start_info, the builder's part of shared_info
// and kx_control, and the strings. b must have passed Check. The root archive itself is the
// builder's to place, at p.RootVA.
func (b *Boot) Write(ctl []byte, p *Place) error {
	start := (*abi.StartInfo)(area(ctl, abi.StartVa))
	copy(start.Magic[:], startMagic)
	start.NrPages = p.ImagePages + p.RAMPages - p.RAMLater
	start.SharedInfo = p.SharedInfo
	start.MfnList = p.MFNList

	// As Xen's builders do: no upcall before the guest has a callback.
	(*abi.SharedInfo)(area(ctl, abi.SharedVa)).VcpuInfo[0].EvtchnUpcallMask = 1

	c := (*abi.KxControl)(area(ctl, abi.ControlVa))
	c.Magic, c.Abi = abi.ControlMagic, abi.AbiVersion
	c.Domid, c.Ppid, c.Family = uint32(p.ID), uint32(b.PPID), uint32(b.Family)
	if b.Family == 0 {
		c.Family = c.Domid
	}
	if p.Dirty {
		c.Flags |= abi.FDirty
	}
	if p.Bells {
		c.Flags |= abi.FBells
	}
	c.Evtchn, c.FamilyPages = p.Evtchn, uint32(p.FamilyPages)
	c.ImagePages, c.DynamicPages, c.RamVa, c.RamPages = p.ImagePages, p.DynamicPages, p.RAMVA, p.RAMPages
	c.RootVa, c.RootLen = p.RootVA(len(b.Root)), uint64(len(b.Root))
	return b.program(ctl)
}

// Renew gives a program to a domain that was started with Waits, and has asked for one. b must have passed Check, and has no Root: the domain has
// mounted that at its start.
func (b *Boot) Renew(ctl []byte) error {
	c := (*abi.KxControl)(area(ctl, abi.ControlVa))
	c.Flags &^= abi.FWaits
	clear(c.Name[:])
	return b.program(ctl)
}

// program fills in what is of the program that will run, in a control area that has nothing there.
func (b *Boot) program(ctl []byte) error {
	c := (*abi.KxControl)(area(ctl, abi.ControlVa))
	c.Flags |= b.flags()
	c.Rows, c.Cols = uint32(max(b.Rows, 0)), uint32(max(b.Cols, 0))
	copy(c.Name[:len(c.Name)-1], b.Name)
	c.Argc, c.Envc, c.Files.Mounts = uint32(len(b.Args)), uint32(len(b.Env)), uint32(len(b.Mounts))
	c.ArgsLen = b.putStrings(ctl[abi.ArgsVa-abi.CtlVa:][:abi.ArgsSize])
	if _, err := rand.Read(c.Seed[:]); err != nil {
		return fmt.Errorf("random seed: %w", err)
	}
	return nil
}

// strings are what goes to abi.ArgsVa, in order.
func (b *Boot) strings() [][]string { return [][]string{b.Args, b.Env, b.Mounts} }

// ArgsLen is how many bytes from abi.ArgsVa on the domain needs.
func (b *Boot) ArgsLen() (n int) {
	if len(b.Mounts) > 0 {
		return abi.ArgsSize
	}
	for _, list := range b.strings() {
		for _, s := range list {
			n += len(s) + 1
		}
	}
	return n
}

// putStrings writes them, each with its NUL, to zeroed memory.
func (b *Boot) putStrings(to []byte) (n uint32) {
	for _, list := range b.strings() {
		for _, s := range list {
			n += uint32(copy(to[n:], s)) + 1
		}
	}
	return n
}

func (b *Boot) flags() (f uint32) {
	if b.TTY {
		f |= abi.FTty
	}
	if b.Stdin {
		f |= abi.FStdin
	}
	if b.Look {
		f |= abi.FLook
	}
	if b.Waits {
		f |= abi.FWaits
	}
	return f
}

// area is the memory at a guest address of a control area.
func area(ctl []byte, va uint64) unsafe.Pointer { return unsafe.Pointer(&ctl[va-abi.CtlVa]) }
