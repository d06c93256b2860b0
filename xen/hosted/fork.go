package hosted

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// The first fork of a domain freezes the file that its frames are: the child is a blank that maps it privately, and
// so is the process that the parent moves to, whose former process, with its page tables, is thrown
// away behind everybody's back. That takes as long for a large memory as for a small one. From then on the domain's memory is
// its process's own, and later forks are Linux's, of the stub: stub/fork.c. They take as long as there are pages
// that were touched since.
//
// A hostile parent that runs while it should wait can spoil what the child sees of its memory, until it is killed:
// it harms its own child.

// forkNumber tells forks in place from each other, also from those of engines before: it begins anywhere.
var forkNumber atomic.Uint32

func init() { forkNumber.Store(uint32(time.Now().UnixNano())) }

// forkPatience is how long a domain that asked for a fork may take to come to rest.
const forkPatience = 10 * time.Second

// tagPrefix begins the names of the files that say which domain a process is.
const tagPrefix = "kx-dom:"

// fork is a child under construction.
type fork struct {
	h     *Hypervisor
	d     *Domain // the parent
	f     *xen.Fork
	old   *process // the parent's
	place xen.Place
	maps  []stubMap
	image int // memfd
	child *newborn
	next  *newborn // what the parent moves to; nil if it stays where it is
	own   *Domain  // the child's
	steps xen.Steps
}

// newborn is a process that is to be a domain, and the engine's files for it.
type newborn struct {
	*process
	id     xen.DomID
	blank  *blank // nil if the parent's stub makes it
	engine int    // the stub's copy of the socket's end of ours
	theirs int    // the stub's end, and its end of the doorbell, if there is no blank
	write  int
	tag    int
}

// Settle implements xen.Domain: what a fork leaves for later is Linux's to copy, who asks nobody.
func (d *Domain) Settle(uint64) error { return nil }

// Guard implements xen.Domain: the stub answers the hypercall for it.
func (d *Domain) Guard(page, n uint64, readOnly bool) error {
	return errors.New("the family area: it is the pVM that changes its mapping here")
}

// Fork implements xen.Domain.
func (d *Domain) Fork(ctx context.Context, f *xen.Fork) (xen.Domain, error) {
	d.forking.Lock()
	defer d.forking.Unlock()
	if err := d.useLiving(); err != nil {
		return nil, err
	}
	d.mu.RUnlock() // Release waits for forking
	d.h.births.RLock()
	defer d.h.births.RUnlock()
	defer d.h.pool.poke()
	b := &fork{h: d.h, d: d, f: f, old: d.proc.Load(), image: -1}
	defer b.closeSpare()
	list := []xen.Step{{Name: "check", Do: b.check}}
	if b.old.frozen {
		list = append(list, []xen.Step{
			{Name: "files", Do: b.files},
			{Name: "boot", Do: b.boot},
			{Name: "clone", Do: b.clone},
			{Name: "watch", Do: b.watch},
			{Name: "ready", Do: b.ready},
		}...)
	} else {
		list = append(list, []xen.Step{
			{Name: "blank", Do: b.takeChild},
			{Name: "order", Do: func() error { return b.order(b.child) }}, // it maps its memory while the rest is written
			{Name: "boot", Do: b.boot},
			{Name: "watch", Do: b.watch},
			{Name: "ready", Do: b.ready},
			{Name: "next", Do: b.takeNext},
			{Name: "map", Do: b.awaitMapped},
			{Name: "move", Do: b.move},
		}...)
	}
	if err := b.steps.Run(ctx, f.Step, list...); err != nil {
		return nil, err
	}
	return b.own, nil
}

