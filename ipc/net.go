package ipc

import (
	"net/netip"
	"sync/atomic"
	"unsafe"
)

// Leased is the address that a pVM says its network device has from DHCP; 0.0.0.0: none. It may say anything.
func Leased(ctl []byte) netip.Addr {
	word := atomic.LoadUint32(&control(ctl).Nic.Leased) // in network byte order, as it lies in memory
	return netip.AddrFrom4(*(*[4]byte)(unsafe.Pointer(&word)))
}
