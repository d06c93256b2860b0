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

// adopted is a domain that the engine has forgotten, and found again.
func (g guests) adopted(d *Domain) *Domain {
	g.t.Helper()
	id, token := d.id, d.Token()
	forget(g.t, g.h, d)
	next, err := g.h.Adopt(id, token)
	g.must(err)
	return next.(*Domain)
}

// TestLazyDied has an engine die while it tells a parent that regions are frozen, and that they are not any more: the parent can use and
// fork what it has.
func TestLazyDied(t *testing.T) {
	g := newGuests(t, "lazydied")
	for name, writable := range map[string]bool{"freezing": false, "thawing": true} {
		m, c := lazyPair(g)
		p, r := domainOf(m), domainOf(m).geometry.regionAt(lastPage(domainOf(m)))
		g.end(domainOf(c))
		g.must(p.setWritable([]int{r}, writable))
		if writable {
			var told regions
			told.add(r)
			told.tell(p)
		}
		p = g.adopted(p)
		if err := p.Settle(lastPage(p)); err != nil || p.lazyRegions() != 0 {
			t.Errorf("%s: %v, %d lazy regions", name, err, p.lazyRegions())
		}
		m = xentest.AsForker(t, p)
		m.Fill(xentest.ForkPages-1, 5)
		g.end(domainOf(m.Child()))
		g.end(p)
	}
}

// TestLazyKilled has a parent destroyed, or use a region, in the middle of a fork, when the child does not even have its control area: it has all
// that it is told to have.
func TestLazyKilled(t *testing.T) {
	g := newGuests(t, "lazykilled")
	g.h.fillAfter = time.Hour
	m := xentest.StartForker(t, g.h, g.im, xentest.ForkerMemory, "lazy")
	p := domainOf(m)
	f := m.Called(0)
	f.Step = func(name string, _ time.Duration) {
		if name == "resume" {
			g.must(p.settle(lastPage(p)))
		}
	}
	child, err := p.Fork(context.Background(), f)
	g.must(err)
	m.Tell(int64(child.ID()))
	d := child.(*Domain)
	if h := d.heir.Load(); h == nil || h.lacks != regions(d.control().Lazy) {
		t.Errorf("the child lacks %+v, and was told %x", h, d.control().Lazy[0])
	}
	g.end(d)

	f, killed := m.Called(0), make(chan error, 1)
	f.Step = func(name string, _ time.Duration) {
		switch name {
		case "pause":
			go func() { killed <- p.Destroy() }()
			time.Sleep(100 * time.Millisecond) // it waits for the fork to let go
		case "resume":
			g.must(<-killed)
			if n := len(p.heirs); n != 0 {
				t.Errorf("a parent that was destroyed has left %d heirs without their part", n)
			}
		}
	}
	if d, err := p.Fork(context.Background(), f); err == nil {
		g.end(d.(*Domain))
	}
	g.must(p.Release())
}

// TestLazyStack holds that a domain whose stack was in a frozen region goes on, although no page of it is shared; once, for who comes
// back then has another complaint.
func TestLazyStack(t *testing.T) {
	g := newGuests(t, "lazystack")
	m, c := lazyPair(g)
	p := domainOf(m)
	v, err := p.c.vcpuContext(p.id)
	g.must(err)
	v.Regs.RSP = p.geometry.ramVA + 2<<abi.LazyShift + 100*pageSize + 8
	if err := p.goOn(v); err != nil {
		t.Error(err)
	}
	if err := p.goOn(v); err == nil {
		t.Error("it goes on, although nothing is amiss")
	}
	g.end(domainOf(c))
	g.end(p)
}

// TestLazyEarly holds that nobody uses a domain that is being adopted before it has its control area: it may be one that crashed with its stack in
// a region that it lacks, and who watches for ends knows it already.
func TestLazyEarly(t *testing.T) {
	g := newGuests(t, "lazyearly")
	d := g.create("spin")
	id, token := d.id, d.Token()
	forget(t, g.h, d)
	d.family.mu.Lock() // holds up the adoption
	adopted := make(chan error)
	go func() {
		_, err := g.h.Adopt(id, token)
		adopted <- err
	}()
	var next *Domain
	g.eventually("the adoption", func() bool {
		g.h.mu.Lock()
		defer g.h.mu.Unlock()
		next = g.h.domains[id]
		return next != nil
	})
	if next.mu.TryRLock() {
		t.Errorf("it can be used with a control area of %d bytes", len(next.area))
		next.mu.RUnlock()
	}
	d.family.mu.Unlock()
	g.must(<-adopted)
	g.must(next.use())
	next.mu.RUnlock()
	g.end(next)
}
