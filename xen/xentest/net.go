package xentest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"kxsh/xen"
)

// testEtherType is one for experiments (IEEE 802).
const testEtherType = 0x88b5

// testNet has a guest that sends each frame back.
func testNet(t *testing.T, b *bench) {
	mac := [6]byte{0x02, 'k', 'x', 0, 0, 1}
	d := b.create("echo")
	b.must(d.Plug(&xen.NIC{MAC: mac}))
	b.must(d.Unpause())
	await(t, d.Rang(), "the guest's device")
	w, err := d.Wire()
	b.must(err)
	frames, err := b.Frames(t, w)
	b.must(err)
	if c := control(d); [6]byte(c.Nic.Mac[:6]) != mac || c.Nic.Ip != 0 {
		t.Errorf("told %+v", c.Nic)
	}
	me := [6]byte{0x02, 'k', 'x', 0, 0, 2}
	for i := range 1000 {
		frame := make([]byte, 60+rand.IntN(1514-60+1))
		copy(frame, mac[:])
		copy(frame[6:], me[:])
		binary.BigEndian.PutUint16(frame[12:], testEtherType)
		for k := 14; k < len(frame); k++ {
			frame[k] = byte(rand.Uint32())
		}
		copy(frame[14:], []byte{byte(i >> 8), byte(i)})
		b.must(frames.Send(frame))
		want := bytes.Clone(frame)
		copy(want, me[:])
		copy(want[6:], mac[:])
		for end := time.Now().Add(patience); ; {
			until := end
			if i == 0 { // netback drops what comes before it has found the guest's buffers
				until = time.Now().Add(time.Second)
			}
			got, err := frames.Receive(until)
			if i == 0 && err != nil && time.Now().Before(end) {
				b.must(frames.Send(frame))
				continue
			}
			if err != nil {
				t.Fatalf("frame %d of %d bytes: %v; the guest saw %d", i, len(frame), err, result(d.Control(), 1))
			}
			if bytes.Equal(got, want) {
				break
			}
			if i == 1 && len(got) > 16 && bytes.Equal(got[14:16], []byte{0, 0}) {
				continue // the first one, a second time
			}
			if len(got) >= 14 && [6]byte(got[:6]) == me && binary.BigEndian.Uint16(got[12:]) == testEtherType {
				t.Fatalf("frame %d: % x, want % x", i, got, want)
			}
		}
	}
}

// Frames are what comes and goes at the host's end of a network device.
type Frames interface {
	Send(frame []byte) error
	// Receive returns the next frame; an error if there is none in time.
	Receive(until time.Time) ([]byte, error)
}
