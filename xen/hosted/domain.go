package hosted

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// process is what the engine holds of a domain's process.
type process struct {
	pid   int
	pidfd int
	ctl   int    // memfd of area
	ram   int    // memfd of the frames
	bell  int    // read end of the doorbell
	area  []byte // control area, then the state page
}

func (p *process) state() *stubState { return (*stubState)(unsafe.Pointer(&p.area[stateOff])) }

func (p *process) shared() *abi.SharedInfo {
	return (*abi.SharedInfo)(unsafe.Pointer(&p.area[abi.SharedVa-abi.CtlVa]))
}

// Domain is one domain: a stub's process.
type Domain struct {
	h      *Hypervisor
	id     xen.DomID
	serial uint64
	process
	// start is when the process started, in clock ticks since boot: it tells it from a later one of
	// the same PID. 0: not looked up yet.
	start atomic.Uint64
	img   *image    // nil if adopted
	maps  []stubMap // what of its memory is where
	rang  chan struct{}
	gone  chan struct{}
	rate  rate // the watcher's

	// mu is held for reading while the descriptors and the area are used, for writing to free them.
	mu        sync.RWMutex
	released  bool
	paused    atomic.Bool
	destroyed atomic.Bool
	limits    limits

	once sync.Once    // ended
	exit xen.Exit     // set before gone is closed
	cpu  atomic.Int64 // CPU time when it was last looked at, ns
}

var _ xen.Domain = (*Domain)(nil)

func newDomain(h *Hypervisor, id xen.DomID, p process) *Domain {
	return &Domain{
		h: h, id: id, serial: serial.Add(1), process: p,
		rang: make(chan struct{}, 1), gone: make(chan struct{}),
	}
}

// ID implements xen.Domain.
func (d *Domain) ID() xen.DomID { return d.id }

// Control implements xen.Domain.
func (d *Domain) Control() []byte { return d.area[:abi.CtlSize:abi.CtlSize] }

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
	if d.paused.Swap(false) {
		if err := signalTo(d.pidfd, unix.SIGCONT); err != nil {
			return err
		}
	}
	s := d.state()
	if atomic.SwapUint32(&s.Go, 1) == 0 && atomic.LoadUint32(&s.Sleeping) != 0 {
		futexWake(&s.Go)
	}
	return nil
}

// Pause implements xen.Domain.
func (d *Domain) Pause() error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	d.paused.Store(true)
	return signalTo(d.pidfd, unix.SIGSTOP)
}

// Notify implements xen.Domain, as Xen sets an event channel pending.
func (d *Domain) Notify() error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	const bit = 1 << portEngine
	sh := d.shared()
	v := &sh.VcpuInfo[0]
	if atomic.OrUint64(&sh.EvtchnPending[0], bit)&bit != 0 || atomic.LoadUint64(&sh.EvtchnMask[0])&bit != 0 {
		return nil
	}
	if atomic.OrUint64(&v.EvtchnPendingSel, 1)&1 != 0 {
		return nil
	}
	// The pending byte and the mask byte beside it, as one word.
	word := (*uint32)(unsafe.Pointer(&v.EvtchnUpcallPending))
	masked := atomic.OrUint32(word, 1)&0xff00 != 0
	return d.kick(masked)
}

// kick gets the vcpu's attention: the order of its steps is what block() in stub/event.c relies on.
func (d *Domain) kick(masked bool) error {
	s := d.state()
	atomic.AddUint32(&s.Seq, 1)
	if atomic.LoadUint32(&s.Sleeping) != 0 {
		futexWake(&s.Seq)
		return nil
	}
	if masked {
		return nil // the guest looks for itself when it unmasks
	}
	return signalTo(d.pidfd, unix.SIGUSR1)
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
	return signalTo(d.pidfd, unix.SIGKILL)
}

// Release implements xen.Domain.
func (d *Domain) Release() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.released {
		return xen.ErrNoDomain
	}
	if !d.isGone() {
		return fmt.Errorf("domain %d: release: it still runs", d.id)
	}
	d.released = true
	endProcess(d.pidfd)
	d.h.set(d.id, nil)
	unix.Munmap(d.area)
	closeAll(d.pidfd, d.ctl, d.ram, d.bell)
	if d.img != nil {
		d.img.Close()
	}
	return nil
}

// saysEnded tells whether the stub has said how the domain ended. Its process then waits for
// Release, so that an engine that dies before it has recorded the end is followed by one that can.
func (d *Domain) saysEnded() bool { return atomic.LoadUint32(&d.state().Ended) != 0 }

// ended is called once, through watcher.end, when the process is no more or waits for Release.
func (d *Domain) ended() {
	d.cpuTime()
	w := reap(d.pidfd)
	if w.known {
		d.cpu.Store(int64(w.cpu))
	}
	d.exit = d.why(w)
	close(d.gone)
}

// why tells how the domain ended. Its own word for it, in the state page, is believed: it can only
// lie about itself.
func (d *Domain) why(w waitStatus) xen.Exit {
	s := d.state()
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
		return xen.Exit{Reason: xen.ExitKilled, Detail: fmt.Sprintf("its process was killed by %v", unix.SignalName(w.signal))}
	default:
		return xen.Exit{Reason: xen.ExitKilled, Detail: "its process was killed"}
	}
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

// Token implements xen.Domain: the process and when it started. There is none of a domain that was
// gone before anybody asked.
func (d *Domain) Token() []byte {
	if d.start.Load() == 0 && d.useLiving() == nil {
		if start, err := startTime(d.pid); err == nil {
			d.start.Store(start)
		}
		d.mu.RUnlock()
	}
	if d.start.Load() == 0 {
		return nil
	}
	t := binary.LittleEndian.AppendUint64(nil, uint64(d.pid))
	return binary.LittleEndian.AppendUint64(t, d.start.Load())
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
		return copy(p, d.area[off:abi.CtlSize]), nil
	}
	for _, m := range d.maps {
		off := va - m.VA
		if va < m.VA || off >= m.Len {
			continue
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

// backing returns the memory file behind a mapping. An adopted domain's image is opened for each
// use: it is rarely looked at.
func (d *Domain) backing(fd uint32) (int, func(), error) {
	switch {
	case fd == fdRAM:
		return d.ram, func() {}, nil
	case d.img != nil:
		return d.img.fd, func() {}, nil
	}
	f, err := reopen(fmt.Sprintf("/proc/%d", d.pid), fdImage, unix.O_RDONLY)
	return f, func() { closeAll(f) }, err
}
