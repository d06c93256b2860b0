package hosted

import (
	"fmt"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

const (
	ordinaryWeight = 256
	maxWeight      = 65535
	// niceStep is the ratio of CPU that Linux gives for one step of niceness (sched(7)).
	niceStep = 1.25
	// capPeriod is how often the memory of a domain with a cap is looked at.
	capPeriod = 100 * time.Millisecond
)

// limits is what was set for a domain from outside.
type limits struct {
	mu       sync.Mutex
	weight   int
	cpus     []int
	maxMem   uint64 // 0: what it was built with
	watching bool
	exceeded uint64 // the use at which it was destroyed; 0: it was not
}

// adopt reads the limits that an earlier engine set from the process. The cap of memory was the
// engine's own to hold and must be set again.
func (l *limits) adopt(pid int) {
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err == nil {
		l.weight = weightOf(20 - nice - ownNice) // the system call returns 20 - niceness
	}
	var set unix.CPUSet
	if unix.SchedGetaffinity(pid, &set) == nil && set.Count() < onlineCPUs() {
		for cpu := 0; len(l.cpus) < set.Count(); cpu++ {
			if set.IsSet(cpu) {
				l.cpus = append(l.cpus, cpu)
			}
		}
	}
}

// inherit gives processes the weight and the affinity that were set. One that has ended is no error.
func (l *limits) inherit(pids ...int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, pid := range pids {
		if l.weight != 0 {
			unix.Setpriority(unix.PRIO_PROCESS, pid, ownNice+niceOf(l.weight))
		}
		if len(l.cpus) > 0 {
			set := cpuSet(l.cpus)
			unix.SchedSetaffinity(pid, &set)
		}
	}
}

// copy takes over what inherit gives.
func (l *limits) copy(from *limits) {
	from.mu.Lock()
	defer from.mu.Unlock()
	l.weight, l.cpus = from.weight, from.cpus
}

func cpuSet(cpus []int) (set unix.CPUSet) {
	for _, c := range cpus {
		set.Set(c)
	}
	return set
}

// onlineCPUs is how many CPUs the engine itself may use.
func onlineCPUs() int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return 0
	}
	return set.Count()
}

// ownNice is the engine's own niceness, from which weights count: domains inherit it.
var ownNice = func() int {
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return 0
	}
	return 20 - nice
}()

// niceOf maps a weight to how much nicer than the engine a domain is to get about that share: 256 is
// 0, a quarter more is one step. Linux ends at 20 steps: weights from 4 to 22,000 differ, others are like those.
func niceOf(weight int) int {
	n := -math.Round(math.Log(float64(weight)/ordinaryWeight) / math.Log(niceStep))
	return int(max(-20, min(19, n)))
}

func weightOf(nice int) int {
	return max(1, int(math.Round(ordinaryWeight*math.Pow(niceStep, float64(-nice)))))
}

// SetWeight implements xen.Domain. Only root may give more than was given before.
func (d *Domain) SetWeight(weight int) error {
	if weight < 1 || weight > maxWeight {
		return fmt.Errorf("weight %d: must be 1 to %d", weight, maxWeight)
	}
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	if err := unix.Setpriority(unix.PRIO_PROCESS, d.proc.Load().pid, ownNice+niceOf(weight)); err != nil {
		return fmt.Errorf("weight %d: %w: only root may raise a weight", weight, err)
	}
	d.limits.mu.Lock()
	defer d.limits.mu.Unlock()
	d.limits.weight = weight
	return nil
}

// SetAffinity implements xen.Domain.
func (d *Domain) SetAffinity(cpus []int) error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	var set unix.CPUSet
	for _, c := range cpus {
		if c < 0 || c >= len(set)*64 {
			return fmt.Errorf("affinity: no CPU %d", c)
		}
		set.Set(c)
	}
	if len(cpus) == 0 {
		if err := unix.SchedGetaffinity(0, &set); err != nil {
			return os.NewSyscallError("sched_getaffinity", err)
		}
	}
	if err := unix.SchedSetaffinity(d.proc.Load().pid, &set); err != nil {
		return fmt.Errorf("affinity %v: %w: the host has none of these CPUs", cpus, err)
	}
	d.limits.mu.Lock()
	defer d.limits.mu.Unlock()
	d.limits.cpus = append([]int(nil), cpus...)
	return nil
}

// SetMaxMem implements xen.Domain. The size of a domain's memory file bounds it in any case; a
// lower cap is held by looking, every 100 ms: a domain that is found above it is destroyed, as the
// kernel's OOM killer would.
func (d *Domain) SetMaxMem(bytes uint64) error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	u := d.memory()
	if bytes < u.used {
		return fmt.Errorf("memory cap %d: it uses %d bytes now", bytes, u.used)
	}
	if bytes > u.most {
		return fmt.Errorf("memory cap %d: it was started with %d bytes, and only run -m gives more", bytes, u.most)
	}
	d.limits.mu.Lock()
	defer d.limits.mu.Unlock()
	d.limits.maxMem = bytes
	if bytes < u.most && !d.limits.watching {
		d.limits.watching = true
		go d.holdCap()
	}
	return nil
}

// holdCap looks at the memory of a domain that has a cap until it is gone or has none.
func (d *Domain) holdCap() {
	tick := time.NewTicker(capPeriod)
	defer tick.Stop()
	for {
		select {
		case <-d.gone:
			return
		case <-tick.C:
			if !d.checkCap() {
				return
			}
		}
	}
}

func (d *Domain) checkCap() bool {
	if d.useLiving() != nil {
		return false
	}
	defer d.mu.RUnlock()
	used := d.memory().own
	l := &d.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	if used <= l.maxMem {
		return true
	}
	l.exceeded = used
	d.destroyed.Store(true)
	signalTo(d.proc.Load().pidfd, unix.SIGKILL)
	return false
}

// verdict says that the cap was the end, if it was.
func (l *limits) verdict() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.exceeded == 0 {
		return ""
	}
	return fmt.Sprintf("it used %d bytes, more than its cap of %d", l.exceeded, l.maxMem)
}

// Status implements xen.Domain.
func (d *Domain) Status() (xen.Status, error) {
	if err := d.use(); err != nil {
		return xen.Status{}, err
	}
	defer d.mu.RUnlock()
	u := d.memory()
	st := xen.Status{
		State: d.doing(), CPUTime: d.cpuTime(), Memory: u.used, MaxMem: u.most, VCPUs: 1,
		HostPID: d.proc.Load().pid, Shared: u.shared, CoW: u.cow, Weight: ordinaryWeight,
	}
	d.limits.mu.Lock()
	defer d.limits.mu.Unlock()
	if d.limits.weight != 0 {
		st.Weight = d.limits.weight
	}
	if d.limits.maxMem != 0 {
		st.MaxMem = d.limits.maxMem
	}
	st.CPUs = append([]int(nil), d.limits.cpus...)
	return st, nil
}
