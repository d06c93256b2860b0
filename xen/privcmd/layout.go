package privcmd

import (
	"crypto/rand"
	"encoding/binary"

	"kxsh/ipc/abi"
)

// ramAlign is the granularity of the RAM window's random place, in bytes.
const ramAlign = 2 << 20

// ctlPages is the control area, shared_info included.
const ctlPages = abi.CtlSize / pageSize

// layout says which frame of a domain is what. Frames are numbered as the guest does, the image's
// and then the RAM window's, followed by those that the guest has no number for: the list of
// machine frame numbers, the control area without shared_info, and the page tables. shared_info,
// which Xen made, comes last.
type layout struct {
	ramVA                uint64
	p2m, ctl, tables     uint64 // first frame of each
	shared               uint64 // also the number of frames that populate gives
	imagePages, ramPages uint64
	spans                []span
	byKey                map[tableKey]int
}

// newLayout places an image and a RAM window of so many pages.
func newLayout(m *image, ramPages, ramVA uint64) *layout {
	l := &layout{ramVA: ramVA, imagePages: m.pages, ramPages: ramPages}
	p2mPages := pagesOf((m.pages + ramPages) * 8)
	l.p2m = m.pages + ramPages
	l.ctl = l.p2m + p2mPages
	l.tables = l.ctl + ctlPages - 1
	const sharedPage = (abi.SharedVa - abi.CtlVa) / pageSize
	spans := func(shared uint64) []span {
		return append(m.spans[:len(m.spans):len(m.spans)],
			span{ramVA, ramPages, m.pages, spanData},
			span{abi.P2mVa, p2mPages, l.p2m, spanConst},
			span{abi.CtlVa, sharedPage, l.ctl, spanData},
			span{abi.SharedVa, 1, shared, spanData},
			span{abi.SharedVa + pageSize, ctlPages - sharedPage - 1, l.ctl + sharedPage, spanData},
		)
	}
	l.byKey = tablesOf(spans(0))
	l.shared = l.tables + uint64(len(l.byKey))
	l.spans = spans(l.shared)
	return l
}

// control lists the machine frames of the control area, in order.
func (l *layout) control(mfns []uint64) []uint64 {
	const sharedPage = (abi.SharedVa - abi.CtlVa) / pageSize
	list := make([]uint64, 0, ctlPages)
	list = append(list, mfns[l.ctl:l.ctl+sharedPage]...)
	list = append(list, mfns[l.shared])
	return append(list, mfns[l.ctl+sharedPage:l.tables]...)
}

// randomBase places a RAM window.
func randomBase(pages uint64) uint64 {
	var b [8]byte
	rand.Read(b[:])
	slots := (abi.RamEnd - abi.RamMin - pages*pageSize) / ramAlign
	return abi.RamMin + binary.LittleEndian.Uint64(b[:])%slots*ramAlign
}
