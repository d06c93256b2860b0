package hosted

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/ipc/bell"
	"kxsh/xen"
)

// Domain is one domain: a stub's process.
type Domain struct {
	h         *Hypervisor
	id        xen.DomID
	proc      atomic.Pointer[process]
	img       *image // nil if adopted
	libraries libraries
	maps      []stubMap // what of its memory is where; with libraries replaced as wholes, while mu is held for writing
	dynamic   uint64    // pages of its dynamic segment
	rang      chan struct{}
	gone      chan struct{}
	rate      rate // the watcher's

	forking sync.Mutex     // one fork at a time
	former  sync.WaitGroup // processes that it has moved away from, until they are gone

	// mu is held for reading while the descriptors and the area are used, for writing to free or to replace them.
	mu        sync.RWMutex
	released  bool
	paused    atomic.Bool
	destroyed atomic.Bool
	limits    limits

	ending sync.Mutex   // held to end it, or to move it
	exit   xen.Exit     // set before gone is closed
	cpu    atomic.Int64 // CPU time when it was last looked at, ns
	before atomic.Int64 // that of former processes
}

var _ xen.Domain = (*Domain)(nil)

func newDomain(h *Hypervisor, id xen.DomID, p *process) *Domain {
	d := &Domain{h: h, id: id, rang: make(chan struct{}, 1), gone: make(chan struct{})}
	p.serial = serial.Add(1)
	d.proc.Store(p)
	return d
}

// ID implements xen.Domain.
func (d *Domain) ID() xen.DomID { return d.id }

// Control implements xen.Domain.
func (d *Domain) Control() []byte { return d.proc.Load().control[:abi.CtlSize:abi.CtlSize] }

// Rang implements xen.Domain.
func (d *Domain) Rang() <-chan struct{} { return d.rang }

// Touched implements xen.Domain: nobody else stops a domain's process.
func (d *Domain) Touched() <-chan struct{} { return nil }

// Gone implements xen.Domain.
func (d *Domain) Gone() <-chan struct{} { return d.gone }

// Exit implements xen.Domain.
func (d *Domain) Exit() xen.Exit {
	<-d.gone
	return d.exit
}

func (d *Domain) isGone() bool {
	if d == nil { // its number is reserved, it is being built
		return true
	}
	select {
	case <-d.gone:
		return true
	default:
		return false
	}
}

// use holds off Release; the caller must call d.mu.RUnlock if there is no error.
func (d *Domain) use() error {
	d.mu.RLock()
	if d.released {
		d.mu.RUnlock()
		return xen.ErrNoDomain
	}
	return nil
}

// useLiving is use, and ErrNoDomain for a domain that is gone.
func (d *Domain) useLiving() error {
	if err := d.use(); err != nil {
		return err
	}
	if d.isGone() {
		d.mu.RUnlock()
		return xen.ErrNoDomain
	}
	return nil
}

// Unpause implements xen.Domain.
func (d *Domain) Unpause() error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	p := d.proc.Load()
	if d.paused.Swap(false) {
		if err := signalTo(p.pidfd, unix.SIGCONT); err != nil {
			return err
		}
	}
	p.letGo()
	return nil
}

// letGo lets the first instruction run.
func (p *process) letGo() {
	s := p.state()
	if atomic.SwapUint32(&s.Go, 1) == 0 && atomic.LoadUint32(&s.Sleeping) != 0 {
		bell.Wake(&s.Go)
	}
}

// Pause implements xen.Domain.
func (d *Domain) Pause() error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	d.paused.Store(true)
	return signalTo(d.proc.Load().pidfd, unix.SIGSTOP)
}

// Notify implements xen.Domain, as Xen sets an event channel pending.
func (d *Domain) Notify() error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	return d.proc.Load().notify()
}

// notify raises the domain's end of the channel to the engine.
func (p *process) notify() error { return p.ringer().Ring(portEngine) }

// ringer is the bell of a process.
func (p *process) ringer() *bell.Bell {
	s := p.state()
	return &bell.Bell{Shared: p.shared(), Seq: &s.Seq, Sleeping: &s.Sleeping, Interrupt: func() error {
		return signalTo(p.pidfd, unix.SIGUSR1)
	}}
}

