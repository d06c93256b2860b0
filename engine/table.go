package engine

import (
	"context"
	"errors"
	"os"
	"slices"
	"sort"
	"sync"
	"time"

	"kxsh/ipc"
	"kxsh/xen"
)

// Snapshot returns all pVMs at one moment, and the domains that others made.
func (e *Engine) Snapshot(_ context.Context, exited bool) (*Snapshot, error) {
	now := time.Now()
	listed, err := e.hv.List()
	if err != nil {
		return nil, errf(CodeInternal, "hypervisor: %v", err)
	}
	e.mu.Lock()
	s := &Snapshot{
		Time: now, Host: e.host, Hypervisor: e.hvName, Uptime: now.Sub(e.started),
		Processes: make([]Process, 0, len(e.table)), Pool: e.pool(),
	}
	doms, switched := make([]xen.Domain, 0, len(e.table)), false
	bridged := map[int]*pvm{} // by PID
	for _, p := range e.table {
		if p.rec.Exit == nil || p.rec.zombie() || exited {
			s.Processes = append(s.Processes, p.rec.listed())
			doms = append(doms, p.dom)
			switched = switched || p.online.Load()
			if p.rec.Request.bridge() != "" && p.rec.Exit == nil {
				bridged[p.pid] = p
			}
		}
	}
	e.mu.Unlock()
	sampleAll(s.Processes, doms, listed, now)
	if switched || len(bridged) > 0 {
		e.sampleTraffic(s.Processes, switched, len(bridged) > 0)
	}
	for i := range s.Processes {
		if p := &s.Processes[i]; p.IP == "" && bridged[p.PID] != nil {
			p.IP = bridged[p.PID].leased()
		}
	}
	for i := range listed {
		if l := &listed[i]; !l.Ours {
			s.Processes = append(s.Processes, foreignProcess(l, now))
		}
	}
	sort.Slice(s.Processes, func(i, j int) bool { return s.Processes[i].PID < s.Processes[j].PID })
	return s, nil
}

// listed is what the engine itself knows of a pVM.
func (r *record) listed() Process {
	p := r.Process
	for i := range r.Libraries {
		p.Libs = append(p.Libs, r.Libraries[i].Name)
	}
	return p
}

// sampleAll fills in what the hypervisor knows: from its list, or, where it has not one, by asking each
// domain, on all CPUs where it is worth it.
func sampleAll(ps []Process, doms []xen.Domain, listed []xen.Listed, now time.Time) {
	known := make(map[int]*xen.Status, len(listed))
	for i := range listed {
		if l := &listed[i]; l.Ours {
			known[int(l.ID)] = &l.Status
		}
	}
	const share = 100
	var wg sync.WaitGroup
	for from := 0; from < len(ps); from += share {
		to := min(from+share, len(ps))
		wg.Go(func() {
			for i := from; i < to; i++ {
				if ps[i].Exit != nil {
					continue
				}
				if st := known[ps[i].PID]; st != nil {
					fill(&ps[i], st, now)
				} else {
					sample(&ps[i], doms[i], now)
				}
			}
		})
	}
	wg.Wait()
}

// sample fills in what the hypervisor knows. A domain that goes meanwhile keeps its last figures.
func sample(p *Process, dom xen.Domain, now time.Time) {
	st, err := dom.Status()
	if err != nil {
		p.Stat = "Z"
		return
	}
	fill(p, &st, now)
}

func fill(p *Process, st *xen.Status, now time.Time) {
	p.Stat = map[xen.State]string{
		xen.StateRunning: "R", xen.StateBlocked: "S", xen.StatePaused: "T", xen.StateDying: "Z",
	}[st.State]
	p.Time, p.Memory, p.MaxMem, p.Shared, p.CoW = st.CPUTime, st.Memory, st.MaxMem, st.Shared, st.CoW
	p.VCPUs, p.HostPID = st.VCPUs, st.HostPID
	if life := now.Sub(p.Started); life > 0 && !p.Started.IsZero() {
		p.CPU = float64(st.CPUTime) / float64(life) * 100
	}
}

// Inspect returns one pVM in every detail.
func (e *Engine) Inspect(ctx context.Context, pid int) (*Detail, error) {
	p, err := e.find(pid, "")
	if err != nil {
		if l := e.foreign(pid); l != nil {
			return foreignDetail(l), nil
		}
		return nil, err
	}
	e.mu.Lock()
	r := p.rec
	dom := p.dom
	children := []int{}
	for _, c := range e.those(func(c *pvm) bool { return c.rec.PPID == pid && (c.rec.Exit == nil || c.rec.zombie()) }) {
		children = append(children, c.pid)
	}
	var members, limit int
	if f := e.families[r.Family]; f != nil && (r.Exit == nil || r.zombie()) {
		members, limit = f.members, e.limitOf(f)
	}
	e.mu.Unlock()
	d := &Detail{
		Children: children, Members: members, MaxFamily: limit,

		Process: r.listed(), Env: r.Request.Env, Net: r.Request.Net, Publish: r.Request.Publish, Mounts: r.Request.Mounts,
		Restart: r.Request.Restart, Restarts: r.Restarts, RestartOf: r.RestartOf,
		Steps: r.Steps, MainAfter: r.MainAfter, LogPath: p.log.dir, ImageSHA: r.ImageSHA, Seal: r.Seal, Libraries: r.Libraries, Crash: r.Crash,
	}
	d.LogBytes, d.LogLost = p.log.size()
	if r.Exit == nil {
		if st, err := dom.Status(); err == nil {
			fill(&d.Process, &st, time.Now())
			d.Weight, d.CPUs, d.NoSpin = st.Weight, st.CPUs, r.NoSpin
		}
		if switched, bridged := p.online.Load(), r.Request.bridge() != ""; switched || bridged {
			one := []Process{d.Process}
			e.sampleTraffic(one, switched, bridged)
			d.Traffic = one[0].Traffic
			if d.IP == "" && bridged {
				d.IP = p.leased()
			}
		}
		d.MainAfter, d.RAMBase = p.birth()
		d.Shares = e.sharesOf(ctx, p)
	}
	return d, nil
}