// check looks at what was asked for, before anything is made.
func (b *fork) check() (err error) {
	if !b.where() {
		return fmt.Errorf("%w: it has no memory", xen.ErrNoFork)
	}
	if err := b.f.Check(b.place.RAMPages); err != nil {
		return err
	}
	if b.old.family < 0 {
		return fmt.Errorf("%w: it has put something else in the place of its family area", xen.ErrNoFork)
	}
	if err := b.h.memory.check(b.place.RAMPages * abi.PageSize); err != nil {
		return err
	}
	if b.image, err = b.d.imageFile(); err != nil {
		return err
	}
	// An adopted domain's are as they are now, unless they are too many pieces.
	if b.maps = b.d.maps; len(b.maps) > maxMaps {
		if len(b.d.libraries) > 0 {
			return fmt.Errorf("%w: it has changed the protection of too many pieces of its libraries", xen.ErrNoFork)
		}
		if b.maps, err = imageMaps(b.image); err != nil {
			return err
		}
		b.maps = append(b.maps, window(&b.place))
	}
	if b.d.img != nil {
		if !b.d.img.retain() {
			return os.ErrClosed
		}
		b.steps.OnFailure(func() { b.d.img.Close() })
	}
	if err := b.d.libraries.retain(); err != nil {
		return err
	}
	b.steps.OnFailure(b.d.libraries.close)
	if b.place.ID, err = b.h.newID(); err != nil {
		return err
	}
	b.steps.OnFailure(func() { b.h.set(b.place.ID, nil) })
	return nil
}

// where finds out where the domain's memory is: it begins with the dynamic segment's first page, which is never a library's.
func (b *fork) where() bool {
	for _, m := range b.d.maps { // in the order of their addresses
		if m.VA < abi.RamMin {
			continue
		}
		if b.place.RAMPages == 0 {
			b.place.RAMVA, b.place.ImagePages = m.VA, m.Off/abi.PageSize
		}
		b.place.RAMPages += m.Len / abi.PageSize
	}
	n := b.d.dynamic
	if b.place.RAMPages <= n {
		return false
	}
	b.place.DynamicPages = n
	b.place.RAMVA += n * abi.PageSize
	b.place.ImagePages += n
	b.place.RAMPages -= n
	return true
}

// newborn makes the tag of a domain's process, which takes over what else it is given.
func (b *fork) newborn(id xen.DomID, p *process) (*newborn, error) {
	n := &newborn{process: p, id: id, engine: -1, theirs: -1, write: -1, tag: -1}
	var err error
	n.tag, err = memfd(fmt.Sprintf("%s%d", tagPrefix, id), 0)
	return n, err
}

// closeSpare closes what only stubs need.
func (b *fork) closeSpare() {
	for _, n := range []*newborn{b.child, b.next} {
		if n != nil {
			closeAll(n.engine, n.theirs, n.write, n.tag)
		}
	}
	closeAll(b.image)
}

// ---- the first fork ----

// takeChild takes a blank that is to be the child.
func (b *fork) takeChild() (err error) {
	b.child, err = b.takeBlank(b.place.ID)
	return err
}

// takeNext takes a blank for the parent to move to, which begins to map the memory at once. By now the child may
// run: what it writes is its own, and the parent waits.
func (b *fork) takeNext() (err error) {
	if b.next, err = b.takeBlank(b.d.id); err != nil {
		return err
	}
	// Its control area goes with it.
	b.next.control, b.next.ctl = b.old.control, b.old.ctl
	b.next.serial = serial.Add(1)
	if err := b.watched(b.d, b.next.process); err != nil {
		return err
	}
	return b.order(b.next)
}

