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

// Lent returns the numbers of the pipes that a pVM's descriptors 0 and 1 are for a while, by its own word. 0: none.
func Lent(ctl []byte) (numbers [2]uint32) {
	for i := range numbers {
		numbers[i] = atomic.LoadUint32(&control(ctl).Lent[i])
	}
	return numbers
}

// SharesWithFamily tells whether a pVM may hold something of what its family shares, by its own word.
func SharesWithFamily(ctl []byte) bool {
	return atomic.LoadUint32(&control(ctl).FamilyState) == abi.FamilyIn
}
