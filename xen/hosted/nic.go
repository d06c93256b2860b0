package hosted

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/ipc/bell"
	"kxsh/xen"
)

// Plug implements xen.Domain. The device's memory is there already, behind the state page in the control area's file, so that a process that is to
// be its other end needs no more of the domain than that file.
func (d *Domain) Plug(n *xen.NIC) error {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	p := d.proc.Load()
	n.Begin(p.net())
	n.Describe(p.control[:abi.CtlSize], portNet, 0)
	return nil
}

// Wire implements xen.Domain.
func (d *Domain) Wire() (*xen.Wire, error) {
	if err := d.useLiving(); err != nil {
		return nil, err
	}
	defer d.mu.RUnlock()
	p := d.proc.Load()
	if atomic.LoadUint32(&(*abi.KxControl)(unsafe.Pointer(&p.control[abi.ControlVa-abi.CtlVa])).Nic.Pages) == 0 {
		return nil, fmt.Errorf("domain %d: %w", d.id, xen.ErrNoWire)
	}
	w := &xen.Wire{}
	for _, open := range []func() (int, error){
		func() (int, error) { return dup(p.ctl) },
		func() (int, error) { return reopen(fmt.Sprintf("/proc/%d", p.pid), fdCtl, unix.O_RDWR) }, // another one, if the domain has moved
		func() (int, error) { return dup(p.pidfd) },
	} {
		fd, err := open()
		if err != nil {
			w.Close()
			return nil, err
		}
		w.Files = append(w.Files, os.NewFile(uintptr(fd), ctlName))
	}
	return w, nil
}

func (p *process) net() []byte { return p.control[netOff:ctlSize:ctlSize] }

// Port is the other end of a domain's network device.
type Port struct{ p process }

// OpenPort opens it, in any process that has the files of a xen.Wire, which stay the caller's.
func OpenPort(files []*os.File) (p *Port, err error) {
	if len(files) != 3 {
		return nil, fmt.Errorf("a network device of %d files, not 3", len(files))
	}
	p = &Port{process{pidfd: -1}}
	for i, area := range []*[]byte{&p.p.control, &p.p.area} {
		fd := int(files[i].Fd())
		if err = isMemory(fd, ctlSize); err == nil {
			*area, err = mapShared(fd, ctlSize)
		}
		if err != nil {
			p.Close()
			return nil, err
		}
	}
	if p.p.pidfd, err = dup(int(files[2].Fd())); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Memory is the device's, abi.NetPages pages. The domain writes to it at any time: copy, check, use.
func (p *Port) Memory() []byte { return p.p.net() }

// Notify raises the domain's end of the channel.
func (p *Port) Notify() error { return p.p.ringer().Ring(portNet) }

// Rings is how often the domain has rung; it runs freely.
func (p *Port) Rings() uint32 { return atomic.LoadUint32(&p.p.state().NetBell) }

// Wait waits until Rings is not what it was, or some time has passed.
func (p *Port) Wait(rings uint32, most time.Duration) { bell.Wait(&p.p.state().NetBell, rings, most) }

// Close lets go of it.
func (p *Port) Close() {
	for _, area := range [][]byte{p.p.control, p.p.area} {
		if area != nil {
			unix.Munmap(area)
		}
	}
	closeAll(p.p.pidfd)
}
