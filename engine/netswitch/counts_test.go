package netswitch

import (
	"encoding/json"
	"math"
	"testing"
)

// BenchmarkTraffic is what a sample of the most ports costs the switch, and its engine.
func BenchmarkTraffic(b *testing.B) {
	s := &Switch{ports: map[int]*port{}}
	for id := range maxPorts {
		p := &port{Port: Port{ID: id}}
		p.sent[1].Store(math.MaxUint32)
		p.received[1].Store(math.MaxUint32)
		s.ports[id] = p
	}
	for b.Loop() {
		line, err := json.Marshal(response{Traffic: s.traffic()})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(line)))
		var r response
		if err := json.Unmarshal(line, &r); err != nil || len(r.Traffic) != maxPorts {
			b.Fatal(err, len(r.Traffic))
		}
	}
}
