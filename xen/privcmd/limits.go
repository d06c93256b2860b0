package privcmd

import (
	"fmt"

	"kxsh/xen"
)

const maxWeight = 65535

// schedulers are Xen's, by sysctl's number for them; weighted ones have a share per domain.
var schedulers = map[uint32]struct {
	name     string
	weighted bool
}{
	5: {"credit", true}, 6: {"credit2", true}, 7: {"arinc653", false}, 8: {"rtds", false}, 9: {"null", false},
}

func (h *Hypervisor) scheduler() (uint32, error) {
	var s schedID
	err := sysctl(h.c, sysctlSchedID, &s)
	return s.ID, err
}

// Weights of dom0: Xen's default, and what an engine makes of that.
const (
	defaultWeight = 256
	dom0Weight    = 16 * defaultWeight
)

// favourDom0 lets dom0, which serves all pVMs, run before busy ones when it has something to do: with Xen's
// default a handful of pVMs in a loop make every command twenty times slower. A weight that somebody
// has set is left alone.
func (h *Hypervisor) favourDom0() error {
	if !schedulers[h.sched].weighted {
		return nil
	}
	op := schedulerOp{SchedID: h.sched, Cmd: schedGet}
	if err := domctl(h.c, domctlSchedulerOp, 0, &op); err != nil || op.Weight != defaultWeight {
		return err
	}
	op.Cmd, op.Weight = schedPut, dom0Weight
	return domctl(h.c, domctlSchedulerOp, 0, &op)
}

func (d *Domain) weight() (int, error) {
	if !schedulers[d.h.sched].weighted {
		return 0, nil
	}
	op := schedulerOp{SchedID: d.h.sched, Cmd: schedGet}
	err := domctl(d.c, domctlSchedulerOp, d.id, &op)
	return int(op.Weight), err
}

// SetWeight implements xen.Domain.
func (d *Domain) SetWeight(weight int) error {
	if weight < 1 || weight > maxWeight {
		return fmt.Errorf("weight %d: must be 1 to %d", weight, maxWeight)
	}
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	if s := schedulers[d.h.sched]; !s.weighted {
		return fmt.Errorf("weight %d: Xen's scheduler %q has none: boot Xen with sched=credit2", weight, s.name)
	}
	op := schedulerOp{SchedID: d.h.sched, Cmd: schedGet}
	if err := domctl(d.c, domctlSchedulerOp, d.id, &op); err != nil {
		return err
	}
	op.Cmd, op.Weight = schedPut, uint16(weight)
	return domctl(d.c, domctlSchedulerOp, d.id, &op)
}

// inherit gives a child of fork its parent's limits: weight and cap of the scheduler, affinity, and what somebody has capped
// its memory to.
func (d *Domain) inherit(parent *Domain) error {
	if schedulers[d.h.sched].weighted {
		op := schedulerOp{SchedID: d.h.sched, Cmd: schedGet}
		if err := domctl(d.c, domctlSchedulerOp, parent.id, &op); err != nil {
			return err
		}
		if op.Cmd = schedPut; op.Weight != defaultWeight || op.Cap != 0 {
			if err := domctl(d.c, domctlSchedulerOp, d.id, &op); err != nil {
				return err
			}
		}
	}
	cpus, err := parent.affinity()
	if err == nil && cpus != nil {
		_, err = d.c.affinity(domctlSetAffinity, d.id, cpuSet(cpus))
	}
	if err != nil || !parent.capped.Load() {
		return err
	}
	info, err := d.c.domainInfo(parent.id)
	if err != nil {
		return err
	}
	d.capped.Store(true)
	return domctl(d.c, domctlMaxMem, d.id, &maxMem{min(info.MaxPages, d.base) * pageSize >> 10})
}

func cpuSet(cpus []int) []byte {
	set := make([]byte, maxCPUs/8)
	for _, cpu := range cpus {
		set[cpu/8] |= 1 << (cpu % 8)
	}
	return set
}

// affinity is nil if all CPUs of the host are allowed.
func (d *Domain) affinity() ([]int, error) {
	set, err := d.c.affinity(domctlGetAffinity, d.id, nil)
	if err != nil {
		return nil, err
	}
	var cpus []int
	for cpu := range d.h.cpus {
		if set[cpu/8]&(1<<(cpu%8)) != 0 {
			cpus = append(cpus, cpu)
		}
	}
	if len(cpus) == d.h.cpus {
		return nil, nil
	}
	return cpus, nil
}

// SetAffinity implements xen.Domain.
func (d *Domain) SetAffinity(cpus []int) error {
	for _, cpu := range cpus {
		if cpu < 0 || cpu >= d.h.cpus {
			return fmt.Errorf("affinity: no CPU %d: the host has %d", cpu, d.h.cpus)
		}
	}
	set := cpuSet(cpus)
	if len(cpus) == 0 {
		for i := range set {
			set[i] = 0xff
		}
	}
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	_, err := d.c.affinity(domctlSetAffinity, d.id, set)
	return err
}

// SetMaxMem implements xen.Domain. A domain has all its memory from the start, so the cap bounds
// what it could be given later.
func (d *Domain) SetMaxMem(bytes uint64) error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	info, err := d.c.domainInfo(d.id)
	if err != nil {
		return err
	}
	if used := info.TotPages * pageSize; bytes < used {
		return fmt.Errorf("domain %d: a cap of %d bytes is below the %d that it uses", d.id, bytes, used)
	}
	phys, err := d.c.physInfo()
	if err != nil {
		return err
	}
	if host := phys.TotalPages * pageSize; bytes > host {
		return fmt.Errorf("domain %d: a cap of %d bytes is above the host's %d: %w", d.id, bytes, host, xen.ErrNoMemory)
	}
	d.capped.Store(true)
	return domctl(d.c, domctlMaxMem, d.id, &maxMem{bytes / pageSize * pageSize >> 10})
}