func (b *fork) takeBlank(id xen.DomID) (*newborn, error) {
	blank, err := b.h.takeBlank()
	if err != nil {
		return nil, err
	}
	b.steps.OnFailure(blank.close)
	if err := blank.settle(); err != nil {
		return nil, err
	}
	ram, err := reopen("/proc/self", b.old.ram, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	b.steps.OnFailure(func() { unix.Close(ram) })
	if err := blank.joinFamily(b.old.family); err != nil {
		return nil, err
	}
	p := blank.process(ram)
	p.frozen, p.sock = true, blank.sock
	n, err := b.newborn(id, p)
	n.blank = blank
	return n, err
}

// order makes one map the memory; then it waits to be let go, if it has not been yet.
func (b *fork) order(n *newborn) (err error) {
	s := &stubStart{
		Entry: b.f.RIP, RSP: b.f.RSP, ImagePages: b.place.ImagePages, DynamicPages: b.place.DynamicPages, RAMVA: b.place.RAMVA, RAMPages: b.place.RAMPages,
		Frozen: 1, NMaps: uint32(len(b.maps)), Libraries: uint32(len(b.d.libraries)),
	}
	if n == b.next {
		s.Moved = 1
	}
	s.TSCMul, s.TSCShift = b.h.clock.rate()
	s.Spin = spin(s.TSCMul, s.TSCShift)
	copy(s.Title[:titleSize-1], title(n.id, b.f.Boot.Name))
	copy(s.Maps[:], b.maps)
	if n.engine, err = dup(n.sock); err != nil {
		return err
	}
	return send(n.sock, s.bytes(), append([]int{n.ram, b.image, n.tag, n.ctl, n.engine, n.family}, b.d.libraries.fds()...)...)
}

func (b *fork) awaitMapped() error {
	mul, shift := b.h.clock.rate()
	for _, n := range []*newborn{b.child, b.next} {
		if err := attempt("map", func() error { return n.waitBuilt(spin(mul, shift), forkPatience) }); err != nil {
			return err
		}
	}
	return nil
}

// move has the parent go on in its new process. The old one is killed before it does, and is not waited for: taking
// its memory apart takes as long as there is of it.
func (b *fork) move() error {
	d, next := b.d, b.next
	d.limits.inherit(b.child.pid, next.pid)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ending.Lock()
	defer d.ending.Unlock()
	if d.isGone() || hasEnded(b.old.pidfd) {
		return xen.ErrNoDomain
	}
	d.cpuTime()
	d.before.Store(d.cpu.Load())
	if err := signalTo(b.old.pidfd, unix.SIGKILL); err != nil {
		return err
	}
	d.proc.Store(next.process)
	if !d.paused.Load() {
		next.letGo()
	}
	d.ring()                   // it may have rung in the old one
	unix.Close(next.blank.ctl) // its state page stays mapped
	d.former.Go(func() {
		d.h.watcher.remove(b.old)
		d.h.watcher.settle()
		endProcess(b.old.pidfd)
		b.old.free(true)
	})
	return nil
}

// ---- later forks ----

// files makes what the child has of its own.
func (b *fork) files() (err error) {
	p := &process{pidfd: -1, bell: -1, sock: -1, ctl: -1, ram: -1, family: -1, frozen: true}
	if b.child, err = b.newborn(b.place.ID, p); err != nil {
		return err
	}
	n := b.child
	e, err := newEnds()
	if err != nil {
		return err
	}
	p.ctl, p.area, p.control, p.bell, p.sock = e.ctl, e.area, e.area, e.bell, e.sock
	n.write, n.theirs = e.write, e.theirs
	b.steps.OnFailure(func() {
		unix.Munmap(p.area)
		closeAll(p.pidfd, p.bell, p.sock, p.ctl, p.ram, p.family)
	})
	if b.f.Ready != nil && !b.f.Waits { // need not wait for us once it is there
		p.state().Go = 1
	}
	if n.engine, err = dup(p.sock); err != nil {
		return err
	}
	if p.family, err = dup(b.old.family); err != nil {
		return err
	}
	p.ram, err = dup(b.old.ram)
	return err
}

// clone has the parent's stub fork.
func (b *fork) clone() error {
	p, n := b.old, b.child
	if p.spoiled.Load() {
		return fmt.Errorf("%w again: it did not come to rest for the last fork", xen.ErrNoFork)
	}
	listener, err := p.take(fdListen)
	if err != nil || p.sock < 0 {
		closeAll(listener)
		return fmt.Errorf("%w again: %w: the kernel is older than 5.6, or its engine has died and kernel.yama.ptrace_scope keeps this one from taking over", xen.ErrNoFork, errors.Join(err))
	}
	defer unix.Close(listener)
	order := &stubFork{RIP: b.f.RIP, RSP: b.f.RSP, Number: forkNumber.Add(1) | 1<<31}
	copy(order.Title[:titleSize-1], title(n.id, b.f.Boot.Name))
	pid, err := b.tell(listener, order)
	if err != nil {
		b.endUntold()
		return err
	}
	b.steps.OnFailure(func() { b.endChild(pid) })
	if n.pidfd, err = pidfdOpen(pid); err != nil {
		return err
	}
	n.pid = pid
	mul, shift := b.h.clock.rate()
	if err := attempt("map", func() error { return n.waitBuilt(spin(mul, shift), forkPatience) }); err != nil {
		return err
	}
	if !b.isOurs(pid) {
		p.spoiled.Store(true)
		return fmt.Errorf("%w: its process lies", xen.ErrNoFork)
	}
	return nil
}

// endUntold ends a child that a stub has made without saying so, because it was killed between the two. It can be told by the
// control area, wherever it has the file by now; one of two looks is not in the middle of moving it.
func (b *fork) endUntold() {
	for range 2 {
		for _, pid := range stubs(b.h.key) {
			if pid != b.old.pid && hasFile(pid, b.child.ctl) {
				unix.Kill(pid, unix.SIGKILL)
				wait4(pid)
			}
		}
	}
}

// hasFile tells whether a process has a file of ours open.
func hasFile(pid, fd int) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool { return isFile(filepath.Join(dir, e.Name()), fd) })
}

