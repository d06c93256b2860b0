package engine

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/xen"
)

// A pVM with --net bridge=NAME is a station of a Linux bridge of dom0's: its device's other end is a port of that. It has the address that --ip says, or asks
// DHCP for one itself, as its children do.

const netBridge = "bridge="

// classNet has a folder for each network interface of the host.
const classNet = "/sys/class/net"

// bridge is the bridge that a request names; "": none.
func (r *RunRequest) bridge() string {
	if name, ok := strings.CutPrefix(r.Net, netBridge); ok {
		return name
	}
	return ""
}

// checkBridge looks at what a request says of a bridge, and whether there is one.
func (e *Engine) checkBridge(r *RunRequest) error {
	bridge := r.bridge()
	if bridge == "" {
		if r.IP != "" {
			return errf(CodeUsage, "--ip %s: with --net bridge=NAME alone: elsewhere addresses are given", r.IP)
		}
		if r.DNS != "" {
			return errf(CodeUsage, "--dns %s: with --net bridge=NAME alone: elsewhere the gateway answers", r.DNS)
		}
		return nil
	}
	if len(r.Publish) > 0 {
		return errf(CodeUsage, "--publish %s: with --net user alone: what is at %s reaches the pVM by its address", r.Publish[0], bridge)
	}
	if r.IP != "" {
		if _, _, err := parseStatic(r.IP); err != nil {
			return err
		}
	}
	if r.DNS != "" {
		if a, err := netip.ParseAddr(r.DNS); err != nil || !unicast(a) {
			return errf(CodeUsage, "--dns %s: must be an IPv4 address, as 192.168.1.1", r.DNS)
		}
	}
	if e.hvName == "hosted" {
		return errf(CodeInvalid, "--net %s: not on the hosted hypervisor, whose pVMs have no network interface of the host: take --net user, with --publish, or run it on Xen", r.Net)
	}
	fi, err := os.Stat(filepath.Join(classNet, bridge, "bridge"))
	if err == nil && fi.IsDir() {
		return nil
	}
	if _, err := os.Stat(filepath.Join(classNet, bridge)); err == nil {
		return errf(CodeInvalid, "--net %s: %s is no bridge: name one, as ip link show type bridge lists them", r.Net, bridge)
	}
	return errf(CodeInvalid, "--net %s: no such bridge: make it (ip link add %s type bridge), or name another", r.Net, bridge)
}

// validInterface tells whether a name can be one of a network interface.
func validInterface(name string) bool {
	return name != "" && len(name) < unix.IFNAMSIZ && name != "." && name != ".." && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == ""
}

// parseStatic reads ADDR/LEN[,GATEWAY].
func parseStatic(s string) (address netip.Prefix, gateway netip.Addr, err error) {
	bad := errf(CodeUsage, "--ip %s: must be ADDR/LEN[,GATEWAY], addresses of one IPv4 network, as 192.168.1.7/24,192.168.1.1", s)
	first, second, routed := strings.Cut(s, ",")
	if address, err = netip.ParsePrefix(first); err != nil || !address.Addr().Is4() || address.Bits() < 1 || address.Bits() > 30 || !station(address, address.Addr()) {
		return address, gateway, bad
	}
	if routed {
		if gateway, err = netip.ParseAddr(second); err != nil || !address.Contains(gateway) || gateway == address.Addr() || !station(address, gateway) {
			return address, gateway, bad
		}
	}
	return address, gateway, nil
}

// station tells whether an address can be that of a station of a network: neither the network's own, nor that of all.
func station(network netip.Prefix, a netip.Addr) bool {
	return unicast(a) && a != network.Masked().Addr() && network.Contains(a.Next())
}

func unicast(a netip.Addr) bool {
	return a.Is4() && a.As4()[0] != 0 && a.As4()[0] < 224 && !a.IsLoopback()
}

