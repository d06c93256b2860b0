package netswitch

import (
	"encoding/binary"
	"net/netip"
)

// Ethernet and IPv4, as far as the switch looks into frames.
const (
	etherHeader = 14
	typeIPv4    = 0x0800
	typeARP     = 0x0806

	arpSize    = 28 // for Ethernet and IPv4
	arpRequest = 1
	arpReply   = 2

	ipHeader  = 20
	udpHeader = 8
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17

	portDHCPServer = 67
	portDHCPClient = 68
)

// destination is what becomes of a frame.
type destination int

const (
	toNobody  destination = iota // allowed, and of no use here
	toRefuse                     // its sender must not send it
	toStation                    // to the MAC in its header
	toIP                         // to whoever has an IP address
	toDHCP
)

type place struct {
	to destination
	ip netip.Addr // toIP
}

// classify says where a frame from the station with that MAC and IP address may go.
func classify(frame []byte, mac MAC, ip netip.Addr) place {
	if len(frame) < etherHeader || MAC(frame[6:12]) != mac {
		return place{to: toRefuse}
	}
	body := frame[etherHeader:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case typeARP:
		return classifyARP(body, frame[0]&1 != 0, mac, ip)
	case typeIPv4:
		return place{to: classifyIPv4(body, frame[0]&1 != 0, ip)}
	}
	// IPv6, which every system tries, and what else there may be.
	return place{to: toNobody}
}

func classifyARP(p []byte, group bool, mac MAC, ip netip.Addr) place {
	if len(p) < arpSize || binary.BigEndian.Uint64(p)>>16 != 0x0001_0800_0604 || MAC(p[8:14]) != mac {
		return place{to: toRefuse}
	}
	sender, target := netip.AddrFrom4([4]byte(p[14:18])), netip.AddrFrom4([4]byte(p[24:28]))
	op := binary.BigEndian.Uint16(p[6:])
	switch {
	case sender != ip && !(op == arpRequest && sender.IsUnspecified()): // which looks whether an address is free
		return place{to: toRefuse}
	case op == arpRequest:
		return place{to: toIP, ip: target}
	case op == arpReply && !group:
		return place{to: toStation}
	case op == arpReply:
		return place{to: toNobody}
	}
	return place{to: toRefuse}
}

func classifyIPv4(p []byte, group bool, ip netip.Addr) destination {
	if len(p) < ipHeader || p[0]>>4 != 4 {
		return toRefuse
	}
	source := netip.AddrFrom4([4]byte(p[12:16]))
	from, to := udpPorts(p)
	switch {
	case from == portDHCPClient && to == portDHCPServer && (source == ip || source.IsUnspecified()):
		return toDHCP
	case source != ip, from == portDHCPServer: // a pVM hands out no addresses
		return toRefuse
	case group:
		return toNobody
	}
	return toStation
}

// udpPorts are those of a whole datagram or a first fragment, else 0.
func udpPorts(p []byte) (from, to uint16) {
	head := int(p[0]&15) * 4
	if p[9] != protoUDP || binary.BigEndian.Uint16(p[6:])&0x1fff != 0 || head < ipHeader || len(p) < head+udpHeader {
		return 0, 0
	}
	return binary.BigEndian.Uint16(p[head:]), binary.BigEndian.Uint16(p[head+2:])
}
