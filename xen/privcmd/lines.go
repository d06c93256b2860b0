package privcmd

import (
	"slices"
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// Members ring each other by event channels that they make themselves; for a relative that is born while it sleeps a member cannot have
// opened a port. Xen lets dom0 open one in a domain for any other one, but not close it: so a member has ports of ours in a few words of its control area, and
// closes them when those words say that the relative has gone. One that sleeps is rung for that when half of them do.

const (
	// newest is among how many members, those that came last, a fork looks for some to open ports in.
	newest = 64
	// linesGone is how many ports of relatives that have gone a member is left to close when it likes.
	linesGone = abi.Lines / 2
)

// openLines opens ports for a child that has not run in other members than its parent, who is awake: in siblings first, and in younger ones first. Where one cannot
// be opened both do without, as with other members.
func (f *family) openLines(child *Domain) {
	f.mu.Lock()
	defer f.mu.Unlock()
	near := f.near(child)
	for _, m := range near {
		defer m.mu.RUnlock()
	}
	reach := child.control().Reach[:0]
	for i, port := range f.h.c.allocUnboundIn(near, child.id) {
		if port != 0 && near[i].addLine(port<<abi.LineShift|uint32(child.id)) {
			reach = append(reach, port<<abi.LineShift|uint32(near[i].id))
		}
	}
}

// near returns the members that a child is to reach, at most abi.Reach, held against Release. The family is locked.
func (f *family) near(child *Domain) (near []*Domain) {
	parent := child.line[len(child.line)-1]
	last := f.members[max(0, len(f.members)-newest):]
	for _, siblings := range [2]bool{true, false} {
		for _, m := range slices.Backward(last) {
			sibling := len(m.line) > 0 && m.line[len(m.line)-1] == parent
			if len(near) == abi.Reach {
				return near
			}
			if m == child || m.id == parent || sibling != siblings || !m.mu.TryRLock() { // else it is being released
				continue
			}
			k := m.control()
			if !m.released && !m.isGone() && atomic.LoadUint32(&k.FamilyState) == abi.FamilyIn && slices.Contains(k.Lines[:], 0) {
				near = append(near, m)
			} else {
				m.mu.RUnlock()
			}
		}
	}
	return near
}

// allocUnboundIn opens a port in each of some domains, at most abi.Reach, for another one to bind to; 0: in that one it could not be.
func (c *conn) allocUnboundIn(in []*Domain, remote xen.DomID) (ports []uint32) {
	if len(in) == 0 {
		return nil
	}
	b, done, err := c.buffer(abi.Reach * int(unsafe.Sizeof(evtchnAllocUnbound{})))
	if err != nil {
		return nil
	}
	defer done()
	list := unsafe.Slice((*evtchnAllocUnbound)(unsafe.Pointer(&b[0])), len(in))
	ops := make([]multicall, len(in))
	for i, d := range in {
		list[i] = evtchnAllocUnbound{Dom: uint16(d.id), Remote: uint16(remote)}
		ops[i] = multicall{Op: hvEventChannelOp, Arg: [6]uint64{evtchnAlloc, address(bytesOf(&list[i]))}}
	}
	c.multi("event_channel_op alloc_unbound", ops) // each port tells for itself
	for i := range list {
		ports = append(ports, list[i].Port)
	}
	return ports
}

// addLine tells a member of a port in it. It may have put anything into the words: then it finds none.
func (d *Domain) addLine(word uint32) bool {
	k := d.control()
	for i := range k.Lines {
		if atomic.CompareAndSwapUint32(&k.Lines[i], 0, word) {
			atomic.AddUint32(&k.LinesNews, 1)
			return true
		}
	}
	return false
}

// closeLines says to a member which of its ports are for relatives that have gone.
func (d *Domain) closeLines(gone func(id xen.DomID) bool) {
	if !d.mu.TryRLock() {
		return // it is going itself
	}
	defer d.mu.RUnlock()
	if d.released {
		return
	}
	k := d.control()
	news, old := false, 0
	for i := range k.Lines {
		word := atomic.LoadUint32(&k.Lines[i])
		if word != 0 && word&abi.LineGone == 0 && gone(xen.DomID(word&abi.LinePid)) && atomic.CompareAndSwapUint32(&k.Lines[i], word, word|abi.LineGone) {
			news, word = true, word|abi.LineGone
		}
		if word&abi.LineGone != 0 {
			old++
		}
	}
	if !news {
		return
	}
	atomic.AddUint32(&k.LinesNews, 1)
	if old >= linesGone {
		d.h.events.notify(d.port)
	}
}

// closeStale is closeLines after adoption, of relatives that have gone while there was no engine.
func (f *family) closeStale() {
	members := map[xen.DomID]bool{}
	for _, m := range f.members {
		members[m.id] = true
	}
	for _, m := range f.members {
		m.closeLines(func(id xen.DomID) bool { return !members[id] })
	}
}
