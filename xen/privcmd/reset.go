package privcmd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"time"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// A domain that has run cannot be cleaned in place. Where the vcpu's runstate and its time are to be written to, addresses that Xen
// writes to whenever it runs the vcpu, the domain alone can change, and nobody else can even see them: of the next image they would be
// anything. So Reset ends the domain, as Xen does it, and asks for a new one with the same number, which Xen gives only when nothing
// of the old one is left: no frame that somebody has mapped, no grant, no channel. Then that one is looked at.
//
// Source: VCPUOP_register_* in xen/common/domain.c and xen/arch/x86/domain.c; domain_soft_reset, which would clear them, is for HVM only.

// formerPatience is how long Xen may take to let go of a domain.
const formerPatience = 5 * time.Second

func notBlank(format string, args ...any) error {
	return fmt.Errorf("%w: %s", xen.ErrNotBlank, fmt.Sprintf(format, args...))
}

// Reset implements xen.Domain.
func (d *Domain) Reset(ctx context.Context, c *xen.Config) (xen.Domain, error) {
	h := d.h
	if err := h.hold(); err != nil {
		return nil, err
	}
	defer h.c.release()
	b := &build{h: h, c: c}
	err := b.steps.Run(ctx, c.Step, xen.Step{Name: "check", Do: b.check}, xen.Step{Name: "end", Do: func() error { return d.giveUp() }})
	if err == nil {
		b.begin()
		b.former = d.id
		err = b.steps.Run(ctx, c.Step, append(append(b.making(), b.filling()...),
			xen.Step{Name: "verify", Do: b.verify}, xen.Step{Name: "watch", Do: b.watch})...)
	}
	if err != nil {
		return nil, fmt.Errorf("reset domain %d: %w", d.id, err)
	}
	return b.d, nil
}

// hold keeps the connection for a call that begins; release follows.
func (h *Hypervisor) hold() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return os.ErrClosed
	}
	h.c.retain()
	return nil
}

// giveUp releases a domain, if nobody has anything to do with it.
func (d *Domain) giveUp() error {
	if err := d.use(); err != nil {
		return err
	}
	d.mu.RUnlock()
	d.mu.Lock() // a fork that had begun before it was gone is over then
	gone := d.isGone()
	d.mu.Unlock()
	if gone && (d.forked.Load() || len(d.line) > 0 || d.family.others(d)) {
		return notBlank("it has forked, or was forked")
	}
	return d.Release()
}

// others tells whether a family has other members.
func (f *family) others(d *Domain) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.members) != 1 || f.members[0] != d
}

// verify holds a domain that has not run against what it was to be.
func (b *build) verify() error {
	if err := b.h.window.open(b.h.c, b.d.id, b.mfns[b.l.tables]); err != nil {
		return err
	}
	for _, look := range []func() error{b.verifyDomain, b.verifyTables, b.verifyFrames, b.verifyNumbers, b.verifyControl, b.verifyChannels, b.verifyVCPU} {
		if err := look(); err != nil {
			return err
		}
	}
	return nil
}

// verifyDomain: it has the frames that it was given, is paused and has never run.
func (b *build) verifyDomain() error {
	info, err := b.h.c.domainInfo(b.d.id)
	if err != nil {
		return err
	}
	frames := b.l.shared
	for _, mfn := range b.archived {
		if !slices.Contains(b.mfns, mfn) {
			frames++
		}
	}
	switch {
	case info.Handle != b.d.handle || info.SharedInfoFrame != b.mfns[b.l.shared]:
		return notBlank("it is another domain")
	case info.Flags&(infDying|infShutdown|infPaused) != infPaused || info.CPUTime != 0 || info.OnlineVCPUs != 1:
		return notBlank("it has run: flags %#x, %d ns", info.Flags, info.CPUTime)
	case info.TotPages != frames || info.MaxPages != b.d.base || info.ShrPages != 0:
		return notBlank("it has %d of %d frames, and shares %d: not %d of %d", info.TotPages, info.MaxPages, info.ShrPages, frames, b.d.base)
	}
	return nil
}

// Entries of a top table that are Xen's own, and the bit that Xen sets as it likes.
const (
	xenFirst, xenEnd = 256, 272
	pteGlobal        = 1 << 8
)

// verifyTables: its page tables have the entries that were made, and no other ones.
func (b *build) verifyTables() error {
	own, index := b.l.own(b.mfns), map[uint64]int{}
	for i, mfn := range own {
		index[mfn] = i
	}
	area := make([]byte, len(own)*pageSize)
	if err := writeTables(area, b.l.byKey, own, b.l.spans, b.mfns); err != nil {
		return err
	}
	want := words(area)
	enter := func(place, entry uint64) { want[index[place>>pageShift]*perTable+int(place%pageSize/8)] = entry }
	for _, op := range b.entered {
		enter(op.Ptr, op.Val)
	}
	geo := b.geometry()
	b.d.segment.Load().each(&geo, func(frame uint64, _ *holder, mfn, bits uint64) {
		enter(b.l.entry(b.mfns, geo.address(frame)), mfn<<pageShift|bits)
	})
	return b.eachFrame(own, func(i int, page []byte) error {
		for k, entry := range words(page) {
			if i == 0 && k >= xenFirst && k < xenEnd {
				continue
			}
			if (entry^want[i*perTable+k])&pteOurs&^pteGlobal != 0 {
				return notBlank("entry %d of its page table %d is %#x, not %#x", k, i, entry, want[i*perTable+k])
			}
		}
		return nil
	})
}

