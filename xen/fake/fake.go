// Package fake is a hypervisor whose domains are Go functions in this process, for unit tests of
// what is built on package xen. A program reads and writes its control area as a guest does; there
// is no other guest memory, and nothing confines it.
package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"kxsh/elf"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// Program is what a domain runs. When it returns, the domain has shut down.
type Program func(g *Guest)

// Host is the machine on which hypervisors come and go while domains run on.
type Host struct {
	program func(b *xen.Boot) Program

	mu      sync.Mutex
	guests  map[xen.DomID]*Guest
	others  map[xen.DomID]*xen.Listed
	nextID  xen.DomID
	failing func(step string) error
	eager   bool
}

// NewHost makes a host on which a domain runs the program that the function chooses for it.
func NewHost(program func(b *xen.Boot) Program) *Host {
	return &Host{program: program, guests: map[xen.DomID]*Guest{}, others: map[xen.DomID]*xen.Listed{}, nextID: 1}
}

// Fail makes the steps of Create, Reset, Fork, Map and Unmap fail with what f returns, if not nil. Those of Create are
// "memory", "boot" and "start".
func (h *Host) Fail(f func(step string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failing = f
}

// SetEager lets children of forks run, until they wait or end, before Ready is called.
func (h *Host) SetEager(eager bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.eager = eager
}

// Open starts a hypervisor on the host; first is the lowest number to give to a new domain. Those
// that ran before wait to be adopted.
func (h *Host) Open(first xen.DomID) *Hypervisor {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nextID = max(h.nextID, first)
	return &Hypervisor{host: h, owned: map[xen.DomID]bool{}}
}

// Hypervisor implements xen.Hypervisor.
type Hypervisor struct {
	host *Host

	mu     sync.Mutex
	owned  map[xen.DomID]bool
	want   int
	closed bool
}

var _ xen.Hypervisor = (*Hypervisor)(nil)

type image struct{}

func (image) Close() error { return nil }

// Info implements xen.Hypervisor.
func (v *Hypervisor) Info() (xen.Info, error) {
	return xen.Info{Name: "fake", Version: "1", Scheduler: "go", CPUs: runtime.NumCPU(), Memory: 1 << 30, FreeMemory: 1 << 29, Idle: time.Hour}, nil
}

// Prepare implements xen.Hypervisor; it looks at nothing.
func (v *Hypervisor) Prepare(*elf.Image, io.ReaderAt) (xen.Image, error) { return image{}, nil }

// Share implements xen.Hypervisor; guests have no pages.
func (v *Hypervisor) Share([]byte) (xen.Shared, error) { return image{}, nil }

// step is a step that Host.Fail can make fail.
func (v *Hypervisor) step(name string, told func(string, time.Duration), do func() error) error {
	begin := time.Now()
	v.host.mu.Lock()
	failing := v.host.failing
	v.host.mu.Unlock()
	if failing != nil {
		if err := failing(name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if told != nil {
		told(name, time.Since(begin))
	}
	return nil
}

// Create implements xen.Hypervisor.
func (v *Hypervisor) Create(ctx context.Context, c *xen.Config) (xen.Domain, error) {
	return v.create(ctx, c, 0)
}

// create makes a domain with a number that is reserved for it; 0: the next free one.
func (v *Hypervisor) create(ctx context.Context, c *xen.Config, id xen.DomID) (xen.Domain, error) {
	g := &Guest{ID: id, Boot: c.Boot, memory: c.Memory, maxMem: c.Memory + abi.CtlSize, weight: 256}
	g.init()
	for _, m := range c.Dynamic.Shared {
		g.mapped = append(g.mapped, m.Range)
	}
	err := v.step("memory", c.Step, func() error {
		if c.Memory == 0 {
			return fmt.Errorf("no memory asked for")
		}
		g.control = make([]byte, abi.CtlSize)
		return ctx.Err()
	})
	if err == nil {
		err = v.step("boot", c.Step, func() error { return v.boot(g) })
	}
	if err != nil {
		return nil, err
	}
	if err := v.step("start", c.Step, func() error { return nil }); err != nil {
		v.host.forget(g)
		return nil, err
	}
	go g.run(v.host.program(&g.Boot))
	return v.own(g), nil
}

// Reset implements xen.Domain; its steps that Host.Fail can make fail are "reset", before anything is done, and those of Create.
func (d *domain) Reset(ctx context.Context, c *xen.Config) (xen.Domain, error) {
	err := d.hv.step("reset", c.Step, func() error {
		switch {
		case c.Memory == 0:
			return errors.New("no memory asked for")
		case !isClosed(d.gone):
			return errors.New("it still runs")
		case d.forked.Load():
			return fmt.Errorf("%w: it has forked, or was forked", xen.ErrNotBlank)
		case d.released.Swap(true):
			return xen.ErrNoDomain
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reset domain %d: %w", d.Guest.ID, err)
	}
	next, err := d.hv.create(ctx, c, d.Guest.ID)
	if err != nil {
		d.host.forget(d.Guest)
		return nil, fmt.Errorf("reset domain %d: %w", d.Guest.ID, err)
	}
	return next, nil
}

// boot gives a guest a number and fills in its control area.
func (v *Hypervisor) boot(g *Guest) error {
	pages := (g.memory + abi.PageSize - 1) / abi.PageSize
	if err := g.Boot.Check(pages); err != nil {
		return err
	}
	if err := v.reserve(g); err != nil {
		return err
	}
	err := g.Boot.Write(g.control, &xen.Place{ID: g.ID, Evtchn: 1, SharedInfo: abi.SharedVa, RAMVA: abi.RamMin, RAMPages: pages})
	if err != nil {
		v.host.forget(g)
	}
	return err
}

// reserve gives a guest the next free number.
func (v *Hypervisor) reserve(g *Guest) error {
	v.mu.Lock()
	closed := v.closed
	v.mu.Unlock()
	if closed {
		return os.ErrClosed
	}
	h := v.host
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.ID != 0 {
		h.guests[g.ID] = g
		return nil
	}
	for range xen.MaxDomID {
		id := h.nextID
		if h.nextID++; h.nextID > xen.MaxDomID {
			h.nextID = 1
		}
		if h.guests[id] == nil && h.others[id] == nil {
			g.ID = id
			h.guests[id] = g
			return nil
		}
	}
	return fmt.Errorf("no domain number is free")
}

func (h *Host) forget(g *Guest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.guests, g.ID)
}

func (v *Hypervisor) own(g *Guest) *domain {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.owned[g.ID] = true
	return &domain{Guest: g, host: v.host, hv: v}
}

// Adopt implements xen.Hypervisor.
func (v *Hypervisor) Adopt(id xen.DomID, token []byte) (xen.Domain, error) {
	v.host.mu.Lock()
	g := v.host.guests[id]
	v.host.mu.Unlock()
	v.mu.Lock()
	owned := v.owned[id]
	v.mu.Unlock()
	if g == nil || owned || isClosed(g.gone) || len(token) > 0 && string(token) != g.token() {
		return nil, fmt.Errorf("adopt domain %d: %w", id, xen.ErrNoDomain)
	}
	d := v.own(g)
	g.ring() // it may have rung while nobody listened
	return d, nil
}

// Adopted implements xen.Hypervisor.
func (v *Hypervisor) Adopted() {}

// Domains implements xen.Hypervisor.
func (v *Hypervisor) Domains() ([]xen.DomID, error) {
	v.host.mu.Lock()
	defer v.host.mu.Unlock()
	var ids []xen.DomID
	for id, g := range v.host.guests {
		if !isClosed(g.gone) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Pool implements xen.Hypervisor; making a domain costs nothing, so as many wait as should.
func (v *Hypervisor) Pool() xen.Pool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return xen.Pool{Ready: v.want, Want: v.want}
}

// SetPool implements xen.Hypervisor.
func (v *Hypervisor) SetPool(n int) error {
	if n < 0 {
		return fmt.Errorf("pool: %d: must not be negative", n)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.want = n
	return nil
}

// Close implements xen.Hypervisor.
func (v *Hypervisor) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
