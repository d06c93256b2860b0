package netswitch

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// DHCP (RFC 2131): a port's address is known, so there is nothing to lease: the server says it, to the port that
// asked, and keeps no state.
const (
	dhcpFixed  = 236 // bytes of a message before its options
	dhcpMin    = 300 // bytes of a message (RFC 1542)
	dhcpCookie = 0x63825363
	dhcpLease  = 24 * 60 * 60 // seconds

	dhcpDiscover = 1
	dhcpOffer    = 2
	dhcpRequest  = 3
	dhcpAck      = 5
	dhcpNak      = 6
	dhcpInform   = 8

	optMask      = 1
	optRouter    = 3
	optDNS       = 6
	optMTU       = 26
	optRequested = 50
	optLease     = 51
	optType      = 53
	optServer    = 54
	optPad       = 0
	optEnd       = 255
)

// dhcpReply is the frame that answers a frame for the DHCP server from a port with that MAC and address; nil: none
// does.
func dhcpReply(frame []byte, gatewayMAC MAC, gateway netip.Prefix, mac MAC, ip netip.Addr) []byte {
	packet := frame[etherHeader:]
	msg := packet[int(packet[0]&15)*4+udpHeader:]
	if len(msg) < dhcpFixed+4 || msg[0] != 1 || binary.BigEndian.Uint32(msg[dhcpFixed:]) != dhcpCookie || !bytes.Equal(msg[28:34], mac[:]) {
		return nil
	}
	ask := parseOptions(msg[dhcpFixed+4:])
	us := gateway.Addr().As4()
	if ask.server != nil && [4]byte(ask.server) != us {
		return nil // another server's offer was taken
	}
	wanted := ask.requested
	if wanted == nil && [4]byte(msg[12:16]) != [4]byte{} {
		wanted = msg[12:16] // it has an address, and renews it
	}
	kind := byte(dhcpAck)
	switch ask.kind {
	case dhcpDiscover:
		kind = dhcpOffer
	case dhcpRequest:
		if wanted == nil || [4]byte(wanted) != ip.As4() {
			kind = dhcpNak
		}
	case dhcpInform:
	default:
		return nil
	}
	reply := make([]byte, dhcpFixed, dhcpMin)
	copy(reply, msg[:8])
	reply[0] = 2
	reply[3] = 0
	copy(reply[10:12], msg[10:12]) // flags
	if kind != dhcpNak && ask.kind != dhcpInform {
		your := ip.As4()
		copy(reply[16:], your[:])
	}
	copy(reply[20:], us[:])
	copy(reply[28:], mac[:])
	reply = binary.BigEndian.AppendUint32(reply, dhcpCookie)
	reply = append(reply, optType, 1, kind, optServer, 4, us[0], us[1], us[2], us[3])
	if kind != dhcpNak {
		reply = append(append(reply, optMask, 4), netMask(gateway)...)
		reply = append(reply, optRouter, 4, us[0], us[1], us[2], us[3])
		reply = append(reply, optDNS, 4, us[0], us[1], us[2], us[3])
		reply = binary.BigEndian.AppendUint16(append(reply, optMTU, 2), mtu)
		if ask.kind != dhcpInform {
			reply = binary.BigEndian.AppendUint32(append(reply, optLease, 4), dhcpLease)
		}
	}
	reply = append(reply, optEnd)
	reply = append(reply, make([]byte, max(0, dhcpMin-len(reply)))...)
	return datagram(gatewayMAC, mac, gateway.Addr(), netip.AddrFrom4([4]byte{255, 255, 255, 255}), reply)
}

// dhcpAsk is what counts of a client's options.
type dhcpAsk struct {
	kind              byte
	requested, server []byte // 4 bytes, or nil
}

func parseOptions(p []byte) (ask dhcpAsk) {
	for len(p) > 0 && p[0] != optEnd {
		if p[0] == optPad {
			p = p[1:]
			continue
		}
		if len(p) < 2 || len(p) < 2+int(p[1]) {
			break
		}
		value := p[2:][:p[1]]
		switch {
		case p[0] == optType && len(value) == 1:
			ask.kind = value[0]
		case p[0] == optRequested && len(value) == 4:
			ask.requested = value
		case p[0] == optServer && len(value) == 4:
			ask.server = value
		}
		p = p[2+len(value):]
	}
	return ask
}

// datagram is a frame from the DHCP server to a client: the client has no address yet, so it goes to all at its
// port.
func datagram(from, to MAC, fromIP, toIP netip.Addr, data []byte) []byte {
	frame := make([]byte, etherHeader+ipHeader+udpHeader+len(data))
	copy(frame, to[:])
	copy(frame[6:], from[:])
	binary.BigEndian.PutUint16(frame[12:], typeIPv4)
	ip := header.IPv4(frame[etherHeader:])
	src, dst := address(fromIP), address(toIP)
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(ip)), TTL: 64, Protocol: protoUDP, SrcAddr: src, DstAddr: dst})
	ip.SetChecksum(^ip.CalculateChecksum())
	udp := header.UDP(ip[ipHeader:])
	udp.Encode(&header.UDPFields{SrcPort: portDHCPServer, DstPort: portDHCPClient, Length: uint16(len(udp))})
	copy(udp[udpHeader:], data)
	sum := header.PseudoHeaderChecksum(protoUDP, src, dst, uint16(len(udp)))
	udp.SetChecksum(^udp.CalculateChecksum(checksum.Checksum(data, sum)))
	return frame
}
