package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// word sends one from a client's address to a published UDP port, and returns the PID of who has sent it back; "": nobody in time.
func word(t *testing.T, client string, port int, text []byte) string {
	t.Helper()
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(client)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 65536)
	for range 5 { // a datagram may be lost
		c.Write(text)
		c.SetReadDeadline(time.Now().Add(patience / 20))
		n, err := c.Read(buf)
		if err != nil {
			continue
		}
		pid, rest, _ := bytes.Cut(buf[:n], []byte(" "))
		if !bytes.Equal(rest, text) {
			t.Errorf("%d bytes came back as %d others", len(text), len(rest))
		}
		return string(pid)
	}
	return ""
}

// A UDP port of the host is a family's: clients are spread by their address, each stays with its member, and goes to another when that ends. Datagrams of several
// packets come whole, and the same number can be published of TCP. An engine that is killed changes nothing.
func TestNetworkUDP(t *testing.T) {
	h := newHome(t)
	image, number := h.netImage(t), freePort(t)
	port, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + number
	pid := strings.TrimSpace(h.output(t, "run", "-d", "--publish", address+":53/udp", image, "datagrams", "53", "2"))
	other := h.server(t, "--publish", address+":7/tcp", image, "echo", "7")
	h.awaitLog(t, pid, pid+" ready\n")
	echoes(t, connected(t, number), 1000)
	members := strings.Fields(h.output(t, "ps", "--no-headers", "-o", "pid", "--sort", "pid"))
	if len(members) != 4 {
		t.Fatalf("%v", members)
	}
	long := make([]byte, 4000)
	for i := range long {
		long[i] = byte(rand.Uint32())
	}
	taken := map[string][]string{} // clients of each
	await(t, "all members to have clients", func() (bool, string) {
		client := fmt.Sprintf("127.0.1.%d", rand.IntN(250)+1)
		who := word(t, client, port, long)
		taken[who] = append(taken[who], client)
		return len(taken) == 3 && taken[""] == nil, fmt.Sprint(taken)
	})
	h.killEngine(t)
	for member, clients := range taken {
		for _, client := range clients {
			if who := word(t, client, port, []byte("again")); who != member {
				t.Errorf("%s: %q has it, it was %s", client, who, member)
			}
		}
	}
	for member, clients := range taken {
		if member == pid {
			continue
		}
		h.output(t, "kill", "-KILL", member)
		h.run(t, "wait", member)
		if who := word(t, clients[0], port, []byte("to whom?")); who == member || who == "" {
			t.Errorf("%s has ended: %q has its client", member, who)
		}
	}
	if who := word(t, "127.0.9.9", port, nil); who != pid {
		t.Errorf("%q has it, want %s", who, pid)
	}
	_, errs, code := h.run(t, "run", "-d", "--publish", address+":53/udp", image, "datagrams", "53", "0")
	if code != 1 || !strings.Contains(errs, "family "+pid+" has it") {
		t.Errorf("status %d, %s", code, errs)
	}
	h.output(t, "kill", "-KILL", pid, other)
}
