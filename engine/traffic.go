package engine

// sampleTraffic fills in what has passed the devices of those that have one. The switch is asked once for all of them; while there is none nobody
// knows.
func (e *Engine) sampleTraffic(ps []Process) {
	s := e.net.client.Load()
	if s == nil {
		return
	}
	list, err := s.Traffic()
	if err != nil {
		return // it has gone, and who watches it says so
	}
	known := make(map[int]*Traffic, len(list))
	for i := range list {
		t := &list[i]
		known[t.ID] = &Traffic{
			ReceivedBytes: t.Received.Bytes, ReceivedPackets: t.Received.Frames, SentBytes: t.Sent.Bytes, SentPackets: t.Sent.Frames, Dropped: t.Dropped,
		}
	}
	for i := range ps {
		if p := &ps[i]; p.Exit == nil {
			p.Traffic = known[p.PID]
		}
	}
}
