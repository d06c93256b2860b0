package e2e

import (
	"encoding/json"
	"fmt"
	"io"
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
	const bytes = 100000
	h := newHome(t)
	image, port := h.netImage(t), freePort(t)
	plain := strings.TrimSpace(h.output(t, "run", "-d", filepath.Join(root, "guest/apps/spin.kx")))
	if out := h.output(t, "ps", "--no-headers", "-o", "rx,tx,ip", plain); strings.Join(strings.Fields(out), " ") != "- - -" {
		t.Errorf("without a network: %q", out)
	}
	h.output(t, "kill", "-KILL", plain)
	pid := h.server(t, "--publish", "127.0.0.1:"+port+":7", image, "echo", "7")
	echoes(t, connected(t, port), bytes)
	const most = bytes * 3 / 2 // with headers, and acknowledgements
	within := func(what string, n uint64) {
		t.Helper()
		if n < bytes || n > most {
			t.Errorf("%s: %d, want from %d to %d", what, n, bytes, most)
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
		c := connected(t, port)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				io.WriteString(c, strings.Repeat("x", 1000))
				io.ReadFull(c, make([]byte, 1000))
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
