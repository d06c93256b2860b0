package engine

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// readerGrace is how long a pVM that was promised a reader waits for it with a full log.
const readerGrace = 10 * time.Second

// pvm is one process: its record, and while it runs its domain and the rings it shares with us.
type pvm struct {
	pid    int
	rec    record // guarded by Engine.mu
	log    *consoleLog
	syms   *elf.SymTab
	parent int           // at its birth; 0: it was not forked, or by an engine before
	root   *pvm          // of its family, if that is another one and was there: its log has what this one writes, too
	ended  chan struct{} // closed when rec.Exit is set and the log complete
	room   chan struct{} // receives when there may be room for input
	again  chan struct{} // tend looks after it as if it had rung
	files  chan struct{} // receives when it may ask for a file of the host

	// Guarded by Engine.mu.
	broken string   // why the control area is not trusted any more
	doomed bool     // it is being killed with others and must not fork any more
	asked  *request // a fork from outside that it has not come to yet
	update *update  // of one of its libraries, under way

	still   sync.Mutex // keeps it from being stopped while it is forked
	stopped bool       // by a signal or from outside; guarded by still

	linked    atomic.Pointer[elf.Linked] // how its libraries are; nil: it has none, or an earlier engine knew
	unsettled atomic.Bool                // an earlier engine was about to update one, and nobody knows yet whether it has
	loading   atomic.Bool                // libraries come, or an earlier engine was about to have some come
	online    atomic.Bool                // it has a port of the switch, or should have
	next      *elf.Linked                // how it will be linked with them; tend's alone
	updated   time.Time                  // when it has asked for an update last; tend's alone

	size atomic.Uint64 // of its terminal: rows << 32 | columns

	// The domain and all that lives in its control area. The lock keeps release from unmapping
	// the pages under a reader; released says that they are gone.
	mu       sync.RWMutex
	released bool
	dom      xen.Domain
	out      *ipc.Output // tend's alone, as unkept
	in       *ipc.Input
	cmds     *ipc.Commands
	calls    *ipc.Calls // tend's alone

	tasks tasks

	lateMu sync.Mutex
	late   []abi.KxCmd // commands that must not be lost and that the ring has no room for yet

	unkept    int   // bytes of output that the log has no room for
	unkeptWhy error // the last reason

	promised atomic.Pointer[logReader] // holds the log until the promised reader attaches
}

func newPVM() *pvm {
	return &pvm{ended: make(chan struct{}), room: make(chan struct{}, 1), again: make(chan struct{}, 1), files: make(chan struct{}, 1)}
}

// attachControl finds the rings in a new or adopted domain's control area.
func (p *pvm) attachControl() {
	ctl := p.dom.Control()
	p.out, p.in, p.cmds, p.calls = ipc.NewOutput(ctl), ipc.NewInput(ctl), ipc.NewCommands(ctl), ipc.NewCalls(ctl)
	if !p.out.Sleep() { // an event at the first output was asked for too late: there is some already
		p.lookAgain()
	}
}

// lookAgain has p tended as if it had rung.
func (p *pvm) lookAgain() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

// release frees the domain.
func (p *pvm) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = true
	p.dom.Release()
}

// shared runs f while the control area is sure to be mapped.
func (p *pvm) shared(f func() error) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.released {
		return xen.ErrNoDomain
	}
	return f()
}

// command queues a command and wakes the pVM if it sleeps.
func (p *pvm) command(c abi.KxCmd) error {
	return p.shared(func() error { return p.send(c) })
}

// send queues a command. The caller is in shared.
func (p *pvm) send(c abi.KxCmd) error {
	notify, err := p.cmds.Send(c)
	if errors.Is(err, ipc.ErrClosed) {
		return xen.ErrNoDomain
	}
	if err == nil && notify {
		err = p.dom.Notify()
	}
	return err
}

// tell queues a command that must not be lost: what the ring has no room for goes when it has. Of two
// that wait and are about the same signal or child, the later one counts, as with pending signals.
func (p *pvm) tell(c abi.KxCmd) error {
	return p.shared(func() error {
		p.lateMu.Lock()
		defer p.lateMu.Unlock()
		i := slices.IndexFunc(p.late, func(l abi.KxCmd) bool { return l.Op == c.Op && l.Arg0 == c.Arg0 })
		if i >= 0 {
			p.late[i] = c
		} else {
			p.late = append(p.late, c)
		}
		return p.sendLate()
	})
}

