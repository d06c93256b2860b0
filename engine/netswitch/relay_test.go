package netswitch

import "testing"

// TestRelays holds that ports are spread over the relays, and that one that has ended leaves its place.
func TestRelays(t *testing.T) {
	s := newSwitch(t, Config{})
	n := 2 * len(s.relays)
	for i := range n {
		if err := s.Add(newGuest(t, i+1, "").port); err != nil {
			t.Fatal(err)
		}
	}
	for i, r := range s.relays {
		if r.ports != 2 {
			t.Errorf("relay %d has %d ports", i, r.ports)
		}
	}
	left := s.ports[1].relay
	if err := s.Remove(1); err != nil {
		t.Fatal(err)
	}
	if err := s.Add(newGuest(t, n+1, "").port); err != nil {
		t.Fatal(err)
	}
	if s.ports[n+1].relay != left || left.ports != 2 {
		t.Error("the next port has not the place of the one that ended")
	}
}
