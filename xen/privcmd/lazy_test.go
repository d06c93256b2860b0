//go:build xen

package privcmd

import (
	"context"
	"slices"
	"testing"
	"time"

	"kxsh/ipc/abi"
	"kxsh/xen/xentest"
)

// lazyPair is a parent and its child, which lacks what it has not asked for.
func lazyPair(g guests) (parent, child *xentest.Forker) {
	g.t.Helper()
	g.h.fillAfter = time.Hour
	parent = xentest.StartForker(g.t, g.h, g.im, xentest.ForkerMemory, "lazy")
	return parent, parent.Child()
}

func domainOf(f *xentest.Forker) *Domain { return f.Domain.(*Domain) }

func (d *Domain) lazyRegions() (n int) {
	for r := range abi.LazyRegions {
		if (*regions)(&d.control().Lazy).has(r) {
			n++
		}
	}
	return n
}

// content is what the guests' pages hold at first.
func content() (c [xentest.ForkPages]uint64) {
	for i := range c {
		c[i] = uint64(i) + 1
	}
	return c
}

// TestLazyUnused holds that of a child that ends before it has used a region its parent has nothing left, not even a page that it has to
// copy.
func TestLazyUnused(t *testing.T) {
	g := newGuests(t, "lazyunused")
	m, c := lazyPair(g)
	p, d := domainOf(m), domainOf(c)
	all := p.lazyRegions()
	if want := int(p.geometry.pages+perTable-1)/perTable - 1; all != want || d.lazyRegions() != want {
		t.Errorf("%d regions of the parent and %d of the child are lazy, want all but the one with the stack, %d", all, d.lazyRegions(), want)
	}
	g.must(d.settle(d.geometry.ramVA + 2<<20))
	if p.lazyRegions() != all-1 || d.lazyRegions() != all-1 {
		t.Errorf("after the child used one of %d: %d, %d", all, p.lazyRegions(), d.lazyRegions())
	}
	g.end(d)
	if n := p.lazyRegions(); n != 0 || len(p.heirs) != 0 {
		t.Errorf("after the child's end %d regions are lazy, and there are %d heirs", n, len(p.heirs))
	}
	number, err := p.number(p.geometry.numbers()+p.geometry.pages-1, nil)
	if err != nil || number == 0 || number&abi.MfnShared != 0 {
		t.Errorf("the parent's last page is frame %#x, %v", number, err)
	}
	m.Fill(xentest.ForkPages-1, 77)
	if got := m.Look(); got[xentest.ForkPages-1] != 77 {
		t.Error(got)
	}
	g.end(p)
}

// TestLazyFill holds that a child that asks for nothing gets all, and that several heirs of one region, of different forks, each get it as
// it was at theirs.
func TestLazyFill(t *testing.T) {
	g := newGuests(t, "lazyfill")
	m, first := lazyPair(g)
	const last = xentest.ForkPages - 1
	m.Fill(0, 100)
	second := m.Child()
	p := domainOf(m)
	if len(p.heirs) != 2 {
		t.Errorf("%d heirs", len(p.heirs))
	}
	m.Fill(last, 500)
	want := content()
	if got := first.Look(); got != want {
		t.Errorf("the first child: %v", got)
	}
	g.h.fillAfter = 0
	domainOf(second).fillLater()
	g.eventually("the second child to get all", func() bool { return domainOf(second).heir.Load() == nil })
	want[0] = 100
	if got := second.Look(); got != want || domainOf(second).lazyRegions() != 0 {
		t.Errorf("the second child: %v", got)
	}
	if n := p.lazyRegions(); n == 0 {
		t.Error("the first child lacks nothing any more, although nobody gave it")
	}
	g.end(p) // and so gives it
	if n := domainOf(first).lazyRegions(); n != 0 {
		t.Errorf("an orphan lacks %d regions", n)
	}
	g.end(domainOf(first))
	g.end(domainOf(second))
}

// TestLazyAdopted holds that another engine goes on, in whatever order it finds the two.
func TestLazyAdopted(t *testing.T) {
	g := newGuests(t, "lazyadopted")
	for _, childFirst := range []bool{false, true} {
		m, c := lazyPair(g)
		m.Fill(xentest.ForkPages-1, 9) // a region that the child has
		two := []*xentest.Forker{m, c}
		var tokens [][]byte
		for _, f := range two {
			tokens = append(tokens, f.Token())
			forget(t, g.h, domainOf(f))
		}
		order := []int{0, 1}
		if childFirst {
			slices.Reverse(order)
		}
		for _, i := range order {
			d, err := g.h.Adopt(two[i].ID(), tokens[i])
			g.must(err)
			two[i] = xentest.AsForker(t, d)
		}
		p, d := domainOf(two[0]), domainOf(two[1])
		if len(p.heirs) != 1 || d.lazyRegions() == 0 || d.lazyRegions() != p.lazyRegions() {
			t.Errorf("%d heirs; %d lazy regions of the parent, %d of the child", len(p.heirs), p.lazyRegions(), d.lazyRegions())
		}
		two[0].Fill(xentest.ForkPages, 10)
		if got := two[1].Look(); got != content() {
			t.Errorf("the child: %v", got)
		}
		g.end(p)
		g.end(d)
	}
}

// TestLazyLie has an adopted domain that nobody has forked say that a region is lazy.
func TestLazyLie(t *testing.T) {
	g := newGuests(t, "lazylie")
	m := xentest.StartForker(t, g.h, g.im, xentest.ForkerMemory, "lazy")
	token := m.Token()
	forget(t, g.h, domainOf(m))
	next, err := g.h.Adopt(m.ID(), token)
	g.must(err)
	d := next.(*Domain)
	for i := range d.control().Lazy {
		d.control().Lazy[i] = ^uint64(0)
	}
	g.must(d.Settle(lastPage(d)))
	g.must(d.Settle(^uint64(0)))
	if r := d.geometry.regionAt(lastPage(d)); (*regions)(&d.control().Lazy).has(r) {
		t.Error("it is left in the belief")
	}
	if got := xentest.AsForker(t, d).Look(); got != content() {
		t.Error(got)
	}
	g.end(d)
}

// TestLazyUnderneath has somebody else destroy the parent of a child that lacks something: it is told so, or ended, and the rest is as
// ever.
func TestLazyUnderneath(t *testing.T) {
	g := newGuests(t, "lazyunderneath")
	m, c := lazyPair(g)
	p, d := domainOf(m), domainOf(c)
	id, token := d.id, d.Token()
	g.must(g.h.c.destroy(p.id))
	if err := d.Settle(lastPage(d)); err == nil {
		t.Error("it got the page of a parent that is gone")
	} else {
		oneLine(t, err, "")
	}
	forget(t, g.h, d)
	next, err := g.h.Adopt(id, token)
	g.must(err)
	d = next.(*Domain)
	if err := d.Settle(lastPage(d)); err == nil {
		t.Error("adopted, it got the page of a parent that is gone")
	}
	if f, err := d.Fork(context.Background(), xentest.AsForker(t, d).Called(0)); err == nil {
		t.Error("it was forked without all of its memory")
		g.end(f.(*Domain))
	}
	g.end(d)
	<-p.Gone()
	g.must(p.Release())
}
