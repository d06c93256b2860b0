package netswitch

// Traffic is what has passed a port, as its pVM has it.
type Traffic struct {
	ID             int
	Sent, Received Count
	Dropped        uint64 // frames for the pVM that found no room
}

// wireTraffic is a Traffic on the control socket: in the order of its fields. There may be thousands of them, each second.
type wireTraffic [6]uint64

func (p *port) traffic() wireTraffic {
	return wireTraffic{
		uint64(p.ID), p.sent[0].Load(), p.sent[1].Load(), p.received[0].Load(), p.received[1].Load(), uint64(p.dropped.Load()),
	}
}

// traffic tells of all ports, in no order.
func (s *Switch) traffic() []wireTraffic {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]wireTraffic, 0, len(s.ports))
	for _, p := range s.ports {
		list = append(list, p.traffic())
	}
	return list
}

// Traffic tells what has passed all ports, in no order: less than State, and cheaper.
func (c *Client) Traffic() ([]Traffic, error) {
	r, err := c.call(&request{Op: "traffic"})
	if err != nil {
		return nil, err
	}
	list := make([]Traffic, len(r.Traffic))
	for i, w := range r.Traffic {
		list[i] = Traffic{ID: int(w[0]), Sent: Count{w[1], w[2]}, Received: Count{w[3], w[4]}, Dropped: w[5]}
	}
	return list, nil
}
