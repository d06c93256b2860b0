package privcmd

import "kxsh/xen"

const evtchnAlloc = 6 // EVTCHNOP_alloc_unbound

// allocUnbound makes a port in a domain that the host may bind to.
func (c *conn) allocUnbound(id xen.DomID) (uint32, error) {
	a := evtchnAllocUnbound{Dom: uint16(id)}
	err := withStruct(c, &a, func(at uint64) error {
		_, err := c.call("event_channel_op alloc_unbound", hvEventChannelOp, evtchnAlloc, at)
		return err
	})
	return a.Port, err
}