// atBridge gives a pVM whose domain has not run yet a device, and makes that a port of a bridge. A failure leaves nothing but what goes with the domain.
func (e *Engine) atBridge(p *pvm, r *RunRequest, bridge string) error {
	n := &xen.NIC{MAC: [6]byte{0x02}} // of nobody's making, so that it must only be another than those on the same wire
	if _, err := rand.Read(n.MAC[1:]); err != nil {
		return err
	}
	if r.IP != "" {
		n.Prefix, n.Gateway, _ = parseStatic(r.IP)
		e.mu.Lock()
		p.rec.IP = n.Prefix.Addr().String()
		e.mu.Unlock()
	}
	if r.DNS != "" {
		n.DNS, _ = netip.ParseAddr(r.DNS)
	}
	if err := p.dom.Plug(n); err != nil {
		return err
	}
	w, err := p.dom.Wire()
	if err != nil {
		return err
	}
	defer w.Close()
	if w.Interface == "" {
		return errf(CodeInvalid, "--net %s: the pVM's device is no network interface of the host", r.Net)
	}
	if err := addToBridge(bridge, w.Interface); err != nil {
		return errf(CodeInvalid, "--net %s: %s: %v", r.Net, w.Interface, err)
	}
	awaitCarrier(w.Interface)
	e.noteInterface(p, w)
	return nil
}

// addToBridge sets an interface up, and makes it a port of a bridge.
func addToBridge(bridge, name string) error {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ask := func(name string, request uintptr, value uint32) error {
		r, err := unix.NewIfreq(name)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if request == unix.SIOCSIFFLAGS {
			r.SetUint16(uint16(value))
		} else {
			r.SetUint32(value)
		}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(r)))
		switch errno {
		case 0:
			return nil
		case unix.EPERM:
			return errors.New("no permission to change the bridge: the engine needs CAP_NET_ADMIN")
		case unix.ENODEV:
			return errors.New("the bridge has gone")
		case unix.EOPNOTSUPP:
			return errors.New("is no bridge")
		}
		return errno
	}
	if err := ask(bridge, unix.SIOCBRADDIF, uint32(iface.Index)); err != nil {
		return err
	}
	return ask(name, unix.SIOCSIFFLAGS, unix.IFF_UP)
}

// carrierWait is how long the back end may take to take up the domain's rings; what a pVM sends before may be lost.
const carrierWait = 2 * time.Second

func awaitCarrier(name string) {
	for end := time.Now().Add(carrierWait); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if text, err := os.ReadFile(filepath.Join(classNet, name, "carrier")); err == nil && strings.TrimSpace(string(text)) == "1" {
			return
		}
	}
}

// leased is the address that a pVM says it has from DHCP; "": none yet.
func (p *pvm) leased() (ip string) {
	p.shared(func() error {
		if a := ipc.Leased(p.dom.Control()); unicast(a) {
			ip = a.String()
		}
		return nil
	})
	return ip
}

// interfaceTraffic is what has passed the interfaces at which devices of pVMs end, by PID: what such a one receives its pVM has sent.
func interfaceTraffic() map[int]*Traffic {
	known := map[int]*Traffic{}
	f, err := os.Open("/proc/net/dev")
	if err != nil {
		return known
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if pid, t := parseTraffic(lines.Text()); t != nil {
			known[pid] = t
		}
	}
	return known
}

// parseTraffic reads a line of /proc/net/dev: of vifN.0, bytes, packets, errors and drops received, four others, and the same sent.
func parseTraffic(line string) (pid int, t *Traffic) {
	name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
	number, ok := strings.CutPrefix(name, "vif")
	if !ok {
		return 0, nil
	}
	if number, ok = strings.CutSuffix(number, ".0"); !ok {
		return 0, nil
	}
	pid, err := strconv.Atoi(number)
	fields := strings.Fields(rest)
	if err != nil || len(fields) < 12 {
		return 0, nil
	}
	t = new(Traffic)
	for at, to := range map[int]*uint64{0: &t.SentBytes, 1: &t.SentPackets, 8: &t.ReceivedBytes, 9: &t.ReceivedPackets, 11: &t.Dropped} {
		if *to, err = strconv.ParseUint(fields[at], 10, 64); err != nil {
			return 0, nil
		}
	}
	return pid, t
}