// eachFrame calls look for each of some frames of the domain.
func (b *build) eachFrame(mfns []uint64, look func(i int, page []byte) error) error {
	for done := 0; done < len(mfns); {
		shown := mfns[done:min(len(mfns), done+windowFrames)]
		err := b.h.window.with(b.h.c, view{b.d.id, shown, false}, func(area []byte) error {
			for i := range shown {
				if err := look(done+i, area[i*pageSize:][:pageSize]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		done += len(shown)
	}
	return nil
}

var zeroes [pageSize]byte

// verifyFrames: those of image, dynamic segment and window have what was written, and zeroes. The hypercall page is Xen's.
func (b *build) verifyFrames() error {
	want := make([]byte, b.l.slots*pageSize)
	b.contents(want)
	hypercalls := int(b.img.hypercallPage-abi.ImageVa) / pageSize
	err := b.eachFrame(b.mfns[:b.l.slots], func(i int, page []byte) error {
		if i != hypercalls && !bytes.Equal(page, want[i*pageSize:][:pageSize]) {
			return notBlank("frame %d of its image holds something else", i)
		}
		return nil
	})
	if err != nil {
		return err
	}
	archive := make([]byte, b.root*pageSize)
	copy(archive, b.c.Boot.Root)
	return b.eachFrame(slices.Concat(b.mfns[b.l.ram:b.l.p2m], b.archived), func(i int, page []byte) error {
		expected := zeroes[:]
		if ready := int(b.l.p2m - b.l.ram); i >= ready {
			expected = archive[(i-ready)*pageSize:][:pageSize]
		} else if slices.Contains(b.archived, b.mfns[b.l.ram+uint64(i)]) {
			return nil // it comes again
		}
		if !bytes.Equal(page, expected) {
			return notBlank("frame %d of its memory holds something else", i)
		}
		return nil
	})
}

// verifyNumbers: its list of machine frame numbers names its own frames, each once, and libraries.
func (b *build) verifyNumbers() error {
	own := map[uint64]bool{}
	for _, mfn := range slices.Concat(b.mfns[:b.l.p2m], b.archived) {
		own[mfn] = true
	}
	return b.eachFrame(b.mfns[b.l.p2m:b.l.ctl], func(_ int, page []byte) error {
		for _, n := range words(page) {
			if n != 0 && !own[n] && !slices.ContainsFunc(b.libraries, func(s *holder) bool { return n == s.number() }) {
				return notBlank("its list of frames has %#x", n)
			}
			delete(own, n)
		}
		return nil
	})
}

// verifyControl: the control area is what boot has written, but for the seed and for the clocks, which are Xen's.
func (b *build) verifyControl() error {
	got, want := b.d.Control(), make([]byte, abi.CtlSize)
	if err := b.c.Boot.Write(want, &b.place); err != nil {
		return err
	}
	shared := func(area []byte) *abi.SharedInfo {
		return (*abi.SharedInfo)(unsafe.Pointer(&area[abi.SharedVa-abi.CtlVa]))
	}
	now, s := shared(got), shared(want)
	s.VcpuInfo[0].Time = now.VcpuInfo[0].Time
	s.WcVersion, s.WcSec, s.WcNsec, s.WcSecHi = now.WcVersion, now.WcSec, now.WcNsec, now.WcSecHi
	const seed = abi.ControlVa - abi.CtlVa + unsafe.Offsetof(abi.KxControl{}.Seed)
	copy(want[seed:][:len(abi.KxControl{}.Seed)], got[seed:])
	for page := 0; page < ctlPages; page++ {
		if !bytes.Equal(got[page*pageSize:][:pageSize], want[page*pageSize:][:pageSize]) {
			return notBlank("page %d of its control area holds something else", page)
		}
	}
	return nil
}

// verifyChannels: it has the one to the engine, and a grant table as Xen makes it.
func (b *build) verifyChannels() error {
	ports, err := b.h.c.ports(b.d.id)
	if err != nil {
		return err
	}
	grants, err := b.h.c.grantFrames(b.d.id)
	if err != nil {
		return err
	}
	if ports != 1 || grants.Frames > 1 {
		return notBlank("it has %d channels and %d frames of grants", ports, grants.Frames)
	}
	return nil
}

// verifyVCPU: its registers are those that it starts with, and it has said nothing to Xen about itself.
func (b *build) verifyVCPU() error {
	got, err := b.h.c.vcpuContext(b.d.id)
	if err != nil {
		return err
	}
	want := b.context()
	if got.CtrlReg[3] != want.CtrlReg[3] || got.CtrlReg[1] != 0 || got.CtrlReg[2] != 0 {
		return notBlank("it has other page tables")
	}
	for i, t := range got.Traps {
		if t.Address != 0 {
			return notBlank("it has a handler of trap %d", i)
		}
	}
	want.Traps = got.Traps                                                         // Xen gives the selectors of none a ring
	want.FPU[0], want.FPU[1], want.FPU[24], want.FPU[25] = 0x7f, 0x03, 0x80, 0x1f  // control words
	want.DebugReg[6], want.DebugReg[7] = got.DebugReg[6]&0xffff0ff0, debugDisabled // as the CPU has them
	// Xen adds to flags and control registers what the CPU has.
	want.CtrlReg, want.Flags, want.Regs.RFlags = got.CtrlReg, got.Flags, got.Regs.RFlags
	if *got != *want {
		return notBlank("its registers are not as at the start")
	}
	return nil
}

// debugDisabled is DR7 without breakpoints.
const debugDisabled = 0x400
