//go:build xen

package privcmd

import (
	"bytes"
	"context"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// What a domain cannot do to frames that are not its own is the same in every conformance suite on Xen,
// but only here it is known which frames are whose.

// guests makes domains of the test guests and sees them out.
type guests struct {
	t  *testing.T
	h  *Hypervisor
	im xen.Image
}

func newGuests(t *testing.T, key string) guests {
	compare := watch(t)
	h := open(t, key)
	t.Cleanup(func() {
		h.Close()
		compare(false)
	})
	return guests{t, h, xentest.PrepareGuest(t, h)}
}

func (g guests) create(args ...string) *Domain {
	g.t.Helper()
	d, err := g.h.Create(context.Background(), &xen.Config{Image: g.im, Memory: 1 << 20,
		Boot: xen.Boot{Name: "test", Args: append([]string{"guest"}, args...)}})
	g.must(err)
	g.t.Cleanup(func() { g.end(d.(*Domain)) })
	return d.(*Domain)
}

func (g guests) end(d *Domain) {
	if d.Destroy() != nil {
		return // released already
	}
	<-d.Gone()
	if err := d.Release(); err != nil {
		g.t.Error(err)
	}
}

func (g guests) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g guests) eventually(what string, holds func() bool) {
	g.t.Helper()
	for begin := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(begin) > patience {
			g.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// result reads a word that a guest leaves: RESULT of xentest/guest/guest.h.
func (d *Domain) result(i int) uint64 {
	const off = abi.ArgsVa + abi.PageSize/2 - abi.CtlVa
	return (*[256]uint64)(unsafe.Pointer(&d.area[off]))[i]
}

func (d *Domain) ramVA() uint64 {
	return (*abi.KxControl)(unsafe.Pointer(&d.area[abi.ControlVa-abi.CtlVa])).RamVa
}

// frameOf is the machine frame behind an address of a domain.
func (g guests) frameOf(d *Domain, va uint64) uint64 {
	g.t.Helper()
	w := newWalker(d.c, d.id, d.top)
	defer w.close()
	mfn, err := w.frame(va)
	g.must(err)
	return mfn
}

// TestThief has a domain try to map, write and take frames of another domain, of dom0 and of Xen, and to
// command others, in all ways that there are.
func TestThief(t *testing.T) {
	g := newGuests(t, "thief")
	v := g.create("spin")
	g.must(v.Unpause())
	g.eventually("the victim", func() bool { return v.result(2) > 0 })
	image := make([]byte, 16*pageSize)
	g.must(v.ReadMemory(abi.ImageVa, image))
	const secret = 50 * pageSize
	g.must(g.h.c.withFrames(v.id, []uint64{g.frameOf(v, v.ramVA()+secret)}, protWrite, func(area []byte) error {
		copy(area, "a secret")
		return nil
	}))
	dom0, err := g.h.c.domainInfo(0)
	g.must(err)
	phys, err := g.h.c.physInfo()
	g.must(err)
	frames := map[xen.DomID][]uint64{
		v.id: {v.top, g.frameOf(v, v.ramVA()+secret), g.frameOf(v, abi.ImageVa), g.frameOf(v, abi.SharedVa), g.frameOf(v, abi.ControlVa)},
		0:    {dom0.SharedInfoFrame},
	}
	for i := uint64(1); i < 32; i++ { // anybody's
		frames[0] = append(frames[0], i*phys.TotalPages/32)
	}
	for id, list := range frames {
		args := []string{"thief", strconv.Itoa(int(id))}
		for _, mfn := range list {
			args = append(args, strconv.FormatUint(mfn, 10))
		}
		d := g.create(args...)
		before, err := g.h.c.domainInfo(d.id)
		g.must(err)
		g.must(d.Unpause())
		g.eventually("the thief", func() bool {
			info, err := g.h.c.domainInfo(d.id)
			g.must(err)
			return info.Flags&(infBlocked|infShutdown|infDying) != 0
		})
		after, err := g.h.c.domainInfo(d.id)
		g.must(err)
		if d.result(1) != 0 {
			t.Errorf("domain %d: %d ways worked, the last: %d with %#x", id, d.result(1), d.result(2), d.result(3))
		}
		if d.result(4) == 0 {
			t.Error("nothing worked with its own frame: the ways are wrong")
		}
		if after.TotPages > before.TotPages || d.isGone() {
			t.Errorf("it went from %d to %d frames; gone: %v", before.TotPages, after.TotPages, d.isGone())
		}
		g.end(d)
	}
	now := make([]byte, len(image))
	g.must(v.ReadMemory(abi.ImageVa, now))
	kept := make([]byte, 8)
	g.must(v.ReadMemory(v.ramVA()+secret, kept))
	if !bytes.Equal(now[:4*pageSize], image[:4*pageSize]) || string(kept) != "a secret" {
		t.Error("the victim's memory has changed")
	}
	turns := v.result(2)
	g.eventually("the victim", func() bool { return v.result(2) > turns })
}
