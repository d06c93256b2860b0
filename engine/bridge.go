package engine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// joinBridge makes the host's end of a network device a port of a bridge of the host, and sets it up.
func joinBridge(dom xen.Domain, bridge string) error {
	fail := func(err error, mend string) error {
		return errf(CodeInvalid, "--net bridge=%s: %v%s", bridge, err, mend)
	}
	w, err := dom.Wire()
	if err != nil {
		return fail(err, "")
	}
	defer w.Close()
	if w.Interface == "" {
		return fail(errors.New("this hypervisor's network devices are no interfaces of the host"), ": use --net user")
	}
	iface, err := net.InterfaceByName(w.Interface)
	if err != nil {
		return fail(err, "")
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err, "")
	}
	defer unix.Close(fd)
	if _, err := net.InterfaceByName(bridge); err != nil {
		return fail(errors.New("there is no such interface"), fmt.Sprintf(": make it: ip link add %s type bridge", bridge))
	}
	err = interfaceRequest(fd, bridge, unix.SIOCBRADDIF, func(r *unix.Ifreq) { r.SetUint32(uint32(iface.Index)) })
	switch {
	case errors.Is(err, unix.EPERM):
		return fail(err, ": run the engine as root")
	case errors.Is(err, unix.EOPNOTSUPP):
		return fail(errors.New("it is no bridge"), "")
	case err != nil:
		return fail(err, "")
	}
	if err := interfaceUp(fd, w.Interface); err != nil {
		return fail(err, "")
	}
	return nil
}

func interfaceUp(fd int, name string) error {
	return interfaceRequest(fd, name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP) })
}

// interfaceRequest makes a request of netdevice(7).
func interfaceRequest(fd int, name string, request uintptr, set func(*unix.Ifreq)) error {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	set(r)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(r))); errno != 0 {
		return os.NewSyscallError("ioctl "+name, errno)
	}
	return nil
}
