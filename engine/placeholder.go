package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"kxsh/elf"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// A placeholder is a pVM without a program (abi.FWaits): its image has the LibOS and all of the C library. It has booted, and waits to be given an application
// (recycle.go). It is no process yet: no table and no record knows it, and an engine that dies leaves some that the next one ends.

const (
	// placeholderImage is its image's name among kxsh's own files, applicationWord the variable in it that says where the application begins.
	placeholderImage = "placeholder.kx"
	applicationWord  = "kx_application"

	// placeholderPages are those of its dynamic segment: for most applications with all their libraries, and a successor of each.
	placeholderPages = 16 << 20 / elf.PageSize
	// defaultPlaceholders is how many should wait while applications are recycled, placeholdersMax how many can.
	defaultPlaceholders = 3
	placeholdersMax     = 256
	// recentOutfits is how many different ones are remembered, outfitIdle for how long if there are others.
	recentOutfits = 8
	outfitIdle    = 10 * time.Second
	// placeholderIdle is how long they wait for the next application.
	placeholderIdle = time.Minute
	// placeholderRest is for how long a number is not given again, so that those who have seen an end can ask about it.
	placeholderRest = 5 * time.Second
	// placeholderNap lets a program that was just started begin before the machine makes the next one.
	placeholderNap = 2 * time.Millisecond
	// placeholderRetry is the wait after one could not be made; placeholderPatience is what it has to boot.
	placeholderRetry    = time.Second
	placeholderPatience = time.Minute
)

// placeholders are those that wait, made in the background from the first use on. Beside those that should wait there are as many of used domains at most,
// which rest.
type placeholders struct {
	e    *Engine
	wake chan struct{} // something changed that the filler should look at

	mu      sync.Mutex
	waiting []waiting // the one that waits longest first
	coming  int       // used domains that are made anew
	recent  []*outfit // what was wanted, the last one first, whose user it is
	want    int
	used    time.Time     // when one was wanted last
	done    chan struct{} // closed when the filler has ended; nil: nobody has wanted one yet
	closed  bool
}

// waiting is a placeholder that is not to be taken before some time.
type waiting struct {
	p    *pvm
	from time.Time
	fit  *fit // the application that is mapped there already; nil: none is
}

func newPlaceholders(e *Engine) *placeholders {
	return &placeholders{e: e, want: defaultPlaceholders, wake: make(chan struct{}, 1)}
}

// take returns one that waits, or none, and has others made. What is mapped there is that outfit, or nothing.
func (l *placeholders) take(o *outfit) waiting {
	w := l.pick(o)
	if w.fit == nil || w.fit.like(o) {
		return w
	}
	if err := w.fit.clear(w.p); err != nil {
		l.e.log.Warn("placeholder", "err", err)
		end(w.p)
		return waiting{}
	}
	w.fit = nil
	return w
}

// pick is take, of the one that is nearest to that outfit.
func (l *placeholders) pick(o *outfit) (w waiting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remember(o)
	now := time.Now()
	if l.used = now; l.done == nil && !l.closed {
		l.done = make(chan struct{})
		go l.fill()
	}
	l.poke()
	best := -1
	for i, w := range l.waiting {
		if !w.from.After(now) && !hasGone(w.p) && (best < 0 || w.nearness(o) > l.waiting[best].nearness(o)) {
			best = i
		}
	}
	if best >= 0 {
		w = l.waiting[best]
		l.waiting = slices.Delete(l.waiting, best, best+1)
	}
	return w
}

// nearness tells how much is done already for an outfit.
func (w *waiting) nearness(o *outfit) int {
	switch {
	case w.fit == nil:
		return 1
	case w.fit.like(o):
		return 2
	}
	return 0
}

// remember notes that an outfit was wanted. It takes the place of one whose files have changed since.
func (l *placeholders) remember(o *outfit) {
	if l.closed || !o.lasts() {
		return
	}
	if i := slices.IndexFunc(l.recent, o.like); i >= 0 {
		o = l.recent[i]
		l.recent = slices.Delete(l.recent, i, i+1)
	} else {
		l.e.libs.hold(o.files)
		l.forget(slices.IndexFunc(l.recent, func(r *outfit) bool { return r.uses[0].Path == o.uses[0].Path && r.lazy == o.lazy }))
	}
	o.used = time.Now()
	l.recent = slices.Insert(l.recent, 0, o)
	for len(l.recent) > recentOutfits {
		l.forget(recentOutfits)
	}
}

