package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const testBridge = "kxbr0"

// busybox is the lab's own, which has what the machine around it need not have.
func busybox(args ...string) *exec.Cmd { return exec.Command("/run/lab/busybox", args...) }

// system runs a program of dom0's.
func system(t *testing.T, args ...string) {
	t.Helper()
	if out, err := busybox(args...).CombinedOutput(); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// newBridge is a bridge in dom0 that has the address 192.168.77.1, which goes with the test.
func newBridge(t *testing.T) {
	system(t, "brctl", "addbr", testBridge)
	t.Cleanup(func() {
		system(t, "ip", "link", "set", testBridge, "down")
		system(t, "brctl", "delbr", testBridge)
	})
	system(t, "ip", "addr", "add", "192.168.77.1/24", "dev", testBridge)
	system(t, "ip", "link", "set", testBridge, "up")
}

// dhcpServer gives addresses from 192.168.77.20 on at the bridge, until stop is called.
func dhcpServer(t *testing.T) (stop func()) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "udhcpd.conf")
	text := fmt.Sprintf("interface %s\nstart 192.168.77.20\nend 192.168.77.60\nlease_file %s/leases\npidfile %s/pid\noption subnet 255.255.255.0\n"+
		"option router 192.168.77.1\noption dns 192.168.77.1\noption lease 600\n", testBridge, dir, dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "leases"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	server := busybox("udhcpd", "-f", conf)
	var log strings.Builder
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			server.Process.Kill()
			server.Wait()
			if t.Failed() {
				t.Logf("udhcpd:\n%s", log.String())
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// pVMs at a bridge of dom0's have addresses from its DHCP server, also a child, or the one that they are given; they reach each other and dom0, and an engine that
// is killed changes nothing. Nothing is left of them at the bridge.
func TestNetworkBridge(t *testing.T) {
	onlyOn(t, "xen", "a hosted pVM has no network interface of the host")
	newBridge(t)
	stop := dhcpServer(t)
	h := newHome(t)
	image := h.netImage(t)
	at := "bridge=" + testBridge
	pid := h.server(t, "--name", "server", "--net", at, image, "echo", "7")
	address := func(pid string) string {
		return strings.TrimSpace(h.output(t, "ps", "--no-headers", "-o", "ip", pid))
	}
	ip := address(pid)
	if !strings.HasPrefix(ip, "192.168.77.") {
		t.Fatalf("address %q", ip)
	}
	echoes(t, dial(t, ip+":7").(*net.TCPConn), 100000)
	if out := h.output(t, "run", "--net", at, image, "say", ip, "7", "hello"); out != "hello\n" {
		t.Errorf("from another pVM: %q", out)
	}
	fixed := h.server(t, "--name", "fixed", "--net", at, "--ip", "192.168.77.200/24,192.168.77.1", image, "echo", "7")
	if got := address(fixed); got != "192.168.77.200" {
		t.Errorf("address %q", got)
	}
	dial(t, "192.168.77.200:7")
	for _, way := range []string{"--ip 192.168.77.201/24 --dns 192.168.77.9", "--dns 192.168.77.9"} {
		out := h.output(t, append(append([]string{"run", "--net", at}, strings.Fields(way)...), filepath.Join(root, "guest/apps/cat.kx"), "/etc/resolv.conf")...)
		if strings.Join(strings.Fields(out), " ") != "nameserver 192.168.77.9" {
			t.Errorf("%s: %q", way, out)
		}
	}
	if rx := strings.TrimSpace(h.output(t, "ps", "--no-headers", "-o", "rx", pid)); !strings.HasSuffix(rx, "K") {
		t.Errorf("received %q", rx)
	}
	if ips := h.knowsItself(t, "parent", at); len(ips) != 2 || ips[0] == ips[1] || !strings.HasPrefix(ips[1], "192.168.77.") {
		t.Errorf("addresses %q", ips)
	}
	h.killEngine(t)
	if got := address(pid); got != ip {
		t.Errorf("address %q, was %q", got, ip)
	}
	stop()
	out, errs, _ := h.run(t, "run", "--net", at, image, "say", ip, "7", "hello")
	if out != "connect: Network unreachable\n" || !strings.Contains(errs, "no DHCP server has answered") {
		t.Errorf("without a DHCP server: %q, %q", out, errs)
	}
	h.output(t, "kill", "-KILL", pid, fixed)
	await(t, "the bridge to have no ports", func() (bool, string) {
		ports, err := os.ReadDir("/sys/class/net/" + testBridge + "/brif")
		return err == nil && len(ports) == 0, fmt.Sprint(ports, err)
	})
}

// What cannot be is refused in one line, and leaves nothing.
func TestNetworkBridgeRefused(t *testing.T) {
	h := newHome(t)
	image := h.netImage(t)
	cases := []struct{ args, want string }{
		{"--net bridge=", "none, user or bridge=NAME"},
		{"--net bridge=../lo", "none, user or bridge=NAME"},
		{"--net bridge=lo --publish 80:80", "with --net user alone"},
		{"--net bridge=lo --ip 10.0.0.0/8", "must be ADDR/LEN[,GATEWAY]"},
		{"--net bridge=lo --ip 10.0.0.1", "must be ADDR/LEN[,GATEWAY]"},
		{"--net bridge=lo --ip 10.0.0.1/24,10.0.1.1", "must be ADDR/LEN[,GATEWAY]"},
		{"--net user --ip 10.0.0.1/24", "with --net bridge=NAME alone"},
		{"--net bridge=lo --dns nowhere", "must be an IPv4 address"},
		{"--net user --dns 10.0.0.1", "with --net bridge=NAME alone"},
		{"--net bridge=lo --recycle", "not with --recycle"},
	}
	if where == "xen" {
		cases = append(cases, []struct{ args, want string }{{"--net bridge=lo", "lo is no bridge"}, {"--net bridge=nosuch", "no such bridge: make it"}}...)
	} else {
		cases = append(cases, struct{ args, want string }{"--net bridge=lo", "not on the hosted hypervisor, whose pVMs have no network interface of the host: take --net user"})
	}
	for _, c := range cases {
		out, errs, code := h.run(t, append(append([]string{"run", "-d"}, strings.Fields(c.args)...), image, "echo", "7")...)
		if code != 1 && code != 2 || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: status %d\n%s%s, want %q", c.args, code, out, errs, c.want)
		}
	}
	if out := h.output(t, "ps", "--no-headers"); out != "" {
		t.Errorf("left: %s", out)
	}
}
