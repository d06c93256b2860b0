package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A pVM knows itself by its name and address, also a child, and one without a network.
func TestNetworkSelf(t *testing.T) {
	h := newHome(t)
	image := h.netImage(t)
	for _, c := range []struct{ name, net string }{{"alone", "none"}, {"linked", "user"}} {
		pid := strings.TrimSpace(h.output(t, "run", "-d", "--name", c.name, "--net", c.net, image, "self"))
		await(t, "both members to know themselves", func() (bool, string) {
			log := h.output(t, "logs", pid)
			ps := h.output(t, "ps", "--no-headers", "-o", "pid,ip", "--sort", "pid")
			n := 0
			for line := range strings.Lines(ps) {
				f := strings.Fields(line)
				ip := f[1]
				if ip == "-" {
					ip = "127.0.0.1"
				}
				if !strings.Contains(log, fmt.Sprintf("%s %s %s 127.0.0.1\n", f[0], c.name, ip)) {
					return false, ps + log
				}
				n++
			}
			return n == 2, ps + log
		})
		h.output(t, "kill", "-KILL", "--tree", pid)
	}
}

// Two pVMs find each other by name, and each connects to the other.
func TestNetworkPeers(t *testing.T) {
	h := newHome(t)
	image := h.netImage(t)
	a := strings.TrimSpace(h.output(t, "run", "-d", "--net", "user", "--name", "alpha", image, "peer", "7", "Beta"))
	b := strings.TrimSpace(h.output(t, "run", "-d", "--net", "user", "--name", "Beta", image, "peer", "7", "alpha"))
	h.output(t, "wait", a)
	h.output(t, "wait", b)
	if out := h.output(t, "logs", a) + h.output(t, "logs", b); out != "alpha heard Beta\nBeta heard alpha\n" {
		t.Errorf("%q", out)
	}
}
