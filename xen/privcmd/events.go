package privcmd

import (
	"encoding/binary"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// Requests of /dev/xen/evtchn. Source: include/uapi/xen/evtchn.h of Linux.
const (
	ioctlBindVIRQ        = 4<<16 | 'E'<<8 | 0
	ioctlBindInterdomain = 8<<16 | 'E'<<8 | 1
	ioctlUnbind          = 4<<16 | 'E'<<8 | 3
	ioctlNotify          = 4<<16 | 'E'<<8 | 4
)

// virqDomExc is raised when any domain shuts down or dies; only one in the system can bind it, and
// xenstored does where it runs.
const virqDomExc = 3

// events is the host's end of all event channels: one descriptor, one reader.
type events struct {
	*devices
	fd   int
	file *os.File // of fd, on the netpoller
	done chan struct{}

	mu     sync.Mutex
	ports  map[uint32]func()
	closed bool
}

const evtchnPath = "/dev/xen/evtchn"

func newEvents(d *devices) (*events, error) {
	fd, err := openDevice(evtchnPath, "xen-evtchn", unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	e := &events{devices: d, fd: fd, file: os.NewFile(uintptr(fd), evtchnPath), done: make(chan struct{}), ports: map[uint32]func(){}}
	go e.read()
	return e, nil
}

// read hands out events until the descriptor is closed. A port is masked when it is read; writing
// it back unmasks it.
func (e *events) read() {
	defer close(e.done)
	b := make([]byte, 4*256)
	for {
		n, err := e.file.Read(b)
		if err != nil {
			return
		}
		n &^= 3
		e.mu.Lock()
		for i := 0; i < n; i += 4 {
			if f := e.ports[binary.LittleEndian.Uint32(b[i:])]; f != nil {
				f()
			}
		}
		e.mu.Unlock()
		if _, err := e.file.Write(b[:n]); err != nil {
			// A port that was unbound in between stops the rest: unmask one by one.
			for i := 0; i < n; i += 4 {
				e.file.Write(b[i : i+4])
			}
		}
	}
}

func (e *events) ioctl(name string, request uintptr, arg unsafe.Pointer) (uint32, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ioctlLocked(name, request, arg)
}

func (e *events) ioctlLocked(name string, request uintptr, arg unsafe.Pointer) (uint32, error) {
	if e.closed {
		return 0, os.ErrClosed
	}
	r, err := e.devices.ioctl("evtchn "+name, e.fd, request, arg)
	return uint32(r), err
}

// bind connects to a port that a domain has open to the host; f is called for each event, by the
// reader, and must not block or call back.
func (e *events) bind(id xen.DomID, remote uint32, f func()) (uint32, error) {
	arg := [2]uint32{uint32(id), remote}
	e.mu.Lock()
	defer e.mu.Unlock()
	port, err := e.ioctlLocked("bind_interdomain", ioctlBindInterdomain, unsafe.Pointer(&arg))
	if err == nil {
		e.ports[port] = f
	}
	return port, err
}

// bindVIRQ is bind for a virtual interrupt.
func (e *events) bindVIRQ(virq uint32, f func()) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	port, err := e.ioctlLocked("bind_virq", ioctlBindVIRQ, unsafe.Pointer(&virq))
	if err == nil {
		e.ports[port] = f
	}
	return err
}

func (e *events) unbind(port uint32) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ports, port)
	return again(func() error {
		_, err := e.ioctlLocked("unbind", ioctlUnbind, unsafe.Pointer(&port))
		return err
	})
}

func (e *events) notify(port uint32) error {
	_, err := e.ioctl("notify", ioctlNotify, unsafe.Pointer(&port))
	return err
}

// close ends all bindings.
func (e *events) close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	err := e.file.Close()
	<-e.done
	return err
}
