package privcmd

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// Domain is one PV domain of this engine.
type Domain struct {
	h             *Hypervisor
	c             *conn // held until Release
	id            xen.DomID
	handle        handle
	area          []byte // the control area, and what its builder wrote beside
	port          uint32 // ours of the event channel
	remotePort    uint32 // the domain's
	hypercallPage uint64
	top           uint64 // machine frame of its L4 table
	geometry      geometry
	leaves, list  []uint64                // tables of level 1 of image and window, and list of machine frame numbers, or nil; guarded by pauses
	slots         []uint64                // machine addresses of the entries that name the leaves
	base          uint64                  // frames it may have as long as it shares none
	capped        atomic.Bool             // somebody has set another limit
	forked        atomic.Bool             // it has forked, or was forked
	line          []xen.DomID             // its ancestors by fork, the first one first
	name          string                  // for xenstore
	segment       atomic.Pointer[segment] // what it is does not change; another is put in its place with mapping held
	family        *family
	familyShown   uint64 // pages of the family area that are mapped; guarded by family.mu
	rang, touched chan struct{}
	gone          chan struct{}
	rescues       rescues
	heir          atomic.Pointer[heir] // what it lacks of its parent's memory, or nil; changes under the parent's freezing
	orphaned      regions              // that it lacks, while nobody has found its parent; only an adopted one
	once          sync.Once
	exit          xen.Exit // valid when gone is closed

	mapping sync.RWMutex // held for reading by a fork

	mu       sync.RWMutex // held for reading by users; Release takes it
	released bool

	freezing sync.Mutex // guards heirs, what they lack, and frozen; taken after anybody's pauses, and a parent's before its child's
	heirs    []*heir
	frozen   regions       // that it cannot write to
	thaws    atomic.Uint64 // how often it was given back the right to write to some

	pauses    sync.Mutex // orders Pause, Unpause and Destroy
	paused    atomic.Bool
	fresh     bool // it has never run; guarded by pauses
	destroyed atomic.Bool
}

var _ xen.Domain = (*Domain)(nil)

// newDomain holds the connection; whoever does not add it to the hypervisor lets go again.
func newDomain(h *Hypervisor, id xen.DomID, hd handle) *Domain {
	d := &Domain{
		h: h, c: h.c, id: id, handle: hd,
		rang: make(chan struct{}, 1), touched: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	d.segment.Store(&segment{})
	d.paused.Store(true)
	return d
}

// ring is called by the events' reader.
func (d *Domain) ring() {
	select {
	case d.rang <- struct{}{}:
	default:
	}
}

// ID implements xen.Domain.
func (d *Domain) ID() xen.DomID { return d.id }

// Control implements xen.Domain.
func (d *Domain) Control() []byte { return d.area[:abi.CtlSize:abi.CtlSize] }

// Rang implements xen.Domain.
func (d *Domain) Rang() <-chan struct{} { return d.rang }

// Gone implements xen.Domain.
func (d *Domain) Gone() <-chan struct{} { return d.gone }

// Exit implements xen.Domain.
func (d *Domain) Exit() xen.Exit {
	<-d.gone
	return d.exit
}

func (d *Domain) isGone() bool {
	select {
	case <-d.gone:
		return true
	default:
		return false
	}
}

// end notes how the domain ended, if nobody has.
func (d *Domain) end(e xen.Exit) {
	d.once.Do(func() {
		d.exit = e
		close(d.gone)
	})
}

// use holds off Release; the caller must call d.mu.RUnlock if there is no error.
func (d *Domain) use() error {
	d.mu.RLock()
	if d.released {
		d.mu.RUnlock()
		return xen.ErrNoDomain
	}
	return nil
}

// useLiving is use, and ErrNoDomain for a domain that is gone.
func (d *Domain) useLiving() error {
	if err := d.use(); err != nil {
		return err
	}
	if d.isGone() {
		d.mu.RUnlock()
		return xen.ErrNoDomain
	}
	return nil
}

// Notify implements xen.Domain.
func (d *Domain) Notify() error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	return d.h.events.notify(d.port)
}

