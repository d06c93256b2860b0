package fake

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// Point makes a program's place to go on after a fork, and returns the rip that stands for it.
func (g *Guest) Point(p Program) (rip uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	rip = uint64(len(g.points) + 1)
	if g.points == nil {
		g.points = map[uint64]Program{}
	}
	g.points[rip] = p
	return rip
}

// Fork implements xen.Domain: the child runs the program of Guest.Point that rip stands for, the parent
// goes on where it blocked. Its steps that Host.Fail can make fail are "fork memory", "fork boot" and
// "fork start".
func (d *domain) Fork(ctx context.Context, f *xen.Fork) (xen.Domain, error) {
	if err := d.living(); err != nil {
		return nil, err
	}
	call := &(*abi.KxControl)(unsafe.Pointer(&d.control[abi.ControlVa-abi.CtlVa])).Call
	if atomic.LoadUint32(&call.Asked) == atomic.LoadUint32(&call.Done) {
		return nil, errors.New("fork: the domain does not wait for an answer")
	}
	c := &Guest{Boot: f.Boot, memory: d.memory, maxMem: d.memory + abi.CtlSize, weight: 256}
	c.init()
	var goesOn Program
	err := d.hv.step("fork memory", f.Step, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		c.points, c.used = maps.Clone(d.points), d.used
		c.mapped, c.words = slices.Clone(d.mapped), maps.Clone(d.words)
		if goesOn = c.points[f.RIP]; goesOn == nil {
			return errors.New("no program is at rip")
		}
		c.control = make([]byte, abi.CtlSize)
		return ctx.Err()
	})
	if err == nil {
		err = d.hv.step("fork boot", f.Step, func() error { return d.hv.boot(c) })
	}
	if err == nil {
		if err = d.hv.step("fork start", f.Step, func() error { return nil }); err != nil {
			d.host.forget(c)
		}
	}
	if err != nil {
		return nil, err
	}
	d.forked.Store(true)
	c.forked.Store(true)
	d.host.mu.Lock()
	eager := d.host.eager
	d.host.mu.Unlock()
	c.paused = !eager
	go c.run(goesOn)
	child := d.hv.own(c)
	for eager && !c.rests() {
		runtime.Gosched()
	}
	var steps xen.Steps
	err = steps.Run(ctx, nil, xen.Step{Name: "ready", Do: func() error { return steps.Born(f, child) }})
	if err != nil {
		return nil, err
	}
	return child, nil
}

// Settle implements xen.Domain: a fork leaves nothing for later.
func (d *domain) Settle(uint64) error { return nil }

// Guard implements xen.Domain: nobody's memory is mapped.
func (d *domain) Guard(page, n uint64, readOnly bool) error { return nil }

// Family implements xen.Domain: programs here share nothing.
// Plug implements xen.Domain: the device is described, and nothing is at its other end.
func (d *domain) Plug(n *xen.NIC) error {
	n.Describe(d.control, 2, 0)
	return nil
}

func (d *domain) Wire() (*xen.Wire, error) { return nil, xen.ErrNoWire }

func (d *domain) Family(uint64) (uint64, error) { return 0, xen.ErrNoFork }