// forget forgets the outfit with a number, if there is one.
func (l *placeholders) forget(i int) {
	if i >= 0 {
		l.e.putLibraries(l.recent[i].files)
		l.recent = slices.Delete(l.recent, i, i+1)
	}
}

// put has one wait, behind the others.
func (l *placeholders) put(w waiting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, w)
	l.poke()
}

// giveBack has one wait that was taken and is as it was, before the others.
func (l *placeholders) giveBack(w waiting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.Insert(l.waiting, 0, w)
	l.poke()
}

func (l *placeholders) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// fill makes placeholders until there are enough, has what was run last mapped in all but one of them, and ends those that are too many, or that nobody
// wants any more.
func (l *placeholders) fill() {
	defer close(l.done)
	for {
		extra, lacks, closed := l.look()
		if extra != nil {
			end(extra)
			continue
		}
		if p, o := l.due(); p != nil {
			l.prepare(p, o)
			continue
		}
		switch {
		case closed:
			return
		case !lacks:
			l.sleep(placeholderRest)
			time.Sleep(placeholderNap)
		default:
			p, err := l.e.newPlaceholder(context.Background(), usualPlaceholder, &steps{}, l.e.hv.Create)
			if err != nil {
				l.e.log.Warn("placeholder", "err", err)
				l.sleep(placeholderRetry)
				continue
			}
			l.put(waiting{p: p})
		}
	}
}

// due takes out one that can be prepared, and tells for which of the recent outfits: the one for which the fewest are. nil: there is nothing to prepare.
func (l *placeholders) due() (p *pvm, due *outfit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	blanks, all, prepared := []int{}, 0, map[*outfit]int{}
	now, free := time.Now(), min(max(l.want-1, 0), 1) // one is left for what comes
	for i, w := range l.waiting {
		switch {
		case w.from.After(now):
		case w.fit == nil:
			blanks = append(blanks, i)
		default:
			prepared[w.fit.outfit]++
			all++
		}
	}
	if l.closed || len(blanks) <= free || all >= l.want-free {
		return nil, nil
	}
	for _, o := range l.recent {
		if due == nil || prepared[o] < prepared[due] {
			due = o
		}
	}
	if due != nil {
		l.e.libs.hold(due.files)
		p = l.waiting[blanks[0]].p
		l.waiting = slices.Delete(l.waiting, blanks[0], blanks[0]+1)
	}
	return p, due
}

// prepare maps an outfit in one that was taken out, and has it wait again. If it cannot be who runs it is told.
func (l *placeholders) prepare(p *pvm, o *outfit) {
	defer l.e.putLibraries(o.files)
	f, err := l.e.prepare(p, o)
	if err != nil {
		l.e.log.Warn("placeholder: not prepared", "image", o.uses[0].Path, "err", err)
		l.mu.Lock()
		l.forget(slices.Index(l.recent, o))
		l.mu.Unlock()
	}
	l.put(waiting{p: p, fit: f})
}

// look takes out one that is too many, was prepared for what is not wanted any more, or has died, and tells whether there are too few.
func (l *placeholders) look() (extra *pvm, lacks, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	want := l.wanted()
	if last := len(l.recent) - 1; last > 0 && time.Since(l.recent[last].used) >= outfitIdle {
		l.forget(last)
	}
	useless := func(w waiting) bool { return hasGone(w.p) || w.fit != nil && !slices.Contains(l.recent, w.fit.outfit) }
	i := slices.IndexFunc(l.waiting, useless)
	if i < 0 && len(l.waiting) > 2*want {
		i = len(l.waiting) - 1
	}
	if i >= 0 {
		extra = l.waiting[i].p
		l.waiting = slices.Delete(l.waiting, i, i+1)
	}
	return extra, l.ready() < want, l.closed && l.coming == 0
}

// wanted is how many should wait now.
func (l *placeholders) wanted() int {
	if l.closed || time.Since(l.used) >= placeholderIdle {
		return 0
	}
	return l.want
}

// ready is how many can be taken now.
func (l *placeholders) ready() (n int) {
	now := time.Now()
	for _, w := range l.waiting {
		if !w.from.After(now) {
			n++
		}
	}
	return n
}