// endChild ends the process that a stub says it has made. That is a guest's word: nobody else's process is ended. The
// child can be told from others once it has its files.
func (b *fork) endChild(pid int) {
	n := b.child
	for end := time.Now().Add(time.Second); atomic.LoadInt32(&n.state().Built) == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	switch {
	case !b.isOurs(pid):
	case n.pidfd >= 0:
		endProcess(n.pidfd)
	default:
		unix.Kill(pid, unix.SIGKILL)
		wait4(pid)
	}
}

// isOurs tells whether a process has the control area that the child was given.
func (b *fork) isOurs(pid int) bool {
	return isStub(pid, b.h.key) && isFile(fmt.Sprintf("/proc/%d/fd/%d", pid, fdCtl), b.child.ctl)
}

// ---- both ----

// boot writes the child's control area.
func (b *fork) boot() error {
	b.place.Evtchn, b.place.SharedInfo = portEngine, abi.SharedVa
	b.place.FamilyPages, b.place.Bells = abi.FamilyPages, true
	ctl := b.child.control[:abi.CtlSize]
	if err := b.f.Boot.Write(ctl, &b.place); err != nil {
		return err
	}
	(*abi.KxControl)(unsafe.Pointer(&ctl[abi.ControlVa-abi.CtlVa])).State = abi.StateMain
	return nil
}

// watch makes the child a domain, which the watcher hears of.
func (b *fork) watch() error {
	b.own = newDomain(b.h, b.place.ID, b.child.process)
	b.own.img, b.own.libraries = b.d.img, b.d.libraries
	b.own.limits.copy(&b.d.limits)
	b.own.maps, b.own.dynamic = b.d.maps, b.d.dynamic
	return b.watched(b.own, b.child.process)
}

// ready hands the child over. It runs as soon as it has mapped its memory, if it has been let go by then.
func (b *fork) ready() error {
	b.h.set(b.own.id, b.own)
	return b.steps.Born(b.f, b.own)
}

func (b *fork) watched(d *Domain, p *process) error {
	if err := b.h.watcher.add(d, p); err != nil {
		return err
	}
	b.steps.OnFailure(func() {
		b.h.watcher.remove(p)
		b.h.watcher.settle()
	})
	return nil
}

// imageFile is the memory file of a domain's image, for the caller to close.
func (d *Domain) imageFile() (int, error) {
	if d.img != nil {
		return dup(d.img.fd)
	}
	return reopen(fmt.Sprintf("/proc/%d", d.proc.Load().pid), fdImage, unix.O_RDONLY)
}
