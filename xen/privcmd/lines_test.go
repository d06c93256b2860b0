//go:build xen

package privcmd

import (
	"context"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen/xentest"
)

// port is what Xen says of a port: its state, and whom it waits for.
func (g guests) port(d *Domain, port uint32) (status, remote uint32) {
	g.t.Helper()
	s := evtchnStatus{Dom: uint16(d.id), Port: port}
	g.must(withStruct(g.h.c, &s, func(at uint64) error {
		_, err := g.h.c.call("event_channel_op status", hvEventChannelOp, evtchnGetStatus, at)
		return err
	}))
	return s.Status, s.U[0] & 0xffff
}

// TestLines forks children that find ports for them in their siblings, which are told of each, also when it is for nobody any more.
func TestLines(t *testing.T) {
	const unbound = 1
	g := newGuests(t, "lines")
	m := xentest.StartForker(t, g.h, g.im, xentest.ForkerMemory)
	parent := m.Domain.(*Domain)
	defer g.end(parent)
	bear := func(in bool) *Domain { // and leaves it paused
		c, err := parent.Fork(context.Background(), m.Called(0))
		g.must(err)
		m.Tell(int64(c.ID()))
		d := c.(*Domain)
		t.Cleanup(func() { g.end(d) })
		if in {
			d.control().FamilyState = abi.FamilyIn
		}
		return d
	}
	outsider, elder := bear(false), bear(true)
	parent.control().FamilyState = abi.FamilyIn
	k := elder.control()
	before, err := g.h.c.ports(elder.id)
	g.must(err)

	young := bear(false)
	port := k.Lines[0] >> abi.LineShift
	if k.Lines[0] != port<<abi.LineShift|uint32(young.id) || port == 0 || k.LinesNews != 1 {
		t.Fatalf("%#x, news %d", k.Lines, k.LinesNews)
	}
	if s, remote := g.port(elder, port); s != unbound || remote != uint32(young.id) {
		t.Errorf("port %d: status %d, for %d, not %d", port, s, remote, young.id)
	}
	if want := [abi.Reach]uint32{port<<abi.LineShift | uint32(elder.id)}; young.control().Reach != want {
		t.Errorf("reach %#x, want %#x", young.control().Reach, want)
	}
	if l := outsider.control().Lines; l != ([abi.Lines]uint32{}) {
		t.Errorf("one that has no place: %#x", l)
	}
	g.end(young)
	if k.Lines[0] != port<<abi.LineShift|abi.LineGone|uint32(young.id) || k.LinesNews != 2 {
		t.Errorf("of one that has gone: %#x, news %d", k.Lines[0], k.LinesNews)
	}

	in := func(call string) unix.Errno {
		if call == "domctl setvcpucontext" {
			return unix.ENOMEM
		}
		return 0
	}
	g.h.c.inject.Store(&in)
	if _, err := parent.Fork(context.Background(), m.Called(0)); err == nil {
		t.Fatal("forked")
	}
	g.h.c.inject.Store(nil)
	m.Tell(-12)
	if k.Lines[1]&abi.LineGone == 0 {
		t.Errorf("of a fork that has failed: %#x", k.Lines[1])
	}

	// One that never closes any is soon given no more.
	for range abi.Lines {
		g.end(bear(false))
	}
	if n, err := g.h.c.ports(elder.id); err != nil || n != before+abi.Lines {
		t.Errorf("%d ports, before %d: %v", n, before, err)
	}
	if slices.ContainsFunc(k.Lines[:], func(word uint32) bool { return word&abi.LineGone == 0 }) {
		t.Errorf("%#x", k.Lines)
	}
	// What it writes there itself harms nobody.
	for i := range k.Lines {
		k.Lines[i] = ^uint32(0)
	}
	g.end(bear(false))
	k.Lines = [abi.Lines]uint32{3: 9<<abi.LineShift | 0x7000}
	g.h.Adopted()
	if k.Lines[3] != 9<<abi.LineShift|abi.LineGone|0x7000 {
		t.Errorf("of one that has gone before the engine came: %#x", k.Lines[3])
	}

	// Younger siblings come first.
	siblings := []*Domain{bear(true), bear(true), bear(true), bear(true), bear(true)}
	reach := bear(false).control().Reach
	for i, word := range reach {
		if want := siblings[len(siblings)-1-i]; word&abi.LinePid != uint32(want.id) {
			t.Errorf("reach %#x: %d is not %d", reach, i, want.id)
		}
	}
}
