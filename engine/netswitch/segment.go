package netswitch

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"

	"kxsh/ipc/netif"
)

// TCP, as far as a line (line.go) needs it.
const (
	tcpHeader = 20
	headers   = etherHeader + ipHeader + tcpHeader // of a frame without options

	flagFIN = 1 << 0
	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagPSH = 1 << 3
	flagACK = 1 << 4

	optionEnd   = 0
	optionNone  = 1
	optionMSS   = 2
	optionScale = 3

	maxScale = 14 // RFC 7323
	noScale  = -1
)

// segment is a TCP segment of a pVM.
type segment struct {
	from, to uint16 // ports
	seq, ack uint32
	flags    byte
	window   uint16 // as it is in the header
	mss      int    // of a SYN; 0: not said
	scale    int    // of a SYN; noScale: not said
	data     []byte // in the frame
}

// parseSegment reads the TCP segment of a frame, which has a whole IP header if it is one of IPv4 (classify). It returns false for what is none, is a part of
// one, or is damaged.
func parseSegment(frame []byte) (s segment, ok bool) {
	if binary.BigEndian.Uint16(frame[12:]) != typeIPv4 {
		return s, false
	}
	ip := frame[etherHeader:]
	head, size := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	const parts = 0x3fff // more fragments, or not the first
	if ip[9] != protoTCP || head < ipHeader || size < head+tcpHeader || size > len(ip) || binary.BigEndian.Uint16(ip[6:])&parts != 0 {
		return s, false
	}
	body := ip[head:size]
	offset := int(body[12]>>4) * 4
	if offset < tcpHeader || offset > len(body) || checksum.Checksum(ip[:head], 0) != 0xffff || checksum.Checksum(body, pseudo(ip, len(body))) != 0xffff {
		return s, false
	}
	s = segment{
		from: binary.BigEndian.Uint16(body), to: binary.BigEndian.Uint16(body[2:]),
		seq: binary.BigEndian.Uint32(body[4:]), ack: binary.BigEndian.Uint32(body[8:]),
		flags: body[13], window: binary.BigEndian.Uint16(body[14:]), scale: noScale, data: body[offset:],
	}
	if s.flags&flagSYN != 0 {
		s.options(body[tcpHeader:offset])
	}
	return s, true
}

// options reads those of a SYN; what is cut off is not there.
func (s *segment) options(p []byte) {
	for len(p) > 0 && p[0] != optionEnd {
		if p[0] == optionNone {
			p = p[1:]
			continue
		}
		if len(p) < 2 || p[1] < 2 || int(p[1]) > len(p) {
			return
		}
		switch n := p[1]; {
		case p[0] == optionMSS && n == 4:
			s.mss = int(binary.BigEndian.Uint16(p[2:]))
		case p[0] == optionScale && n == 3:
			s.scale = min(int(p[2]), maxScale)
		}
		p = p[p[1]:]
	}
}

// pseudo is the sum over what TCP's checksum takes from the IP header.
func pseudo(ip []byte, size int) uint16 {
	return checksum.Checksum(ip[12:20], protoTCP+uint16(size))
}

// ends are the two stations between which a line's segments go.
type ends struct {
	fromMAC, toMAC MAC
	from, to       netip.Addr
}

// frame writes s as a frame of at most MaxFrame bytes, with the options of its SYN if it is one.
func (e *ends) frame(f *[netif.MaxFrame]byte, s *segment) []byte {
	n := headers
	if s.flags&flagSYN != 0 {
		n += copy(f[n:], []byte{optionMSS, 4, byte(s.mss >> 8), byte(s.mss), optionNone, optionScale, 3, byte(s.scale)})
	}
	offset := n - etherHeader - ipHeader
	n += copy(f[n:], s.data)
	copy(f[:], e.toMAC[:])
	copy(f[6:], e.fromMAC[:])
	binary.BigEndian.PutUint16(f[12:], typeIPv4)

	from, to := e.from.As4(), e.to.As4()
	ip := f[etherHeader:n]
	binary.BigEndian.PutUint32(ip, 0x4500_0000|uint32(len(ip)))
	binary.BigEndian.PutUint32(ip[4:], 0x4000) // not to be cut, and so without a number
	binary.BigEndian.PutUint32(ip[8:], 64<<24|protoTCP<<16)
	copy(ip[12:], from[:])
	copy(ip[16:], to[:])
	binary.BigEndian.PutUint16(ip[10:], ^checksum.Checksum(ip[:ipHeader], 0))

	tcp := ip[ipHeader:]
	binary.BigEndian.PutUint16(tcp, s.from)
	binary.BigEndian.PutUint16(tcp[2:], s.to)
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12], tcp[13] = byte(offset/4)<<4, s.flags
	binary.BigEndian.PutUint16(tcp[14:], s.window)
	binary.BigEndian.PutUint32(tcp[16:], 0)
	binary.BigEndian.PutUint16(tcp[16:], ^checksum.Checksum(tcp, pseudo(ip, len(tcp))))
	return f[:n]
}