// Destroy implements xen.Domain.
func (d *Domain) Destroy() error {
	if err := d.use(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	if d.isGone() {
		return nil
	}
	d.destroyed.Store(true)
	return signalTo(d.proc.Load().pidfd, unix.SIGKILL)
}

// Release implements xen.Domain.
func (d *Domain) Release() error { return d.release(func() { d.h.set(d.id, nil) }) }

// release is Release; pass says what becomes of the number, once no process has it.
func (d *Domain) release(pass func()) error {
	d.forking.Lock()
	defer d.forking.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.released {
		return xen.ErrNoDomain
	}
	if !d.isGone() {
		return fmt.Errorf("domain %d: release: it still runs", d.id)
	}
	d.released = true
	d.former.Wait()
	p := d.proc.Load()
	endProcess(p.pidfd)
	pass()
	p.free(false)
	if d.img != nil {
		d.img.Close()
	}
	d.libraries.close()
	return nil
}

// saysEnded tells whether the stub has said how the domain ended. Its process then waits for
// Release, so that an engine that dies before it has recorded the end is followed by one that can.
func (p *process) saysEnded() bool { return atomic.LoadUint32(&p.state().Ended) != 0 }

// ended is called when a process is no more, or waits for Release; it ends the domain if it is its process.
func (d *Domain) ended(p *process) {
	d.ending.Lock()
	defer d.ending.Unlock()
	if d.proc.Load() != p || d.isGone() {
		return
	}
	d.cpuTime()
	w := reap(p.pidfd)
	if w.known {
		d.cpu.Store(d.before.Load() + int64(w.cpu))
	}
	d.exit = d.why(w)
	close(d.gone)
}

// why tells how the domain ended. Its own word for it, in the state page, is believed: it can only
// lie about itself.
func (d *Domain) why(w waitStatus) xen.Exit {
	s := d.proc.Load().state()
	switch ended := atomic.LoadUint32(&s.Ended); {
	case d.destroyed.Load():
		return xen.Exit{Reason: xen.ExitDestroyed, Detail: d.limits.verdict()}
	case ended == endShutdown:
		if r := atomic.LoadUint32(&s.Reason); r != abi.ShutdownPoweroff {
			return xen.Exit{Reason: xen.ExitCrash, Detail: shutdownName(r)}
		}
		return xen.Exit{Reason: xen.ExitShutdown}
	case ended == endFault:
		return xen.Exit{Reason: xen.ExitFault, Crash: s.Crash, Detail: faultDetail(s)}
	case w.known && w.signal == unix.SIGSYS:
		return xen.Exit{Reason: xen.ExitFault, Crash: abi.KxCrash{Signo: uint32(unix.SIGSYS)},
			Detail: "it made a system call of the host in the hypervisor's name"}
	case w.known && w.signal != 0:
		return xen.Exit{Reason: xen.ExitKilled, Detail: fmt.Sprintf("its process was killed by %v", unix.SignalName(w.signal)) + d.killer(w)}
	default:
		return xen.Exit{Reason: xen.ExitKilled, Detail: "its process was killed" + d.killer(w)}
	}
}

// killer names who may have killed the process, if it can be known.
func (d *Domain) killer(w waitStatus) string {
	if w.known && w.signal != unix.SIGKILL || !d.h.oom.struck() {
		return ""
	}
	return ", as the kernel's OOM killer does: the host has no memory left for it"
}

func shutdownName(reason uint32) string {
	switch reason {
	case abi.ShutdownCrash:
		return ""
	case abi.ShutdownReboot:
		return "it asked for a reboot"
	case abi.ShutdownSuspend:
		return "it asked for a suspend"
	default:
		return fmt.Sprintf("it shut down for reason %d", reason)
	}
}

func faultDetail(s *stubState) string {
	switch {
	case s.NoMemory != 0:
		return "the host has no memory left for it"
	case s.Crash.Signo == uint32(unix.SIGSYS):
		return fmt.Sprintf("it made system call %d of the host", s.Crash.Regs.Rax)
	case s.Crash.Vector == abi.X86TrapDf:
		return "a fault or an event while its stack could not be written"
	default:
		return "a fault without a handler"
	}
}

// Token implements xen.Domain: the file of the control area, which the domain keeps when it moves to another
// process. There is none of a domain that was gone before anybody asked.
func (d *Domain) Token() []byte {
	if d.useLiving() != nil {
		return nil
	}
	defer d.mu.RUnlock()
	return d.proc.Load().token()
}

func (p *process) token() []byte {
	var st unix.Stat_t
	if unix.Fstat(p.ctl, &st) != nil {
		return nil
	}
	return binary.LittleEndian.AppendUint64(nil, st.Ino)
}

// ReadMemory implements xen.Domain.
func (d *Domain) ReadMemory(va uint64, p []byte) error {
	if err := d.use(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	for len(p) > 0 {
		n, err := d.readPiece(va, p)
		if err != nil {
			return err
		}
		va, p = va+uint64(n), p[n:]
	}
	return nil
}

// readPiece reads what one mapping has at va.
func (d *Domain) readPiece(va uint64, p []byte) (int, error) {
	if off := va - abi.CtlVa; va >= abi.CtlVa && off < abi.CtlSize {
		return copy(p, d.proc.Load().control[off:abi.CtlSize]), nil
	}
	for _, m := range d.maps {
		off := va - m.VA
		if va < m.VA || off >= m.Len {
			continue
		}
		if m.FD == fdRAM && d.proc.Load().frozen {
			return d.readPrivate(va, p[:min(uint64(len(p)), m.Len-off)])
		}
		fd, done, err := d.backing(m.FD)
		if err != nil {
			return 0, err
		}
		defer done()
		n, err := unix.Pread(fd, p[:min(uint64(len(p)), m.Len-off)], int64(m.Off+off))
		if err == nil && n == 0 {
			err = unix.EIO
		}
		return n, os.NewSyscallError("pread", err)
	}
	return 0, fmt.Errorf("domain %d: no memory at %#x", d.id, va)
}

// readPrivate reads memory that only the process itself has. Not by process_vm_readv, which reads what the process may read: a LibOS that has just been moved
// has yet to give its pages their protection again.
func (d *Domain) readPrivate(va uint64, p []byte) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/mem", d.proc.Load().pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(p, int64(va))
}

// backing returns the memory file behind a mapping. An adopted domain's image is opened for each
// use: it is rarely looked at.
func (d *Domain) backing(fd uint32) (int, func(), error) {
	switch {
	case fd == fdRAM:
		return d.proc.Load().ram, func() {}, nil
	case fd >= fdLibrary:
		return d.libraries[fd-fdLibrary].fd, func() {}, nil
	case d.img != nil:
		return d.img.fd, func() {}, nil
	}
	f, err := reopen(fmt.Sprintf("/proc/%d", d.proc.Load().pid), fdImage, unix.O_RDONLY)
	return f, func() { closeAll(f) }, err
}
