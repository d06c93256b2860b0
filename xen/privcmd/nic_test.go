//go:build xen

package privcmd

import (
	"net"
	"os"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
	"kxsh/xen/xentest"
)

// packets are the frames of a network interface.
type packets struct {
	fd   int
	addr unix.SockaddrLinklayer
}

// frames is how to get at them, where there is xenstored, without which there is no network device.
func frames() func(testing.TB, *xen.Wire) (xentest.Frames, error) {
	if _, err := os.Stat("/run/xenstored/socket"); err != nil {
		return nil
	}
	return openInterface
}

// openInterface sets the host's end of a network device up.
func openInterface(t testing.TB, w *xen.Wire) (xentest.Frames, error) {
	iface, err := net.InterfaceByName(w.Interface)
	if err != nil {
		return nil, err
	}
	if err := setUp(w.Interface); err != nil {
		return nil, err
	}
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { unix.Close(fd) })
	p := &packets{fd, unix.SockaddrLinklayer{Protocol: all, Ifindex: iface.Index}}
	if err := unix.Bind(fd, &p.addr); err != nil {
		return nil, err
	}
	for begin := time.Now(); ; time.Sleep(time.Millisecond) { // the back end looks for the guest's rings
		if iface, err = net.InterfaceByName(w.Interface); err != nil || iface.Flags&net.FlagRunning != 0 {
			return p, err
		}
		if time.Since(begin) > patience {
			t.Fatalf("%s: not running: %v", w.Interface, iface.Flags)
		}
	}
}

func setUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCSIFFLAGS, uintptr(unsafe.Pointer(r)))
	if errno != 0 {
		return errno
	}
	return nil
}

func (p *packets) Send(frame []byte) error {
	for {
		if err := unix.Sendto(p.fd, frame, 0, &p.addr); err != unix.EINTR {
			return err
		}
	}
}

func (p *packets) Receive(until time.Time) ([]byte, error) {
	frame := make([]byte, 2048)
	for {
		tv := unix.NsecToTimeval(max(time.Until(until), time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			return nil, err
		}
		n, err := unix.Read(p.fd, frame)
		if err != unix.EINTR { // the runtime's signals
			return frame[:max(n, 0)], err
		}
	}
}
