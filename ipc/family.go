package ipc

import (
	"sync/atomic"

	"kxsh/ipc/abi"
)

// TakeRings returns which relatives a pVM wants to have notified, by PID; all tells that it wants all of them to be.
func TakeRings(ctl []byte) (pids []int, all bool) {
	rings := &control(ctl).Rings
	for i := range rings {
		if atomic.LoadUint32(&rings[i]) == 0 {
			continue
		}
		switch pid := atomic.SwapUint32(&rings[i], 0); pid {
		case 0:
		case abi.RingAll:
			all = true
		default:
			pids = append(pids, int(pid))
		}
	}
	return pids, all
}

// SharesWithFamily tells whether a pVM may hold something of what its family shares, by its own word.
func SharesWithFamily(ctl []byte) bool {
	return atomic.LoadUint32(&control(ctl).FamilyState) == abi.FamilyIn
}
