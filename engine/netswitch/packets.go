package netswitch

import (
	"fmt"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/netif"
)

// packets are the frames of a pVM whose device ends at a network interface of the host.
type packets struct {
	fd    int // a packet socket: packet(7)
	wake  int // eventfd
	index int // of the interface
}

// openPackets sets an interface up, and takes what comes from there. That needs CAP_NET_ADMIN and CAP_NET_RAW.
func openPackets(name string) (p *packets, err error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := interfaceRequest(name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP) }); err != nil {
		return nil, err
	}
	p = &packets{fd: -1, wake: -1, index: iface.Index}
	defer func() {
		if err != nil {
			p.close()
			p, err = nil, fmt.Errorf("%s: %w", name, err)
		}
	}()
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network byte order
	if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return p, err
	}
	if err = unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return p, err
	}
	if err = unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}); err != nil {
		return p, err
	}
	p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return p, err
}

// interfaceRequest makes a request of netdevice(7).
func interfaceRequest(name string, request uintptr, set func(*unix.Ifreq)) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	set(r)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(r))); errno != 0 {
		return fmt.Errorf("%s: %w", name, errno)
	}
	return nil
}

// runLink takes what the pVM sends, until the port ends or its interface goes.
func (p *port) runLink(manners *manners) {
	frame := make([]byte, netif.MaxFrame+1) // what is longer is cut here, and refused
	for taken := 0; !p.stop.Load(); {
		if taken == 0 {
			manners.look(clock())
		}
		n, err := recvNow(p.link.fd, frame)
		if taken++; taken == batch || err == unix.EAGAIN {
			p.drain()
			limit := p.settle(manners)
			if err == unix.EAGAIN {
				p.link.wait(limit, p.holds())
			}
			taken = 0
		}
		switch {
		case err == unix.EAGAIN:
		case err == unix.EINTR:
		case err != nil && !p.link.isThere():
			p.end(fmt.Errorf("%s: %w", p.Interface, err))
			return
		case err != nil: // it is down, or was
			time.Sleep(napClose)
		case n < netif.MinFrame || n > netif.MaxFrame:
			p.refused.Add(1)
		default:
			p.sent[0].Add(1)
			p.sent[1].Add(uint64(n))
			p.sw.forward(p, frame[:n])
		}
	}
}

// wait sleeps until there is a frame, or room if that is wanted, or interrupt was called, at most for limit; for ever if that is 0.
func (l *packets) wait(limit time.Duration, room bool) {
	events, ms := int16(unix.POLLIN), -1
	if room {
		events |= unix.POLLOUT
	}
	if limit != 0 {
		ms = int((limit + time.Millisecond - 1) / time.Millisecond)
	}
	fds := []unix.PollFd{{Fd: int32(l.fd), Events: events}, {Fd: int32(l.wake), Events: unix.POLLIN}}
	if unix.Poll(fds, ms); fds[1].Revents != 0 {
		unix.Read(l.wake, make([]byte, 8))
	}
}

// holds tells whether lines wait for the pVM's room.
func (p *port) holds() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.held) > 0
}

func (l *packets) interrupt() { unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (l *packets) isThere() bool {
	_, err := net.InterfaceByIndex(l.index)
	return err == nil
}

// put sends a frame to the pVM; false: it has no room.
func (l *packets) put(frame []byte) bool {
	_, err := sendNow(l.fd, frame)
	return err == nil
}

func (l *packets) close() {
	for _, fd := range []int{l.fd, l.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
