package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"kxsh/engine"
	"kxsh/engine/metricstest"
)

// What has passed the device of a pVM is told by ps, stats, inspect and the metrics, with rates where there are two moments; who has no network has none, and
// a switch that is new counts from nothing.
func TestNetworkTraffic(t *testing.T) {
	h := newHome(t)
	image, port := h.netImage(t), freePort(t)
	plain := strings.TrimSpace(h.output(t, "run", "-d", filepath.Join(root, "guest/apps/spin.kx")))
	if out := h.output(t, "ps", "--no-headers", "-o", "rx,tx,ip,vif", plain); strings.Join(strings.Fields(out), " ") != "- - - -" {
		t.Errorf("without a network: %q", out)
	}
	h.output(t, "kill", "-KILL", plain)
	pid := h.server(t, "--publish", "127.0.0.1:"+port+":53/udp", image, "datagrams", "53", "0")
	c, err := net.Dial("udp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const size, answers = 1000, 100
	datagram, back := make([]byte, size), make([]byte, 2*size)
	written := 0 // no connection, which would send again what a slow machine acknowledges late
	for answered := 0; answered < answers; {
		c.Write(datagram)
		written++
		c.SetReadDeadline(time.Now().Add(patience / 20))
		if _, err := c.Read(back); err == nil {
			answered++
		} else if written > 2*answers {
			t.Fatalf("%d of %d datagrams came back: %v", answered, written, err)
		}
	}
	most := written*(size+60) + 4000 // with headers, what the answer has before it, and the questions for addresses
	within := func(what string, n uint64) {
		t.Helper()
		if n < answers*size || n > uint64(most) {
			t.Errorf("%s: %d, want from %d to %d", what, n, answers*size, most)
		}
	}
	var list []engine.Process
	if err := json.Unmarshal([]byte(h.output(t, "ps", "--json", pid)), &list); err != nil || len(list) != 1 || list[0].Traffic == nil {
		t.Fatalf("%v %+v", err, list)
	}
	within("received", list[0].Traffic.ReceivedBytes)
	within("sent", list[0].Traffic.SentBytes)
	if out := h.output(t, "ps", "--no-headers", "-o", "ip,rx,tx", pid); !regexp.MustCompile(`^10\.88\.\d+\.\d+ +\d+K +\d+K\n$`).MatchString(out) {
		t.Errorf("ps: %q", out)
	}
	vif := "-" // the switch has a pVM's rings themselves
	if where == "xen" {
		vif = "vif" + pid + ".0"
	}
	if out := strings.TrimSpace(h.output(t, "ps", "--no-headers", "-o", "vif", pid)); out != vif {
		t.Errorf("ps: its interface is %q, want %q", out, vif)
	}
	if out := h.output(t, "stats", "--json", pid); !strings.Contains(out, `"received_bytes"`) {
		t.Errorf("stats: %s", out)
	}
	families, err := metricstest.Parse(h.output(t, "stats", "--openmetrics"))
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range []string{"receive", "transmit"} {
		v, _ := families["kxsh_pvm_network_"+way+"_bytes"].Find("_total", "pid", pid)
		within(way, uint64(v))
		if v, _ = families["kxsh_pvm_network_"+way+"_packets"].Find("_total", "pid", pid); v < 10 {
			t.Errorf("%s: %v packets", way, v)
		}
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() { // keeps bytes coming
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				c.Write(datagram)
			}
		}
	}()
	rates := regexp.MustCompile(`(?m)^received +.* packets, ([1-9]\S*)/s$\n^sent +.* packets, ([1-9]\S*)/s$`)
	await(t, "rates", func() (bool, string) {
		out := h.output(t, "inspect", pid)
		return rates.MatchString(out), out
	})
	close(stop)
	<-done
	for _, process := range h.switches(t) {
		syscall.Kill(process, syscall.SIGKILL)
	}
	await(t, "a switch that counts from nothing", func() (bool, string) {
		out := h.output(t, "ps", "--no-headers", "-o", "rx", pid)
		return regexp.MustCompile(`^\d+B?\n$`).MatchString(out), fmt.Sprintf("%q", out)
	})
}