// Destroy implements xen.Domain. Frames that the engine maps stay until Release.
func (d *Domain) Destroy() error {
	if err := d.use(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	if d.isGone() {
		return nil
	}
	if err := d.destroy(); err != nil {
		return err
	}
	d.end(xen.Exit{Reason: xen.ExitDestroyed})
	return nil
}

func (d *Domain) destroy() error {
	d.pauses.Lock()
	defer d.pauses.Unlock()
	if d.destroyed.Load() {
		return nil
	}
	d.renounce()
	d.settleHeirs() // all: a fork makes another only while it holds pauses
	info, err := d.c.domainInfo(d.id)
	if err != nil && !errors.Is(err, xen.ErrNoDomain) {
		return err
	}
	d.destroyed.Store(true)
	if err != nil || info.Handle != d.handle || info.Flags&infDying != 0 {
		return nil // somebody else did it; its number may be another's by now
	}
	if err := d.c.destroy(d.id); err != nil {
		d.destroyed.Store(false)
		return err
	}
	return nil
}

// Release implements xen.Domain.
func (d *Domain) Release() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.released {
		return xen.ErrNoDomain
	}
	if !d.isGone() {
		return fmt.Errorf("domain %d: release: it still runs", d.id)
	}
	// First destroy: as long as it is there, a mapping keeps its frames from another's hands.
	if err := d.destroy(); err != nil {
		return fmt.Errorf("domain %d: release: %w", d.id, err)
	}
	d.released = true
	d.h.events.unbind(d.port)
	d.freezing.Lock() // who thaws it writes to its control area
	err := d.c.munmap(d.area)
	d.freezing.Unlock()
	d.h.remove(d)
	d.family.leave(d)
	d.segment.Load().close()
	d.h.names.Drop(d.id, xen.UUID(d.handle))
	d.c.release()
	return err
}

// Status implements xen.Domain.
func (d *Domain) Status() (xen.Status, error) {
	if err := d.use(); err != nil {
		return xen.Status{}, err
	}
	defer d.mu.RUnlock()
	info, err := d.c.domainInfo(d.id)
	if err == nil && info.Handle != d.handle {
		err = fmt.Errorf("domain %d: %w", d.id, xen.ErrNoDomain)
	}
	if err != nil {
		return xen.Status{}, err
	}
	s := statusOf(&info)
	if d.isGone() {
		s.State = xen.StateDying
	}
	if s.State == xen.StateDying {
		return s, nil
	}
	d.relatives(&s)
	if s.Weight, err = d.weight(); err != nil {
		return s, err
	}
	s.CPUs, err = d.affinity()
	return s, err
}

// relatives adds the frames of others that the domain has to its memory, and says how much of it others may have, too: Xen knows neither
// of frames that page tables alone share. But for libraries it is the domain's word, as far as that can be true.
func (d *Domain) relatives(s *xen.Status) {
	c := d.control()
	borrowed := min(uint64(atomic.LoadUint32(&c.FramesBorrowed)), d.geometry.frames()) * pageSize
	s.CoW = min(uint64(atomic.LoadUint32(&c.FramesLent))*pageSize, s.Memory) + borrowed
	held := (d.segment.Load().pages() + min(uint64(atomic.LoadUint32(&c.FamilyPages)), familyPages)) * pageSize
	s.Shared = s.CoW + held
	s.Memory += borrowed + held
}

// statusOf is what Xen's own record of a domain says.
func statusOf(info *domainInfo) xen.Status {
	s := xen.Status{
		State: xen.StateRunning, CPUTime: time.Duration(info.CPUTime), Memory: info.TotPages * pageSize,
		MaxMem: info.MaxPages * pageSize, Shared: info.ShrPages * pageSize, VCPUs: int(info.OnlineVCPUs),
	}
	switch {
	case info.Flags&(infDying|infShutdown) != 0:
		s.State = xen.StateDying
	case info.Flags&infPaused != 0:
		s.State = xen.StatePaused
	case info.Flags&infBlocked != 0:
		s.State = xen.StateBlocked
	}
	return s
}
