package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A pVM knows itself by its name and address, also a child, and one without a network.
func TestNetworkSelf(t *testing.T) {
	h := newHome(t)
	h.knowsItself(t, "alone", "none")
	h.knowsItself(t, "linked", "user")
}

// knowsItself runs a pVM and its child with a network, and returns their addresses.
func (h *home) knowsItself(t *testing.T, name, net string) (ips []string) {
	t.Helper()
	pid := strings.TrimSpace(h.output(t, "run", "-d", "--name", name, "--net", net, h.netImage(t), "self"))
	await(t, "both members to know themselves", func() (bool, string) {
		log := h.output(t, "logs", pid)
		ps := h.output(t, "ps", "--no-headers", "-o", "pid,ip", "--sort", "pid", name)
		ips = nil
		for line := range strings.Lines(ps) {
			f := strings.Fields(line)
			ip := f[1]
			if ip == "-" {
				ip = "127.0.0.1"
			}
			if !strings.Contains(log, fmt.Sprintf("%s %s %s 127.0.0.1\n", f[0], name, ip)) {
				return false, ps + log
			}
			ips = append(ips, ip)
		}
		return len(ips) == 2, ps + log
	})
	h.output(t, "kill", "-KILL", "--tree", pid)
	return ips
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
