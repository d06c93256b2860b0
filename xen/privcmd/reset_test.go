//go:build xen

package privcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"kxsh/ipc/abi"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// newBuild makes a domain as Reset does, up to its last steps; the second result undoes all of it.
func newBuild(t testing.TB, h *Hypervisor, c *xen.Config) (*build, func()) {
	t.Helper()
	b := &build{h: h, c: c}
	err := b.steps.Run(context.Background(), nil, xen.Step{Name: "check", Do: b.check})
	if err == nil {
		b.begin()
		err = b.steps.Run(context.Background(), nil, append(b.making(), b.filling()...)...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b, func() {
		b.steps.Run(context.Background(), nil, xen.Step{Name: "undo", Do: func() error { return errors.New("enough") }})
	}
}

// TestVerify plants something in domains that were just made: each is found.
func TestVerify(t *testing.T) {
	g := newGuests(t, "verify")
	c := &xen.Config{Image: g.im, Memory: 1 << 20, Boot: xen.Boot{Name: "test", Args: []string{"guest", "pong"}, Root: []byte("an archive")}}
	s := xentest.AddLibrary(t, g.h, c)
	defer s.Close()
	for _, l := range []struct {
		name  string
		plant func(b *build) error
	}{
		{"", func(b *build) error { return nil }},
		{"a word in RAM", func(b *build) error { return b.h.c.write(b.d.id, b.mfns[b.l.ram+77:][:1], []byte{0, 0, 1}) }},
		{"a word in the archive", func(b *build) error { return b.h.c.write(b.d.id, b.archived[:1], []byte{1}) }},
		{"a word in the image", func(b *build) error {
			b.slots()[b.img.data[len(b.img.data)-1].first*pageSize+5]++ // the first one is Xen's
			return nil
		}},
		{"a word in a library's own page", func(b *build) error {
			geo := b.geometry()
			b.slots()[b.slotOf[geo.frameOf(c.Dynamic.Private[0].VA)]*pageSize] = 1
			return nil
		}},
		{"a frame of another one in the list", func(b *build) error {
			b.listed()[0] = 1
			return nil
		}},
		{"a frame twice in the list", func(b *build) error {
			b.listed()[0] = b.mfns[b.l.ram]
			return nil
		}},
		{"a word in the console", func(b *build) error {
			b.d.area[abi.ConoutVa-abi.CtlVa+100] = 1
			return nil
		}},
		{"an event", func(b *build) error { return b.h.events.notify(b.d.port) }},
		{"another channel", func(b *build) error {
			_, err := b.h.c.allocUnbound(b.d.id)
			return err
		}},
		{"a page more", func(b *build) error {
			return b.enterUnseen(mmuUpdate{Ptr: b.l.entry(b.mfns, c.Dynamic.VA), Val: b.mfns[b.l.ram]<<pageShift | spanData})
		}},
		{"a page of the family area", func(b *build) error {
			return b.enterUnseen(mmuUpdate{Ptr: b.l.entry(b.mfns, abi.FamilyVa), Val: b.mfns[b.l.ram]<<pageShift | spanData})
		}},
		{"another protection", func(b *build) error {
			op := b.entered[0]
			op.Val ^= pteNX
			return b.enterUnseen(op)
		}},
		{"another frame", func(b *build) error {
			op := b.entered[0]
			op.Val = op.Val&^pteFrame | b.mfns[b.l.ram]<<pageShift
			return b.enterUnseen(op)
		}},
		{"a frame more", func(b *build) error {
			base := b.d.base
			if err := b.allow(base + 1); err != nil {
				return err
			}
			if err := b.h.c.populate(b.d.id, make([]uint64, 1)); err != nil {
				return err
			}
			return b.allow(base)
		}},
		{"more that it may have", func(b *build) error { return domctl(b.h.c, domctlMaxMem, b.d.id, &maxMem{(b.d.base + 9) * 4}) }},
		{"a register", func(b *build) error {
			v := b.context()
			v.Regs.RBX = 1
			return b.h.c.setVCPUContext(b.d.id, v)
		}},
		{"a trap", func(b *build) error {
			v := b.context()
			v.Traps[3] = trapInfo{Vector: 3, CS: kernelCS, Address: b.img.entry}
			return b.h.c.setVCPUContext(b.d.id, v)
		}},
		{"a vector register", func(b *build) error {
			v := b.context()
			v.Flags |= 1 // VGCF_I387_VALID
			v.FPU[0], v.FPU[1], v.FPU[24], v.FPU[25], v.FPU[160] = 0x7f, 3, 0x80, 0x1f, 1
			return b.h.c.setVCPUContext(b.d.id, v)
		}},
		{"a run", func(b *build) error {
			if _, err := b.h.c.domctl(domctlUnpause, b.d.id, nil); err != nil {
				return err
			}
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
				info, err := b.h.c.domainInfo(b.d.id)
				if err != nil {
					return err
				}
				if info.CPUTime != 0 || info.Flags&infBlocked != 0 && info.OnlineVCPUs == 1 { // on an emulated machine whose clock goes back a short run counts for nothing
					break
				}
				if time.Now().After(end) {
					return fmt.Errorf("it does not run: %+v", info)
				}
			}
			_, err := b.h.c.domctl(domctlPause, b.d.id, nil)
			return err
		}},
	} {
		b, undo := newBuild(t, g.h, c)
		if err := b.verify(); err != nil {
			t.Error(err)
		}
		if err := l.plant(b); err != nil {
			t.Errorf("%s: %v", l.name, err)
		}
		err := b.verify()
		if l.name != "" && !errors.Is(err, xen.ErrNotBlank) {
			t.Errorf("%s was not found: %v", l.name, err)
		}
		t.Logf("%s: %v", l.name, err)
		undo()
	}
}

// enterUnseen writes to the domain's page tables what nobody asked for.
func (b *build) enterUnseen(op mmuUpdate) error {
	before := slices.Clone(b.entered)
	err := b.enter([]mmuUpdate{op})
	b.entered = before
	return err
}

// TestResetHeld: as long as somebody has a frame of a domain mapped, there is none of its number.
func TestResetHeld(t *testing.T) {
	g := newGuests(t, "held")
	d := g.create("status", "0")
	g.must(d.Unpause())
	<-d.Gone()
	area, err := g.h.c.mapFrames(d.id, []uint64{g.frameOf(d, d.ramVA())}, protRead)
	g.must(err)
	c := &xen.Config{Image: g.im, Memory: 1 << 20, Boot: xen.Boot{Args: []string{"guest", "status", "0"}}}
	if _, err := d.Reset(context.Background(), c); !errors.Is(err, xen.ErrNotBlank) {
		t.Errorf("a domain of which somebody has a frame was reset: %v", err)
	}
	g.must(g.h.c.munmap(area))
}

// BenchmarkReset compares it with an end and a start.
func BenchmarkReset(b *testing.B) {
	h := open(b, "bench")
	defer h.Close()
	c := &xen.Config{Image: xentest.PrepareGuest(b, h), Memory: 64 << 20, Boot: xen.Boot{Args: []string{"guest", "status", "0"}}}
	for _, way := range []string{"end and create", "reset"} {
		b.Run(way, func(b *testing.B) {
			d, err := h.Create(context.Background(), c)
			steps, order := map[string]time.Duration{}, []string{}
			c.Step = func(name string, d time.Duration) {
				if _, ok := steps[name]; !ok {
					order = append(order, name)
				}
				steps[name] += d
			}
			defer func() { c.Step = nil }()
			var took time.Duration
			for b.Loop() {
				if err == nil {
					err = d.Unpause()
				}
				if err != nil {
					b.Fatal(err)
				}
				<-d.Gone()
				begin := time.Now()
				if way == "reset" {
					d, err = d.Reset(context.Background(), c)
				} else {
					xen.End(d)
					d, err = h.Create(context.Background(), c)
				}
				took += time.Since(begin)
			}
			xen.End(d)
			b.ReportMetric(float64(took.Microseconds())/float64(b.N), "µs/each")
			line := ""
			for _, name := range order {
				line += fmt.Sprintf(" %s %d", name, steps[name].Microseconds()/int64(b.N))
			}
			b.Log(line)
		})
	}
}

// BenchmarkScrub is what a reset in place could not do without: to clear every frame, to look at it, and to write its entry.
func BenchmarkScrub(b *testing.B) {
	h := open(b, "bench")
	defer h.Close()
	n, undo := newBuild(b, h, &xen.Config{Image: xentest.PrepareGuest(b, h), Memory: 64 << 20, Boot: xen.Boot{Args: []string{"guest"}}})
	defer undo()
	ram := n.mfns[n.l.ram:n.l.p2m]
	var took [3]time.Duration
	for b.Loop() {
		for i, f := range []func() error{
			func() error { return h.c.clearFrames(n.d.id, ram) },
			n.verify,
			func() error {
				_, err := h.c.mmuUpdates(n.d.id, n.d.id, n.entries(nil, span{va: n.l.ramVA, pages: n.l.ready, bits: spanFresh}, ram))
				return err
			},
		} {
			begin := time.Now()
			if err := f(); err != nil {
				b.Fatal(err)
			}
			took[i] += time.Since(begin)
		}
	}
	for i, name := range []string{"clear", "verify", "enter"} {
		b.ReportMetric(float64(took[i].Microseconds())/float64(b.N), "µs/"+name)
	}
}
