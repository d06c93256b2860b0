package engine

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"kxsh/engine/netswitch"
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
	if _, err := net.InterfaceByName(bridge); err != nil {
		return fail(errors.New("there is no such interface"), fmt.Sprintf(": make it: ip link add %s type bridge", bridge))
	}
	err = netswitch.InterfaceRequest(bridge, unix.SIOCBRADDIF, func(r *unix.Ifreq) { r.SetUint32(uint32(iface.Index)) })
	switch {
	case errors.Is(err, unix.EPERM):
		return fail(err, ": run the engine as root")
	case errors.Is(err, unix.EOPNOTSUPP):
		return fail(errors.New("it is no bridge"), "")
	case err != nil:
		return fail(err, "")
	}
	if err := netswitch.InterfaceRequest(w.Interface, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP) }); err != nil {
		return fail(err, "")
	}
	return nil
}
