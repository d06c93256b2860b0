package engine

// sampleTraffic fills in what has passed the devices of those that have one, of which some have a port of the switch, and some at a bridge. Either is asked
// once for all of them.
func (e *Engine) sampleTraffic(ps []Process, switched, bridged bool) {
	known := map[int]*Traffic{}
	if bridged {
		known = interfaceTraffic()
	}
	if switched {
		e.switchTraffic(known)
	}
	for i := range ps {
		if p := &ps[i]; p.Exit == nil {
			p.Traffic = known[p.PID]
		}
	}
}

// switchTraffic tells what the switch has counted; while there is none nobody knows.
func (e *Engine) switchTraffic(known map[int]*Traffic) {
	s := e.net.client.Load()
	if s == nil {
		return
	}
	list, err := s.Traffic()
	if err != nil {
		return // it has gone, and who watches it says so
	}
	for i := range list {
		t := &list[i]
		known[t.ID] = &Traffic{
			ReceivedBytes: t.Received.Bytes, ReceivedPackets: t.Received.Frames, SentBytes: t.Sent.Bytes, SentPackets: t.Sent.Frames, Dropped: t.Dropped,
		}
	}
}