// expect tells whether a used domain is to be made anew; then it comes, or not: came.
func (l *placeholders) expect() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting)-l.ready()+l.coming >= l.wanted() {
		return false
	}
	l.coming++
	return true
}

func (l *placeholders) came() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.coming--
	l.poke()
}

// sleep waits until there is something to do, or for d.
func (l *placeholders) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.wake:
	case <-timer.C:
	}
}

func (l *placeholders) resize(n int) error {
	if n < 0 || n > placeholdersMax {
		return errf(CodeInvalid, "resize --recycle %d: from 0 to %d can wait", n, placeholdersMax)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.want = n
	l.poke()
	return nil
}

// state tells how many can be taken, and how many should wait once somebody has wanted one.
func (l *placeholders) state() PoolState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return PoolState{Ready: l.ready(), Want: l.want}
}

// close ends all of them.
func (l *placeholders) close() {
	l.mu.Lock()
	l.closed = true
	l.poke()
	done := l.done
	l.mu.Unlock()
	if done != nil {
		<-done
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.recent) > 0 {
		l.forget(0)
	}
}

func hasGone(p *pvm) bool {
	select {
	case <-p.dom.Gone():
		return true
	default:
		return false
	}
}

// end ends a pVM that is in no table.
func end(p *pvm) {
	p.dom.Destroy()
	<-p.dom.Gone()
	p.release()
}

// placeholderShape is what a placeholder has: bytes of RAM window, pages of dynamic segment, a root file system.
type placeholderShape struct {
	memory, pages uint64
	root          []byte
}

var usualPlaceholder = placeholderShape{memory: DefaultMemory, pages: placeholderPages}

// usual tells whether those that wait are such.
func (s *placeholderShape) usual() bool {
	return s.memory == usualPlaceholder.memory && s.pages == usualPlaceholder.pages && s.root == nil
}

// newPlaceholder makes one that waits; create is Hypervisor.Create, or Domain.Reset. A failure leaves nothing.
func (e *Engine) newPlaceholder(ctx context.Context, shape placeholderShape, s *steps, create func(context.Context, *xen.Config) (xen.Domain, error)) (*pvm, error) {
	im, err := e.ownImage(placeholderImage)
	if err != nil {
		return nil, err
	}
	defer e.images.put(im)
	linked, err := elf.Link(im.elf, nil, nil, true)
	if err != nil {
		return nil, errf(CodeInternal, "%s: %v", placeholderImage, err)
	}
	va, pages := xen.PlaceDynamic(shape.pages, shape.memory)
	p := newPVM()
	p.syms = im.syms
	p.linked.Store(linked)
	p.rec.Placeholder, p.rec.Dynamic = &LibraryFile{e.builtIn.find(placeholderImage).path, im.sha}, xen.Range{VA: va, Pages: pages}
	if err := s.do("domain", func() (err error) {
		p.dom, err = create(ctx, &xen.Config{
			Image: im.xen, Dynamic: xen.Dynamic{VA: va, Pages: pages, Content: linked.Content},
			Boot: xen.Boot{Name: "placeholder", Waits: true, Root: shape.root}, Memory: shape.memory,
		})
		return err
	}, nil); err != nil {
		return nil, err
	}
	linked.Content = nil // it is needed once
	p.pid = int(p.dom.ID())
	p.attachControl()
	if err := s.do("boot", func() error {
		if err := p.dom.Unpause(); err != nil {
			return err
		}
		if err := p.awaitLoad(ctx); err != nil {
			return err
		}
		return p.dom.Map(nil, nil, nil) // what the hypervisor has to look for to map anything, it knows then
	}, nil); err != nil {
		end(p)
		return nil, err
	}
	return p, nil
}

// awaitLoad waits until a placeholder asks for an application.
func (p *pvm) awaitLoad(ctx context.Context) error {
	patience := time.NewTimer(placeholderPatience)
	defer patience.Stop()
	for {
		if call, ok := p.calls.Next(); ok && call.Op == abi.CallLoad && call.A[0] == 0 {
			return nil
		}
		select {
		case <-p.dom.Rang():
		case <-p.dom.Gone():
			return fmt.Errorf("domain %d ended while it booted", p.pid)
		case <-patience.C:
			return fmt.Errorf("domain %d has not booted in %v", p.pid, placeholderPatience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
