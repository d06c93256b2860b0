package privcmd

import (
	"errors"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

const (
	evtchnGetStatus = 5 // EVTCHNOP_status
	evtchnAlloc     = 6 // EVTCHNOP_alloc_unbound

	evtchnClosed = 0 // EVTCHNSTAT_closed
)

// allocUnbound makes a port in a domain that the host may bind to.
func (c *conn) allocUnbound(id xen.DomID) (uint32, error) {
	a := evtchnAllocUnbound{Dom: uint16(id)}
	err := withStruct(c, &a, func(at uint64) error {
		_, err := c.call("event_channel_op alloc_unbound", hvEventChannelOp, evtchnAlloc, at)
		return err
	})
	return a.Port, err
}

// ports counts the event channels that a domain has open.
func (c *conn) ports(id xen.DomID) (open int, err error) {
	for port := uint32(1); ; port++ {
		s := evtchnStatus{Dom: uint16(id), Port: port}
		err := withStruct(c, &s, func(at uint64) error {
			_, err := c.call("event_channel_op status", hvEventChannelOp, evtchnGetStatus, at)
			return err
		})
		switch {
		case errors.Is(err, unix.EINVAL):
			return open, nil // there never was such a port
		case err != nil:
			return 0, err
		case s.Status != evtchnClosed:
			open++
		}
	}
}
