package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kxsh/engine/porttest"
)

// netImage is the servers and clients of testdata/net.
func (h *home) netImage(t *testing.T) string {
	t.Helper()
	return h.image(t, filepath.Join(root, "shell/e2e/testdata/net/net.c"), "-O2", "-Wall", "-Wextra", "-Werror")
}

// freePort is a port of the host's loopback that nobody has. It is below those that Linux gives to whoever names none, or somebody would have it before the test.
func freePort(t *testing.T) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(porttest.Free(t))
	return port
}

func connected(t *testing.T, port string) *net.TCPConn {
	t.Helper()
	return dial(t, "127.0.0.1:"+port).(*net.TCPConn)
}

// echoes sends bytes, and wants them back.
func echoes(t *testing.T, c *net.TCPConn, n int) {
	t.Helper()
	sent, got := make([]byte, n), make([]byte, n)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	go c.Write(sent)
	if _, err := io.ReadFull(c, got); err != nil {
		t.Errorf("%d bytes: %v", n, err)
	} else if !bytes.Equal(sent, got) {
		t.Errorf("%d bytes came back as others", n)
	}
}

// A server on a published port: bytes come back as they were, on many connections at once; half a connection can be closed; other pVMs reach it by its
// name and its address.
func TestNetwork(t *testing.T) {
	h := newHome(t)
	image, port := h.netImage(t), freePort(t)
	pid := h.server(t, "--name", "mirror", "--publish", "127.0.0.1:"+port+":7", image, "echo", "7")
	echoes(t, connected(t, port), (4<<20)/slowness)
	var all sync.WaitGroup
	for range max(400/(slowness*slowness), 20) { // an emulated machine takes a tenth of a second for each
		c := connected(t, port)
		all.Go(func() { echoes(t, c, 3000) })
	}
	all.Wait()
	c := connected(t, port)
	io.WriteString(c, "the last words")
	c.CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "the last words" {
		t.Errorf("%q, %v", got, err)
	}
	ip := strings.TrimSpace(h.output(t, "ps", "--no-headers", "-o", "ip", pid))
	for _, name := range []string{"mirror", ip} {
		if out := h.output(t, "run", "--net", "user", image, "say", name, "7", "hello"); out != "hello\n" {
			t.Errorf("%s: %q", name, out)
		}
	}
	if out, _, _ := h.run(t, "run", "--net", "user", image, "say", "mirror", "8", "hello"); out != "connect: Connection refused\n" {
		t.Errorf("a port that nobody has: %q", out)
	}
	if out, _, _ := h.run(t, "run", image, "say", ip, "7", "hello"); out != "connect: Network unreachable\n" {
		t.Errorf("without a network: %q", out)
	}
	if out := h.output(t, "inspect", pid); !strings.Contains(out, ip) {
		t.Errorf("%s", out)
	}
	h.output(t, "kill", "-KILL", pid)
	await(t, "the port to be free", func() (bool, string) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED), fmt.Sprint(err)
	})
}

