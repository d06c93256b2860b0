package netswitch

import (
	"testing"

	"golang.org/x/sys/unix"
)

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

// TestRelayLateEvent holds that what has happened to a line that has ended since is not another's that has got its descriptor.
func TestRelayLateEvent(t *testing.T) {
	r, err := newRelay()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	p := &port{relay: r, sw: &Switch{}}
	watched := func() *line {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fds[1]) })
		l := newLine(p, 80)
		l.fd = fds[0]
		r.add(l)
		if err := r.watch(l); err != nil {
			t.Fatal(err)
		}
		return l
	}
	first := watched()
	events := make([]unix.EpollEvent, 4)
	if n, err := unix.EpollWait(r.epoll, events, 1000); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if r.of(&events[0]) != first {
		t.Error("its own event is not known")
	}
	r.forget(first)
	unix.Close(first.fd)
	second := watched()
	defer unix.Close(second.fd)
	if second.fd != first.fd {
		t.Fatalf("descriptor %d, before %d", second.fd, first.fd)
	}
	if r.of(&events[0]) != nil {
		t.Error("an event of the line before is the next one's")
	}
}