// catchUp sends what tell could not.
func (p *pvm) catchUp() error {
	return p.shared(func() error {
		p.lateMu.Lock()
		defer p.lateMu.Unlock()
		return p.sendLate()
	})
}

func (p *pvm) sendLate() error {
	for len(p.late) > 0 {
		err := p.send(p.late[0])
		if errors.Is(err, ipc.ErrFull) {
			if sleep, err := p.cmds.Sleep(); sleep || err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		p.late = p.late[1:]
	}
	p.late = nil
	return nil
}

// feed writes to standard input as much as there is room for. With 0 written, room receives when
// it is worth another try.
func (p *pvm) feed(data []byte) (n int, err error) {
	err = p.shared(func() error {
		for {
			var notify bool
			if n, notify, err = p.in.Write(data); err != nil {
				return err
			}
			if notify {
				err = p.dom.Notify()
			}
			if n > 0 || err != nil {
				return err
			}
			if sleep, err := p.in.Sleep(); sleep || err != nil {
				return err
			}
		}
	})
	return n, err
}

// drain moves everything the pVM has written into its log. With hold it makes the pVM wait for
// readers that must not lose anything.
func (p *pvm) drain(hold bool) error {
	for {
		chunks, err := p.out.Read()
		now := time.Now()
		for _, c := range chunks {
			p.keep(now, c)
		}
		if err != nil {
			return err
		}
		if hold && len(chunks) > 0 {
			p.log.waitHolds(p.dom.Gone())
			if p.root != nil {
				p.root.log.waitHolds(p.dom.Gone())
			}
		}
		if p.out.Release() {
			if err := p.dom.Notify(); err != nil {
				return nil // it is gone; what it wrote will be drained by reap
			}
		}
		if len(chunks) == 0 && p.out.Sleep() {
			return nil
		}
	}
}

// keep adds output to the log, and to that of the family's root while it lives: who watches the root
// sees what its children write, twice perhaps if an engine dies in between.
func (p *pvm) keep(now time.Time, c ipc.Chunk) {
	if p.root != nil {
		p.root.log.append(c.Stream, now, c.Data)
	}
	if err := p.log.keep(now, c); err != nil { // a full disk loses output, not the pVM
		p.unkept += len(c.Data)
		p.unkeptWhy = err
	}
}

// say adds a line of the engine's own to the console log.
func (p *pvm) say(line string) {
	now, data := time.Now(), []byte("kxsh: "+line+"\n")
	p.log.append(Kernel, now, data)
	if p.root != nil {
		p.root.log.append(Kernel, now, data)
	}
}

// resize tells it the size of its terminal.
func (p *pvm) resize(rows, cols int) error {
	p.size.Store(uint64(rows)<<32 | uint64(uint32(cols)))
	return p.command(abi.KxCmd{Op: abi.CmdWinsize, A: [3]uint64{uint64(rows), uint64(cols)}})
}

// birth tells how long after the request the program's first instruction ran (0: it has not), and
// where the RAM window is. Both are the pVM's own word.
func (p *pvm) birth() (mainAfter time.Duration, ramVA uint64) {
	p.shared(func() error {
		ctl := p.dom.Control()
		sh := (*abi.SharedInfo)(unsafe.Pointer(&ctl[abi.SharedVa-abi.CtlVa]))
		kc := (*abi.KxControl)(unsafe.Pointer(&ctl[abi.ControlVa-abi.CtlVa]))
		ramVA = atomic.LoadUint64(&kc.RamVa)
		if main := ipc.ReadMain(ctl); main != 0 {
			// The wall clock at system time 0, from the same page the pVM takes it from.
			zero := time.Unix(int64(atomic.LoadUint32(&sh.WcSec))|int64(atomic.LoadUint32(&sh.WcSecHi))<<32,
				int64(atomic.LoadUint32(&sh.WcNsec)))
			mainAfter = zero.Add(time.Duration(main)).Sub(p.rec.Requested.Round(0))
		}
		return nil
	})
	return mainAfter, ramVA
}

// expectReader holds the log for a reader that was promised and will attach soon.
func (p *pvm) expectReader() {
	r := p.log.reader(true, true)
	p.promised.Store(r)
	time.AfterFunc(readerGrace, func() { p.meetReader() })
}

// meetReader ends the hold of expectReader; the reader that attached holds the log itself.
func (p *pvm) meetReader() {
	if r := p.promised.Swap(nil); r != nil {
		r.close()
	}
}
