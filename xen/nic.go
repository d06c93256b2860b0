package xen

import (
	"net/netip"
	"os"
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
)

// NIC is what a domain is told of its network device.
type NIC struct {
	MAC     [6]byte
	Prefix  netip.Prefix // its address and network, IPv4; zero: it has none
	Gateway netip.Addr
	DNS     netip.Addr
}

// Begin begins the rings, the first two pages of a device's memory, which is zero. Source: SHARED_RING_INIT of public/io/ring.h.
func (n *NIC) Begin(rings []byte) {
	for _, at := range []int{0, abi.PageSize} {
		*(*abi.NetifRing)(unsafe.Pointer(&rings[at])) = abi.NetifRing{ReqEvent: 1, RspEvent: 1}
	}
}

// Describe writes it to a control area, with the domain's port of the device's channel, and the grant reference of the
// first page of its memory.
func (n *NIC) Describe(ctl []byte, port, ref uint32) {
	c := (*abi.KxControl)(unsafe.Pointer(&ctl[abi.ControlVa-abi.CtlVa]))
	k := abi.KxNic{Port: port, Ref: ref, Gateway: word(n.Gateway), Dns: word(n.DNS)}
	copy(k.Mac[:], n.MAC[:])
	if n.Prefix.IsValid() {
		k.Ip, k.Mask = word(n.Prefix.Addr()), word(mask(n.Prefix))
	}
	c.Nic = k
	atomic.StoreUint32(&c.Nic.Pages, abi.NetPages)
}

// word is an IPv4 address as 4 bytes lie in memory; 0: there is none.
func word(a netip.Addr) (w uint32) {
	if a.Is4() {
		b := a.As4()
		copy((*[4]byte)(unsafe.Pointer(&w))[:], b[:])
	}
	return w
}

func mask(p netip.Prefix) netip.Addr {
	all := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	of, _ := all.Prefix(p.Bits())
	return of.Addr()
}

// Wire is the host's end of a network device.
type Wire struct {
	Interface string      // a network interface of the host's, which is down at first; or
	Memory    *WireMemory // the rings themselves
}

// WireMemory is where a device's rings are, and how to tell of them: what package bell needs. The files are memory that cannot become smaller, but for Process;
// all else is bytes from their beginnings.
type WireMemory struct {
	Control, State, Process *os.File // Process is a pidfd
	Rings, Bell, Shared     int64    // in Control: abi.NetPages pages, the word that the domain moves, Xen's shared_info
	Seq, Sleeping           int64    // in State
	Port                    uint     // the domain's, of the device's channel
}

// Close closes its files.
func (w *Wire) Close() {
	if w.Memory != nil {
		for _, f := range []*os.File{w.Memory.Control, w.Memory.State, w.Memory.Process} {
			if f != nil {
				f.Close()
			}
		}
	}
}
