package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"kxsh/engine/files"
	"kxsh/xen"
)

// Remembered is how many ended pVMs are remembered, with their consoles.
const Remembered = 512

// DefaultMemory is the RAM window of a pVM whose image and user say nothing, in bytes.
const DefaultMemory = 64 << 20

// Options says how an engine is made.
type Options struct {
	// Open opens the hypervisor once the store has been read; first is the lowest domain number
	// that may be given out next.
	Open    func(first xen.DomID) (xen.Hypervisor, error)
	State   string // folder of store and console logs; made if missing
	Socket  string // for Info only
	Version string
	Log     *slog.Logger
	// FamilyLimit is how many members a family may have that nobody gave a limit; 0: DefaultFamilyLimit.
	FamilyLimit int
	// Metrics is where Daemon serves metrics, as CheckMetrics has it; empty: nowhere.
	Metrics string
	// Self is how this kxsh is called, to be the network's switch.
	Self []string
	// Libraries are those that are part of kxsh, in one folder, by name. May be nil.
	Libraries fs.FS
}

// Engine is the process table and everything done to it. It implements API.
type Engine struct {
	o       Options
	hv      xen.Hypervisor
	store   *store
	events  *events
	births  births
	images  *fileCache[*image]
	libs    *fileCache[*library]
	builtIn *BuiltIn
	floors  *floors
	started time.Time
	host    string
	hvName  string
	cpus    int // of the host
	log     *slog.Logger

	files        files.Budget  // of descriptors for folders of the host
	looking      atomic.Int32  // how many servers of folders look for requests
	placeholders *placeholders // that wait for an application
	net          netSwitch

	patience  time.Duration // of Fork
	lookAgain time.Duration // of a task that waits for a message
	saving    sync.Mutex    // makes writing records and taking copies of them one, see save

	mu       sync.Mutex
	table    map[int]*pvm    // running and remembered, by PID
	families map[int]*family // that have a member, by number
	ended    []int           // PIDs of remembered ones, oldest first
	running  int
	closing  bool
	changed  chan struct{} // closed and replaced when running changes

	tending sync.WaitGroup
	quit    chan struct{} // closed when Shutdown was asked for
	once    sync.Once
}

var _ API = (*Engine)(nil)

// New reads the store, adopts the pVMs that an earlier engine left running, and is ready.
func New(o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.FamilyLimit == 0 {
		o.FamilyLimit = DefaultFamilyLimit
	}
	if err := os.MkdirAll(filepath.Join(o.State, "logs"), 0o700); err != nil {
		return nil, stateError(o.State, err)
	}
	st, fresh, err := openStore(o.State, o.Log)
	if err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	e := &Engine{
		o: o, store: st, started: time.Now(), host: host, log: o.Log, floors: newFloors(o.State), builtIn: NewBuiltIn(o.Libraries, o.State),
		table: map[int]*pvm{}, families: map[int]*family{}, patience: forkPatience, lookAgain: lookAgain, changed: make(chan struct{}), quit: make(chan struct{}),
	}
	e.files.Max = filesBudget()
	e.placeholders = newPlaceholders(e)
	e.images, e.libs = newFileCache(e.loadImage), newFileCache(e.loadLibrary)
	if e.events, err = newEvents(st); err != nil {
		st.close()
		return nil, err
	}
	recs, bad, err := st.all()
	if err != nil {
		e.events.close()
		st.close()
		return nil, err
	}
	for _, b := range bad {
		e.log.Warn("store", "damaged", b)
	}
	last := 0
	for _, r := range recs {
		last = max(last, r.PID)
	}
	first := xen.DomID(last + 1)
	if first > xen.MaxDomID {
		first = 1
	}
	if e.hv, err = o.Open(first); err != nil {
		e.events.close()
		st.close()
		return nil, err
	}
	if hi, err := e.hv.Info(); err == nil {
		e.hvName, e.cpus = hi.Name, hi.CPUs
	}
	e.events.addf("engine", nil, "engine %s started, PID %d", o.Version, os.Getpid())
	e.adoptAll(recs, fresh)
	e.adoptSwitch()
	e.pruneBuiltIn()
	return e, nil
}

// Quit is closed when a client has asked the engine to end.
func (e *Engine) Quit() <-chan struct{} { return e.quit }

// Idle blocks until the engine has had no running pVM and no client (as busy tells) for so long,
// or ctx ends.
func (e *Engine) Idle(ctx context.Context, grace time.Duration, busy func() bool) error {
	tick := time.NewTicker(grace / 4)
	defer tick.Stop()
	since := time.Now()
	for {
		e.mu.Lock()
		n := e.running
		e.mu.Unlock()
		if n > 0 || busy() {
			since = time.Now()
		}
		if time.Since(since) >= grace {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// isClosing tells whether the engine leaves running pVMs to the next one.
func (e *Engine) isClosing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing
}

// Stop lets go of everything and leaves running pVMs to the next engine.
func (e *Engine) Stop() error {
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	e.once.Do(func() { close(e.quit) })
	e.tending.Wait()
	e.placeholders.close()
	e.leaveSwitch()
	e.images.close()
	e.libs.close()
	e.events.addf("engine", nil, "engine stopped")
	e.events.close()
	return errors.Join(e.hv.Close(), e.store.close())
}

// Shutdown asks the engine to end; with kill it first destroys every pVM.
func (e *Engine) Shutdown(ctx context.Context, kill bool) error {
	if kill {
		e.mu.Lock()
		for _, p := range e.table {
			if p.rec.Exit == nil {
				p.rec.Stopped, p.doomed = true, true
			}
		}
		e.mu.Unlock()
		for _, p := range e.live() {
			if err := p.dom.Destroy(); err != nil && !errors.Is(err, xen.ErrNoDomain) {
				return errf(CodeInternal, "shutdown: %d: %v", p.pid, err)
			}
		}
		for _, p := range e.live() {
			select {
			case <-p.ended:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	e.once.Do(func() { close(e.quit) })
	return nil
}

// Close is part of API; an in-process Engine is ended by Stop.
func (e *Engine) Close() error { return nil }

// live returns the running pVMs by PID.
func (e *Engine) live() []*pvm {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ps []*pvm
	for _, p := range e.table {
		if p.rec.Exit == nil {
			ps = append(ps, p)
		}
	}
	sort.Slice(ps, func(i, j int) bool { return ps[i].pid < ps[j].pid })
	return ps
}

// find returns a pVM, running or remembered. mend is what the error says if somebody else made the domain.
func (e *Engine) find(pid int, mend string) (*pvm, error) {
	e.mu.Lock()
	p := e.table[pid]
	e.mu.Unlock()
	if p == nil {
		return nil, e.missing(pid, mend)
	}
	return p, nil
}

// findLive returns a running pVM.
func (e *Engine) findLive(pid int, mend string) (*pvm, error) {
	p, err := e.find(pid, mend)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	over := p.rec.Exit != nil
	e.mu.Unlock()
	if over {
		return nil, e.missing(pid, mend)
	}
	return p, nil
}

func errf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}
