package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kxsh/engine"
	"kxsh/xen"
)

// goals is what fork is measured against: ratios to Linux's at the smallest and the largest size, the largest to the
// smallest of our own, and Linux's cost of a copied page.
type goals struct {
	sizes                         []int // MiB
	small, large, growth, perPage float64
	idle                          float64 // KiB
	children                      int     // so many weigh more than what else goes on in the host
}

var (
	forkHosted = goals{[]int{4, 64, 1024}, 0.8, 0.02, 2, 1.5, 300, 400}
	forkXen    = goals{[]int{4, 64, 256}, 0.1, 0.02, 4, 0.5, 400, 50}
)

const (
	idleParent = 64 // MiB
	// forksToWarm is after how many forks a pool has blanks for forks, of the parent's size.
	forksToWarm = 2
)

// forkRows are the series of one size; each has one of the child and one of the parent.
type forkRows struct {
	mib                            int
	native, first, bare            pair
	later, written                 pair
	nativeTouch, touch, laterTouch pair
}

// pair is what the child took, and the parent.
type pair struct{ child, parent *Series }

func newPair(what, child, parent string, peer int) pair {
	return pair{&Series{Name: what + ": " + child, peer: peer}, &Series{Name: what + ": " + parent, peer: peer}}
}

func latency(what string, peer int) pair { return newPair(what, "child runs", "parent runs", peer) }
func copying(what string, peer int) pair {
	return newPair(what+", copying a page", "child", "parent", peer)
}

func newForkRows(mib int) *forkRows {
	name := func(what string) string { return fmt.Sprintf("%d MiB, %s", mib, what) }
	return &forkRows{
		mib:         mib,
		native:      latency(name("Linux fork"), 1),
		first:       latency(name("first fork"), 0),
		bare:        latency(name("first fork, no pool"), 0),
		later:       latency(name("later forks"), 0),
		written:     latency(name("later forks, all written to"), 0),
		nativeTouch: copying(name("Linux fork"), 1),
		touch:       copying(name("first fork"), 0),
		laterTouch:  copying(name("later forks"), 0),
	}
}

func (r *forkRows) all() (list []*Series) {
	for _, p := range []pair{r.native, r.first, r.bare, r.later, r.written, r.nativeTouch, r.touch, r.laterTouch} {
		list = append(list, p.child, p.parent)
	}
	return list
}

func (p pair) add(s split) { p.child.add(s.child); p.parent.add(s.parent) }

// addTouch counts a page.
func (p pair) addTouch(s split, mib int) {
	pages := time.Duration(mib << 20 / 4096)
	p.child.add(s.childTouch * perTickScale / pages)
	p.parent.add(s.parentTouch * perTickScale / pages)
}

// perTickScale keeps what a page takes from being rounded to ticks.
const perTickScale = 1000

func (p pair) sum(peer pair, target float64) {
	p.child.sum(peer.child, target)
	p.parent.sum(peer.parent, target)
}

// fork measures from before fork() to the first instruction of the child and to the parent's next, beside the same
// source as a Linux process; what copying costs later; what an idle child weighs.
func (b *Bench) fork(ctx context.Context) (err error) {
	hv, info, err := b.host()
	if err != nil {
		return err
	}
	defer hv.Close()
	g := forkHosted
	if info.Name == "xen" {
		g = forkXen
	}
	e, err := b.engines(ctx, hv)
	if err != nil {
		return err
	}
	defer e.stop()
	r := &Report{Bench: "fork", Time: time.Now(), Machine: machine(&info)}
	var rows []*forkRows
	for _, mib := range g.sizes {
		row := newForkRows(mib)
		if err := b.forks(ctx, row, e); err != nil {
			return fmt.Errorf("%d MiB: %w", mib, err)
		}
		rows = append(rows, row)
	}
	smallest, largest := rows[0], rows[len(rows)-1]
	for _, row := range rows {
		target := 0.
		switch row {
		case smallest:
			target = g.small
		case largest:
			target = g.large
		}
		row.native.sum(pair{}, 0)
		row.nativeTouch.sum(pair{}, 0)
		row.first.sum(row.native, target)
		row.bare.sum(row.native, 0)
		row.later.sum(row.native, target)
		row.written.sum(row.native, 0)
		row.touch.sum(row.nativeTouch, g.perPage)
		row.laterTouch.sum(row.nativeTouch, g.perPage)
		r.Series = append(r.Series, row.all()...)
	}
	r.Values = append(r.Values, Value{
		fmt.Sprintf("first fork, child runs: %d MiB to %d MiB", largest.mib, smallest.mib),
		float64(largest.first.child.Median) / float64(smallest.first.child.Median), "times", g.growth,
	})
	r.plots = forkPlots(rows)
	weight, err := b.idleChild(ctx, e, hv, g.children)
	if err != nil {
		return err
	}
	r.Values = append(r.Values, Value{fmt.Sprintf("memory of an idle child of a %d MiB parent", idleParent), weight / 1024, "KiB", g.idle})
	return b.print(r)
}