// No connection is lost of many that come and go, whoever closes first.
func TestNetworkReconnects(t *testing.T) {
	h := newHome(t)
	image, port := h.netImage(t), freePort(t)
	h.server(t, "--publish", "127.0.0.1:"+port+":7", image, "echo", "7")
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range max(2500/(slowness*slowness), 50) {
				c, err := net.Dial("tcp", "127.0.0.1:"+port)
				if err != nil {
					t.Error(err)
					return
				}
				c.SetDeadline(time.Now().Add(patience))
				word := fmt.Sprintf("%d of %d", i, worker)
				io.WriteString(c, word)
				if _, err = io.ReadFull(c, make([]byte, len(word))); err == nil && i%2 == 0 {
					err = c.(*net.TCPConn).CloseWrite()
					if _, e := io.ReadAll(c); err == nil {
						err = e
					}
				}
				c.Close()
				if err != nil {
					t.Errorf("worker %d, connection %d: %v", worker, i, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// What a server has written comes, though it exits at once.
func TestNetworkExit(t *testing.T) {
	h := newHome(t)
	image, port := h.netImage(t), freePort(t)
	run := func() string {
		return strings.TrimSpace(h.output(t, "run", "-d", "--publish", "127.0.0.1:"+port+":7", image, "once", "7", "300000"))
	}
	for range 3 {
		pid := run()
		var got []byte
		await(t, "an answer", func() (bool, string) {
			c, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err != nil {
				return false, err.Error()
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			got, err = io.ReadAll(c)
			return len(got) > 0, fmt.Sprint(err) // before it listens there is a reset
		})
		if len(got) != 300000 || strings.Trim(string(got), "x") != "" {
			t.Errorf("%d bytes", len(got))
		}
		h.output(t, "wait", pid)
	}
}

// Connections go on when the engine is killed; when the switch is, they are lost, and others work.
func TestNetworkKilled(t *testing.T) {
	h := newHome(t)
	image, port := h.netImage(t), freePort(t)
	pid := h.server(t, "--publish", "127.0.0.1:"+port+":7", image, "echo", "7")
	c := connected(t, port)
	echoes(t, c, 1000)
	h.killEngine(t)
	echoes(t, c, 100000)
	echoes(t, connected(t, port), 1000)
	h.output(t, "ps")
	echoes(t, c, 1000)
	if out := h.output(t, "run", "--name", "client", "--net", "user", image, "say", "net", "7", "hello"); out != "hello\n" {
		t.Errorf("%q", out)
	}
	for _, process := range h.switches(t) {
		syscall.Kill(process, syscall.SIGKILL)
	}
	if n, err := io.Copy(io.Discard, c); n != 0 {
		t.Errorf("%d bytes, %v", n, err)
	}
	await(t, "another switch", func() (bool, string) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false, err.Error()
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		io.WriteString(c, "x")
		_, err = io.ReadFull(c, make([]byte, 1)) // the old one's may be there still
		return err == nil, fmt.Sprint(err)
	})
	echoes(t, connected(t, port), 1000)
	h.output(t, "kill", "-KILL", pid)
	await(t, "the switch to leave", func() (bool, string) { s := h.switches(t); return len(s) == 0, fmt.Sprint(s) })
}

// A pVM that ends while no engine is there leaves no port behind, and so no switch.
func TestNetworkLeft(t *testing.T) {
	onlyOn(t, "hosted", "a pVM is ended by its process there")
	h := newHome(t)
	pid := h.server(t, "--net", "user", h.netImage(t), "echo", "7")
	process, err := strconv.Atoi(strings.TrimSpace(h.output(t, "ps", "--no-headers", "-o", "hostpid", pid)))
	if err != nil {
		t.Fatal(err)
	}
	h.killEngine(t)
	syscall.Kill(process, syscall.SIGKILL)
	if s := h.switches(t); len(s) != 1 {
		t.Errorf("switches %v", s)
	}
	h.output(t, "ps")
	await(t, "the switch to leave", func() (bool, string) { s := h.switches(t); return len(s) == 0, fmt.Sprint(s) })
}

// switches are the processes that are a switch of this home's engine.
func (h *home) switches(t *testing.T) (pids []int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		b, _ := os.ReadFile(file)
		if args := strings.Split(string(b), "\x00"); len(args) > 2 && args[1] == "network-switch" && strings.HasPrefix(args[2], h.dir) {
			pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// whoAnswers is what a server says to a connection until it ends it.
func whoAnswers(port string) (string, error) {
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	who, err := io.ReadAll(c)
	return string(who), err
}

// Each child has an address of its own, and a port of the family is given to all in turn that listen; who ends is left out.
func TestNetworkFamily(t *testing.T) {
	h := newHome(t)
	image, port := h.netImage(t), freePort(t)
	pid := strings.TrimSpace(h.output(t, "run", "-d", "--publish", "127.0.0.1:"+port+":9", image, "family", "9", "2"))
	h.awaitLog(t, pid, pid+" ready\n")
	addresses := map[string]string{}
	await(t, "three members", func() (bool, string) {
		out := h.output(t, "ps", "--no-headers", "-o", "pid,ip")
		clear(addresses)
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			addresses[f[0]] = f[1]
		}
		return len(addresses) == 3, out
	})
	if a := map[string]bool{}; true {
		for _, ip := range addresses {
			a[ip] = true
		}
		if len(a) != 3 {
			t.Errorf("addresses %v", addresses)
		}
	}
	asks := func() string {
		who, _ := whoAnswers(port)
		return strings.TrimSpace(who)
	}
	for range 2 {
		seen := map[string]bool{}
		await(t, "all to be asked", func() (bool, string) {
			seen[asks()] = true
			delete(seen, "")
			return len(seen) == len(addresses), fmt.Sprint(seen)
		})
		for member := range addresses {
			if member != pid {
				h.output(t, "kill", "-KILL", member)
				delete(addresses, member)
				break
			}
		}
	}
	for range 10 {
		if who := asks(); who != pid {
			t.Errorf("%q has it, want %s", who, pid)
		}
	}
}

// A child that listens as its parent did, but takes no connection, is given none.
func TestNetworkChildAsleep(t *testing.T) {
	h := newHome(t)
	port := freePort(t)
	pid := h.server(t, "--publish", "127.0.0.1:"+port+":9", h.netImage(t), "alone", "9")
	for i := range max(50/slowness, 10) {
		if who, err := io.ReadAll(connected(t, port)); err != nil || string(who) != pid+"\n" {
			t.Fatalf("connection %d: %q, %v", i, who, err)
		}
	}
}

// A parent that has its children take all connections, and never looks for one itself, is given none.
func TestNetworkPrefork(t *testing.T) {
	h := newHome(t)
	port := freePort(t)
	pid := h.server(t, "--publish", "127.0.0.1:"+port+":9", h.netImage(t), "prefork", "9", "2")
	for i := range max(50/slowness, 10) {
		if who, err := whoAnswers(port); err != nil || who == "" || who == pid+"\n" {
			t.Fatalf("connection %d: %q, %v", i, who, err)
		}
	}
}

// Who connects before a server looks for connections, or before it listens, waits: for a second, in which it does not come to listening where the
// machine is emulated and busy.
func TestNetworkLate(t *testing.T) {
	h := newHome(t)
	image := h.netImage(t)
	servers := []string{"late"}
	if slowness == 1 {
		servers = append(servers, "alone")
	}
	for _, server := range servers {
		port := freePort(t)
		pid := strings.TrimSpace(h.output(t, "run", "-d", "--publish", "127.0.0.1:"+port+":9", image, server, "9"))
		if server == "late" {
			h.awaitLog(t, pid, "ready\n")
		}
		if who, err := whoAnswers(port); err != nil || who != pid+"\n" {
			t.Errorf("%s: %q, %v", server, who, err)
		}
	}
}

// Children that listen no more get no connection even if it comes as they begin, and none keeps their parent from its own.
func TestNetworkChildrenBegin(t *testing.T) {
	h := newHome(t)
	port := freePort(t)
	pid := h.server(t, "--publish", "127.0.0.1:"+port+":9", h.netImage(t), "saver", "9")
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for i := range max(100/slowness, 10) {
				if who, err := whoAnswers(port); err != nil || who != pid+"\n" {
					t.Errorf("connection %d: %q, %v", i, who, err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// An engine that is killed while a server forks for the first time, which may move that, does not make its network deaf.
func TestNetworkEngineKilledWhileForking(t *testing.T) {
	h := newHome(t)
	image := h.netImage(t)
	for range max(12/slowness, 2) {
		port := freePort(t)
		pid := h.server(t, "--publish", "127.0.0.1:"+port+":9", image, "saver", "9")
		first := make(chan error, 1)
		c := connected(t, port) // and it forks
		go func() {
			_, err := io.ReadAll(c)
			first <- err
		}()
		time.Sleep(time.Duration(rand.IntN(3000*slowness)) * time.Microsecond)
		h.killEngine(t)
		h.output(t, "ps")
		if err := <-first; err != nil {
			t.Fatal(err)
		}
		if who, err := io.ReadAll(connected(t, port)); err != nil || string(who) != pid+"\n" {
			t.Fatalf("%q, %v", who, err)
		}
		h.output(t, "kill", "-KILL", "--tree", pid)
	}
}

// What cannot be is refused before anything runs, and leaves nothing.
func TestNetworkRefused(t *testing.T) {
	h := newHome(t)
	image, port := h.netImage(t), freePort(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--net", "wire"}, "--net wire: none, user or bridge=NAME"},
		{[]string{"--net", "none", "--publish", "80:80"}, "with --net user alone"},
		{[]string{"--publish", "80"}, "must be [ADDR:]HOST:PORT"},
		{[]string{"--publish", "0:80"}, "must be [ADDR:]HOST:PORT"},
		{[]string{"--publish", "8080:70000"}, "must be [ADDR:]HOST:PORT"},
		{[]string{"--publish", "example:8080:80"}, "must be [ADDR:]HOST:PORT"},
		{[]string{"--publish", "8080:80/sctp"}, "must be [ADDR:]HOST:PORT[/tcp|/udp]"},
		{[]string{"--publish", "8080:80", "--publish", "8080:81"}, "is given twice"},
		{[]string{"--publish", "8080:80", "--publish", "8080:81/tcp"}, "is given twice"},
	} {
		out, errs, code := h.run(t, append(append([]string{"run", "-d"}, c.args...), image, "echo", "7")...)
		if code != 2 || !strings.Contains(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: status %d\n%s%s, want %q", c.args, code, out, errs, c.want)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused := func(want string) {
		t.Helper()
		_, errs, code := h.run(t, "run", "-d", "--publish", "127.0.0.1:"+port+":7", image, "echo", "7")
		if code != 1 || !strings.Contains(errs, want) {
			t.Errorf("status %d\n%s, want %q", code, errs, want)
		}
	}
	refused("address already in use")
	l.Close()
	pid := h.server(t, "--publish", "127.0.0.1:"+port+":7", image, "echo", "7")
	refused("family " + pid + " has it")
	if out := h.output(t, "ps", "--no-headers", "-o", "pid"); strings.TrimSpace(out) != pid {
		t.Errorf("left: %s", out)
	}
	echoes(t, connected(t, port), 1000)
}
