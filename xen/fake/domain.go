package fake

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// domain implements xen.Domain: a guest as one engine sees it.
type domain struct {
	*Guest
	host     *Host
	hv       *Hypervisor
	released atomic.Bool
}

var _ xen.Domain = (*domain)(nil)

func (d *domain) ID() xen.DomID            { return d.Guest.ID }
func (d *domain) Rang() <-chan struct{}    { return d.rang }
func (d *domain) Touched() <-chan struct{} { return d.touched }
func (d *domain) Gone() <-chan struct{}    { return d.gone }
func (d *domain) Token() []byte            { return []byte(d.token()) }

func (d *domain) Exit() xen.Exit {
	<-d.gone
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.exit
}

func (d *domain) living() error {
	if d.released.Load() || isClosed(d.gone) {
		return xen.ErrNoDomain
	}
	return nil
}

func (d *domain) pause(p bool) error {
	if err := d.living(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.paused = p
	d.moved.Broadcast()
	return nil
}

func (d *domain) Unpause() error { return d.pause(false) }
func (d *domain) Pause() error   { return d.pause(true) }

func (d *domain) MapFor(libraries []xen.Shared, at []xen.Mapping, tell func()) error {
	if err := d.Map(libraries, at, nil); err != nil {
		return err
	}
	tell()
	return d.Notify()
}

// Map implements xen.Domain: a guest has no pages of libraries, but there is a list of where they would be. Its step that Host.Fail can make
// fail is "map".
func (d *domain) Map(libraries []xen.Shared, at []xen.Mapping, before func(token []byte) error) error {
	if err := d.living(); err != nil {
		return err
	}
	return d.hv.step("map", nil, func() error {
		if before != nil {
			if err := before(d.Token()); err != nil {
				return err
			}
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, m := range at {
			if m.Of >= len(libraries) || slices.ContainsFunc(d.mapped, func(r xen.Range) bool { return overlap(r, m.Range) }) {
				return fmt.Errorf("pages at %#x: there are some already, or there is no such library", m.VA)
			}
		}
		for _, m := range at {
			d.mapped = append(d.mapped, m.Range)
		}
		return nil
	})
}

// Unmap implements xen.Domain; its step is "unmap".
func (d *domain) Unmap(ranges ...xen.Range) error {
	if err := d.living(); err != nil {
		return err
	}
	return d.hv.step("unmap", nil, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.mapped = slices.DeleteFunc(d.mapped, func(m xen.Range) bool {
			return slices.ContainsFunc(ranges, func(r xen.Range) bool { return overlap(r, m) })
		})
		return nil
	})
}

func overlap(a, b xen.Range) bool {
	return a.VA < b.VA+b.Pages*abi.PageSize && b.VA < a.VA+a.Pages*abi.PageSize
}

func (d *domain) Notify() error {
	if err := d.living(); err != nil {
		return err
	}
	select {
	case d.events <- struct{}{}:
	default:
	}
	return nil
}

func (d *domain) Destroy() error {
	if d.released.Load() {
		return xen.ErrNoDomain
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.killed && !isClosed(d.gone) {
		d.killed = true
		close(d.kill)
		d.moved.Broadcast()
	}
	return nil
}

func (d *domain) Release() error {
	if !isClosed(d.gone) {
		return fmt.Errorf("domain %d: release: it still runs", d.Guest.ID)
	}
	if d.released.Swap(true) {
		return xen.ErrNoDomain
	}
	d.host.forget(d.Guest)
	return nil
}

func (d *domain) Status() (xen.Status, error) {
	if d.released.Load() {
		return xen.Status{}, xen.ErrNoDomain
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	st := xen.Status{
		CPUTime: time.Since(d.started), Memory: d.used + abi.CtlSize, MaxMem: d.maxMem,
		VCPUs: 1, Weight: d.weight, CPUs: append([]int(nil), d.cpus...),
	}
	switch {
	case isClosed(d.gone):
		st.State = xen.StateDying
	case d.paused:
		st.State = xen.StatePaused
	case d.blocked:
		st.State = xen.StateBlocked
	}
	return st, nil
}

func (d *domain) ReadMemory(va uint64, p []byte) error {
	if d.released.Load() {
		return xen.ErrNoDomain
	}
	d.mu.Lock()
	word, ok := d.words[va]
	d.mu.Unlock()
	if ok && len(p) == len(word) {
		copy(p, word[:])
		return nil
	}
	off := va - abi.CtlVa
	if va < abi.CtlVa || off >= abi.CtlSize || uint64(len(p)) > abi.CtlSize-off {
		return fmt.Errorf("domain %d: no memory at %#x", d.Guest.ID, va)
	}
	copy(p, d.control[off:])
	return nil
}

func (d *domain) SetWeight(weight int) error {
	if weight < 1 || weight > 65535 {
		return fmt.Errorf("weight %d: must be 1 to 65535", weight)
	}
	return d.set(func() { d.weight = weight })
}

func (d *domain) SetAffinity(cpus []int) error {
	for _, c := range cpus {
		if c < 0 || c > 1023 {
			return fmt.Errorf("affinity: no CPU %d", c)
		}
	}
	return d.set(func() { d.cpus = append([]int(nil), cpus...) })
}

func (d *domain) SetMaxMem(bytes uint64) error {
	d.mu.Lock()
	used, built := d.used+abi.CtlSize, d.memory+abi.CtlSize
	d.mu.Unlock()
	if bytes < used || bytes > built {
		return fmt.Errorf("memory cap %d: must be %d to %d", bytes, used, built)
	}
	return d.set(func() { d.maxMem = bytes })
}

func (d *domain) set(f func()) error {
	if err := d.living(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	return nil
}