// Wait blocks until the pVM has ended.
func (e *Engine) Wait(ctx context.Context, pid int) (*Exit, error) {
	p, err := e.find(pid, "only pVMs can be waited for")
	if err != nil {
		return nil, err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-e.quit:
		return nil, errf(CodeEngine, "(%d): the engine is leaving", pid)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	x := *p.rec.Exit
	return &x, nil
}

// Limit changes weight, affinity and memory cap, and how large the family may be.
func (e *Engine) Limit(_ context.Context, pid int, l Limits) error {
	p, err := e.findLive(pid, "xl sched-credit2, xl vcpu-pin and xl mem-max change it")
	if err != nil {
		return err
	}
	apply := func(what string, err error) error {
		switch {
		case errors.Is(err, xen.ErrNoDomain):
			return errf(CodeNoPVM, "(%d): no such pVM", pid)
		case errors.Is(err, os.ErrPermission):
			return errf(CodeDenied, "(%d): %v", pid, err) // which says what
		case err != nil:
			return errf(CodeInvalid, "(%d): %v", pid, err)
		}
		e.events.addf("limit", &p.rec.Process, "%s changed", what)
		return nil
	}
	if l.Weight != nil {
		if err := apply("weight", p.dom.SetWeight(*l.Weight)); err != nil {
			return err
		}
	}
	if l.CPUs != nil {
		if err := apply("affinity", p.dom.SetAffinity(slices.Clone(*l.CPUs))); err != nil {
			return err
		}
	}
	if l.MaxMem != nil {
		if err := apply("memory cap", p.dom.SetMaxMem(*l.MaxMem)); err != nil {
			return err
		}
	}
	if l.Spin != nil {
		if err := e.setSpin(p, *l.Spin); err != nil {
			return err
		}
		e.events.addf("limit", &p.rec.Process, "spin changed")
	}
	if l.Family != nil {
		if err := e.setFamilyLimit(p, *l.Family); err != nil {
			return err
		}
		e.events.addf("limit", &p.rec.Process, "family %d may have %d members", p.rec.Family, *l.Family)
	}
	return nil
}

// spins tells whether a pVM, and who serves it, may look for what others do before it sleeps: only where one of them can run meanwhile.
func (e *Engine) spins(r *record) bool { return e.cpus > 1 && !r.NoSpin }

// setSpin allows a pVM to do so, or forbids it; its future children inherit that.
func (e *Engine) setSpin(p *pvm, spin bool) error {
	e.mu.Lock()
	p.rec.NoSpin = !spin
	may := e.spins(&p.rec)
	e.mu.Unlock()
	p.shared(func() error { ipc.SetLook(p.dom.Control(), may); return nil }) // one that has gone needs nothing any more
	if err := e.save(nil, p); err != nil {
		return errf(CodeInternal, "(%d): %v", p.pid, err)
	}
	return nil
}

// Events returns the events after seq.
func (e *Engine) Events(_ context.Context, seq uint64, follow bool) (EventReader, error) {
	return e.events.reader(seq, follow), nil
}

func (e *Engine) pool() Pool { return Pool{PoolState(e.hv.Pool()), e.placeholders.state()} }

// Pool shows the pools of domains that wait.
func (e *Engine) Pool(context.Context) (*Pool, error) {
	p := e.pool()
	return &p, nil
}

// PoolResize sets how many domains of a kind should wait.
func (e *Engine) PoolResize(_ context.Context, kind PoolKind, n int) error {
	switch kind {
	case PoolBlank:
		if err := e.hv.SetPool(n); err != nil {
			return errf(CodeInvalid, "resize %d: %v", n, err)
		}
		return nil
	case PoolPlaceholder:
		return e.placeholders.resize(n)
	}
	return errf(CodeInvalid, "pool %q: there is %s and %s", kind, PoolBlank, PoolPlaceholder)
}

// Info describes engine, hypervisor and host.
func (e *Engine) Info(context.Context) (*Info, error) {
	hi, err := e.hv.Info()
	if err != nil {
		return nil, errf(CodeInternal, "hypervisor: %v", err)
	}
	e.mu.Lock()
	running := e.running
	e.mu.Unlock()
	return &Info{
		Version: e.o.Version, PID: os.Getpid(), Started: e.started, Socket: e.o.Socket, State: e.o.State,
		Host: e.host, Hypervisor: hi.Name, HVVersion: hi.Version, Scheduler: hi.Scheduler, Sandbox: hi.Sandbox,
		CPUs: hi.CPUs, Memory: hi.Memory, FreeMemory: hi.FreeMemory, Idle: hi.Idle, Running: running, Pool: e.pool(), Metrics: e.o.Metrics,
	}, nil
}
