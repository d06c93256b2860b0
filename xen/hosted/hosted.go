// Package hosted is the hypervisor that needs no hypervisor: every domain is one Linux process that
// a kernel filter confines. The process, the stub (stub/, C without a libc), lives above the
// guest's addresses and answers its hypercalls; guest code runs in ring 3 at native speed.
//
// Nothing here needs privileges. Started as root, domains give root up; user namespaces are used
// where they may be, and are not needed.
//
// A domain's memory is one memfd, in the order of its frames, with the image's read-only segments
// mapped from one sealed memfd for all domains of that image. Its control area is another memfd,
// which the engine maps too. Domains outlive the engine: everything a later one needs is found
// through /proc/PID/fd of the stub, whose descriptors the guest cannot change.
package hosted

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// DefaultPool is how many blank domains wait if Options do not say.
const DefaultPool = 4

// Options say how to start.
type Options struct {
	// Key tells the domains of one engine from those of others, for example the path of its state
	// folder. Two engines with one key must not live at the same time.
	Key string
	// FirstID is the number to give to the next new domain, if it is free; 0 or one that there is
	// not: 1. After xen.MaxDomID numbers begin at 1 again.
	FirstID xen.DomID
	// Pool is how many blank domains should wait; 0: DefaultPool, negative: none.
	Pool int
}

// Hypervisor is the hosted hypervisor.
type Hypervisor struct {
	key     string
	clock   clock
	zygote  *zygote
	pool    *pool
	watcher *watcher
	memory  hostMemory
	oom     oomKiller

	permitting permitting
	births     sync.RWMutex  // held for reading while a domain is made, for writing to look for what nobody knows
	leaving    chan struct{} // closed by Close
	swept      chan struct{} // closed when nobody looks any more

	mu      sync.Mutex
	domains map[xen.DomID]*Domain
	strays  map[xen.DomID]stray // of an earlier engine, not adopted
	nextID  xen.DomID
	closed  bool
}

var _ xen.Hypervisor = (*Hypervisor)(nil)

// New starts the hypervisor: it finds the domains of an earlier engine with the same key, ends
// what that left half made, and begins to fill the pool.
func New(o Options) (*Hypervisor, error) {
	if runtime.GOARCH != "amd64" {
		return nil, fmt.Errorf("kxsh: hosted: needs an x86-64 host, this is %s", runtime.GOARCH)
	}
	key := fileKey(o.Key)
	h := &Hypervisor{
		key: key, clock: newClock(), domains: map[xen.DomID]*Domain{}, nextID: 1,
		permitting: permitting{told: map[int]int{}},
		leaving:    make(chan struct{}), swept: make(chan struct{}),
	}
	if o.FirstID <= xen.MaxDomID {
		h.nextID = max(o.FirstID, 1)
	}
	h.oom.kills = oomKills()
	h.strays = scan(key)
	var err error
	if h.zygote, err = newZygote(key); err != nil {
		return nil, err
	}
	if h.watcher, err = newWatcher(); err != nil {
		h.zygote.close()
		return nil, err
	}
	want := o.Pool
	switch {
	case want == 0:
		want = DefaultPool
	case want < 0:
		want = 0
	}
	h.pool = newPool(h.zygote, want)
	if len(h.strays) > 0 {
		go h.sweep()
	} else {
		close(h.swept)
	}
	return h, nil
}

// fileKey makes any key fit for the name of a memory file.
func fileKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:8])
}

// Info implements xen.Hypervisor.
func (h *Hypervisor) Info() (xen.Info, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return xen.Info{}, os.NewSyscallError("uname", err)
	}
	total, free := h.memory.sample()
	return xen.Info{
		Name:       "hosted",
		Version:    "Linux " + unix.ByteSliceToString(u.Release[:]),
		Scheduler:  "Linux",
		CPUs:       runtime.NumCPU(),
		Memory:     total,
		FreeMemory: free,
		Idle:       readIdle(),
		Sandbox:    h.zygote.sandbox(),
	}, nil
}

// Adopted implements xen.Hypervisor: what domains share goes with the last process that has it.
func (h *Hypervisor) Adopted() {}

// Domains implements xen.Hypervisor.
func (h *Hypervisor) Domains() ([]xen.DomID, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []xen.DomID
	for id, d := range h.domains {
		if !d.isGone() {
			ids = append(ids, id)
		}
	}
	for id, s := range h.strays {
		if s.lives() {
			ids = append(ids, id)
		} else {
			delete(h.strays, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// List implements xen.Hypervisor: there are no domains of others, and each of ours is asked itself.
func (h *Hypervisor) List() ([]xen.Listed, error) { return nil, nil }

// Force implements xen.Hypervisor.
func (h *Hypervisor) Force(xen.DomID, xen.UUID, xen.Action) error { return xen.ErrNoDomain }

// Pool implements xen.Hypervisor.
func (h *Hypervisor) Pool() xen.Pool { return h.pool.state() }

// SetPool implements xen.Hypervisor.
func (h *Hypervisor) SetPool(n int) error {
	if n < 0 || n > maxPool {
		return fmt.Errorf("pool: %d: must be 0 to %d", n, maxPool)
	}
	h.pool.resize(n)
	return nil
}

// Close implements xen.Hypervisor. Domains that were not released keep their control areas mapped,
// but nobody watches them any more.
func (h *Hypervisor) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	close(h.leaving)
	<-h.swept
	h.pool.close()
	h.zygote.close()
	return h.watcher.close()
}

// newID reserves the next free number.
func (h *Hypervisor) newID() (xen.DomID, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, os.ErrClosed
	}
	for range xen.MaxDomID {
		id := h.nextID
		if h.nextID++; h.nextID > xen.MaxDomID {
			h.nextID = 1
		}
		_, used := h.domains[id]
		if _, stray := h.strays[id]; !used && !stray {
			h.domains[id] = nil
			return id, nil
		}
	}
	return 0, fmt.Errorf("no domain number is free: %d domains exist", len(h.domains))
}

// reserve keeps the number of a domain for another one.
func (h *Hypervisor) reserve(id xen.DomID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains[id] = nil
}

func (h *Hypervisor) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// set records a domain under its number; nil frees the number.
func (h *Hypervisor) set(id xen.DomID, d *Domain) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d == nil {
		delete(h.domains, id)
		return
	}
	h.domains[id] = d
}

// serial numbers domains in this process, for the watcher; unlike a DomID it is never used again.
var serial atomic.Uint64
