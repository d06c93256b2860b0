package hosted

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
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
	const nic = abi.ControlVa - abi.CtlVa + int64(unsafe.Offsetof(abi.KxControl{}.Nic))
	m := &xen.WireMemory{
		Rings: netOff, Bell: nic + int64(unsafe.Offsetof(abi.KxNic{}.Bell)), Shared: abi.SharedVa - abi.CtlVa,
		Seq: stateOff + int64(unsafe.Offsetof(stubState{}.Seq)), Sleeping: stateOff + int64(unsafe.Offsetof(stubState{}.Sleeping)), Port: portNet,
	}
	w := &xen.Wire{Memory: m}
	for _, part := range []struct {
		file **os.File
		open func() (int, error)
	}{
		{&m.Control, func() (int, error) { return dup(p.ctl) }},
		{&m.State, func() (int, error) { return reopen(fmt.Sprintf("/proc/%d", p.pid), fdCtl, unix.O_RDWR) }}, // another one, if the domain has moved
		{&m.Process, func() (int, error) { return dup(p.pidfd) }},
	} {
		fd, err := part.open()
		if err != nil {
			w.Close()
			return nil, err
		}
		*part.file = os.NewFile(uintptr(fd), ctlName)
	}
	return w, nil
}

func (p *process) net() []byte { return p.control[netOff:ctlSize:ctlSize] }