// forkPlots are: the child's first instruction by size, all latencies, and what copying a page takes.
func forkPlots(rows []*forkRows) []plot {
	bySize := curves{
		title: "Fork, until the child runs, by the memory of the parent; both axes logarithmic", xName: "MiB", log: true,
		show: timeTick, end: timeText,
		list: []curve{{name: "Linux", peer: 1}, {name: "first fork"}, {name: "later forks"}},
	}
	latencies, copies := dots{title: "Fork, logarithmic"}, dots{title: "Copying a page later, logarithmic"}
	for _, r := range rows {
		bySize.xTicks = append(bySize.xTicks, float64(r.mib))
		for i, p := range []pair{r.native, r.first, r.later} {
			c := &bySize.list[i]
			c.x, c.y = append(c.x, float64(r.mib)), append(c.y, float64(p.child.Median))
		}
		for _, p := range []pair{r.native, r.first, r.bare, r.later, r.written} {
			latencies.series = append(latencies.series, p.child, p.parent)
		}
		for _, p := range []pair{r.nativeTouch, r.touch, r.laterTouch} {
			copies.series = append(copies.series, p.child, p.parent)
		}
	}
	return []plot{bySize, latencies, copies}
}

// forks measures one size. Each parent of a first fork is a new one.
func (b *Bench) forks(ctx context.Context, r *forkRows, e *engines) (err error) {
	n := b.rounds(100)
	clock := startClock()
	native, err := b.native(ctx, r.mib)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, native.end()) }()
	old, err := b.pvm(ctx, e.pooled, r.mib)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.end()) }()
	for range forksToWarm {
		if _, err := old.fork(false); err != nil {
			return err
		}
	}
	if err := e.quiet.begin(ctx); err != nil {
		return err
	}
	fresh := func(from *engine.Engine, touch bool) (s split, err error) {
		f, err := b.pvm(ctx, from, r.mib)
		if err != nil {
			return s, err
		}
		defer func() { err = errors.Join(err, f.end()) }()
		e.quiet.rest++
		defer func() { e.quiet.rest-- }()
		if err := e.quiet.wait(ctx); err != nil {
			return s, err
		}
		return f.fork(touch)
	}
	ways := func(touch bool, linux, first, without, later pair) error {
		for _, m := range []struct {
			p    pair
			once func() (split, error)
		}{
			{linux, func() (split, error) { return native.fork(touch) }},
			{first, func() (split, error) { return fresh(e.pooled, touch) }},
			{without, func() (split, error) { return fresh(e.bare, touch) }},
			{later, func() (split, error) { return old.fork(touch) }},
		} {
			if m.p.child == nil {
				continue
			}
			b.dog.progress() // a round takes minutes where memory is large and the machine an emulated one
			if err := e.quiet.wait(ctx); err != nil {
				return err
			}
			s, err := m.once()
			if err != nil {
				return err
			}
			if touch {
				m.p.addTouch(s, r.mib)
			} else {
				m.p.add(s)
			}
		}
		return nil
	}
	next := b.begin(n, "fork of %d MiB", r.mib)
	for i := range n {
		next()
		without := r.bare
		if i%5 != 0 {
			without = pair{} // a fifth will do
		}
		if err := ways(false, r.native, r.first, without, r.later); err != nil {
			return err
		}
	}
	// It touches all that there is: a tenth of the rounds will do.
	few := max(n/10, 5)
	next = b.begin(few, "fork of %d MiB, copying all of it", r.mib)
	for range few {
		next()
		if err := ways(true, r.nativeTouch, r.touch, pair{}, r.laterTouch); err != nil {
			return err
		}
	}
	next = b.begin(n, "fork of %d MiB, after that", r.mib)
	for range n {
		next()
		if err := ways(false, pair{}, pair{}, pair{}, r.written); err != nil {
			return err
		}
	}
	clock.scale(r.all()...)
	for _, p := range []pair{r.nativeTouch, r.touch, r.laterTouch} {
		for _, s := range []*Series{p.child, p.parent} {
			for i := range s.All {
				s.All[i] /= perTickScale
			}
		}
	}
	return nil
}

// idleChild is what the host's free memory falls by for one of n children that do nothing, in bytes.
func (b *Bench) idleChild(ctx context.Context, e *engines, hv xen.Hypervisor, n int) (weight float64, err error) {
	f, err := b.pvm(ctx, e.pooled, idleParent)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.end()) }()
	// What the first forks take for good is not counted, nor what the pool takes.
	var free [2]int64
	for i, children := range []int{forksToWarm, forksToWarm + n} {
		b.say("%d idle children", children)
		if err := f.tell(fmt.Sprint("i ", children)); err != nil {
			return 0, err
		}
		if err := e.quiet.begin(ctx); err != nil {
			return 0, err
		}
		if free[i], err = available(hv); err != nil {
			return 0, err
		}
	}
	return float64(free[0]-free[1]) / float64(n), f.tell("k")
}
