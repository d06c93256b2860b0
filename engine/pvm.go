package engine

import (
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
	pid   int
	rec   record // guarded by Engine.mu
	log   *consoleLog
	syms  *elf.SymTab
	ended chan struct{} // closed when rec.Exit is set and the log complete
	room  chan struct{} // receives when there may be room for input

	broken string // why the control area is not trusted any more, guarded by Engine.mu

	// The domain and all that lives in its control area. The lock keeps release from unmapping
	// the pages under a reader; released says that they are gone.
	mu       sync.RWMutex
	released bool
	dom      xen.Domain
	out      *ipc.Output // tend's alone, as unkept
	in       *ipc.Input
	cmds     *ipc.Commands

	unkept    int   // bytes of output that the log has no room for
	unkeptWhy error // the last reason

	promised atomic.Pointer[logReader] // holds the log until the promised reader attaches
}

// attachControl finds the rings in a new or adopted domain's control area.
func (p *pvm) attachControl() {
	ctl := p.dom.Control()
	p.out, p.in, p.cmds = ipc.NewOutput(ctl), ipc.NewInput(ctl), ipc.NewCommands(ctl)
	p.out.Sleep() // ask for an event at the first output
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
	return p.shared(func() error {
		notify, err := p.cmds.Send(c)
		if err == nil && notify {
			err = p.dom.Notify()
		}
		return err
	})
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
			if err := p.log.append(c.Stream, now, c.Data); err != nil { // a full disk loses output, not the pVM
				p.unkept += len(c.Data)
				p.unkeptWhy = err
			}
		}
		if err != nil {
			return err
		}
		if hold && len(chunks) > 0 {
			p.log.waitHolds(p.dom.Gone())
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

// say adds a line of the engine's own to the console log.
func (p *pvm) say(line string) {
	p.log.append(Kernel, time.Now(), []byte("kxsh: "+line+"\n"))
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
