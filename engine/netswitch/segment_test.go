package netswitch

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"kxsh/ipc/netif"
)

var testEnds = ends{fromMAC: MAC{2, 0, 0, 0, 0, 1}, toMAC: MAC{2, 0, 0, 0, 0, 2}, from: netip.MustParseAddr("10.88.0.1"), to: netip.MustParseAddr("10.88.0.7")}

// TestSegment holds that a segment is read as it was written, also by another stack, and that one that is damaged is not read.
func TestSegment(t *testing.T) {
	for _, s := range []segment{
		{from: 40000, to: 80, seq: 1<<32 - 1, flags: flagSYN, window: 65535, mss: 1460, scale: 2},
		{from: 1, to: 65535, seq: 77, ack: 1 << 31, flags: flagACK, window: 5, scale: noScale},
		{from: 1, to: 2, seq: 3, ack: 4, flags: flagACK | flagPSH | flagFIN, scale: noScale, data: []byte("odd")},
		{from: 1, to: 2, seq: 3, ack: 4, flags: flagACK, scale: noScale, data: bytes.Repeat([]byte{255, 0, 7}, lineMSS/3+1)[:lineMSS]},
	} {
		var f [netif.MaxFrame]byte
		frame := testEnds.frame(&f, &s)
		got, ok := parseSegment(frame)
		if !ok || !bytes.Equal(got.data, s.data) {
			t.Fatalf("%+v was read as %v, %+v", s, ok, got)
		}
		got.data, s.data = nil, nil
		if got.from != s.from || got.to != s.to || got.seq != s.seq || got.ack != s.ack || got.flags != s.flags || got.window != s.window || got.mss != s.mss || got.scale != s.scale {
			t.Errorf("%+v was read as %+v", s, got)
		}
		ip := header.IPv4(frame[etherHeader:])
		tcp := header.TCP(ip.Payload())
		if !ip.IsChecksumValid() || !ip.IsValid(len(ip)) ||
			!tcp.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), checksum.Checksum(tcp.Payload(), 0), uint16(len(tcp.Payload()))) {
			t.Errorf("%+v: not valid for netstack", s)
		}
		for i := etherHeader; i < len(frame); i++ {
			frame[i] ^= 1 << (i % 8)
			if _, ok := parseSegment(frame); ok {
				t.Errorf("%+v: taken with byte %d changed", s, i)
			}
			frame[i] ^= 1 << (i % 8)
		}
	}
}

// TestSegmentOptions holds that options are read up to where they are cut off, and that what they say is bounded.
func TestSegmentOptions(t *testing.T) {
	for name, c := range map[string]struct {
		options    []byte
		mss, scale int
	}{
		"none":          {nil, 0, noScale},
		"both":          {[]byte{optionMSS, 4, 5, 180, optionNone, optionScale, 3, 7}, 1460, 7},
		"behind end":    {[]byte{optionEnd, optionMSS, 4, 5, 180}, 0, noScale},
		"cut off":       {[]byte{optionMSS, 4, 5}, 0, noScale},
		"one byte":      {[]byte{optionMSS}, 0, noScale},
		"no size":       {[]byte{99, 0, optionMSS, 4, 5, 180}, 0, noScale},
		"wrong size":    {[]byte{optionMSS, 3, 5, optionScale, 4, 1, 1}, 0, noScale},
		"unknown":       {[]byte{8, 10, 1, 2, 3, 4, 5, 6, 7, 8, optionScale, 3, 1}, 0, 1},
		"large scale":   {[]byte{optionScale, 3, 255}, 0, maxScale},
		"up to the end": {[]byte{8, 200, 1}, 0, noScale},
	} {
		s := segment{scale: noScale}
		s.options(c.options)
		if s.mss != c.mss || s.scale != c.scale {
			t.Errorf("%s: mss %d, scale %d", name, s.mss, s.scale)
		}
	}
}

// FuzzSegment gives the parser any frame that classify lets through: what it takes is within it.
func FuzzSegment(f *testing.F) {
	var buf [netif.MaxFrame]byte
	f.Add(append([]byte(nil), testEnds.frame(&buf, &segment{from: 1, to: 2, flags: flagSYN, mss: 9, scale: 1, data: []byte("data")})...))
	f.Add(bytes.Repeat([]byte{0x45}, 60))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < etherHeader+ipHeader || len(frame) > netif.MaxFrame {
			return
		}
		binary.BigEndian.PutUint16(frame[12:], typeIPv4)
		s, ok := parseSegment(frame)
		if ok && (len(s.data) > len(frame)-headers || s.scale > maxScale) {
			t.Fatalf("%+v of %d bytes", s, len(frame))
		}
		if s.options(frame); s.scale > maxScale {
			t.Fatal(s.scale)
		}
	})
}
