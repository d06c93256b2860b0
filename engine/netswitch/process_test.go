package netswitch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/engine/porttest"
)

// process is the options of a switch's process in a folder of the test's, which ends with it.
func process(t testing.TB) Options {
	t.Helper()
	// Longer than a socket's path may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	o := Options{Dir: dir, Self: []string{os.Args[0]}, Gateway: gatewayNet}
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(dir, logName)); err == nil && t.Failed() {
			t.Logf("the switch's log: %s", log)
		}
	})
	return o
}

// engine connects as one does; the switch is killed at the end of the test.
func engine(t testing.TB, o Options) (*Client, State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := Dial(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	st, err := c.State()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		syscall.Kill(st.PID, syscall.SIGKILL)
	})
	return c, st
}

// TestProcess holds that connections outlive the engine, that the next one finds ports with what passed through
// them, and that ports, files and published ports go when they are told to.
func TestProcess(t *testing.T) {
	o := process(t)
	first, st := engine(t, o)
	if st.Gateway != gatewayNet || len(st.Ports) != 0 || st.PID == os.Getpid() {
		t.Errorf("%+v", st)
	}
	if fi, err := os.Stat(filepath.Join(o.Dir, socketName)); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi.Mode(), err)
	}
	files := openFiles(t, st.PID)
	a := add(t, first, 1, "a")
	b := add(t, first, 2, "b")
	b.serve(80, echo)
	address := porttest.Free(t)
	if err := first.Publish(Publication{address, []Target{{2, 80}}}); err != nil {
		t.Fatal(err)
	}
	outside, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	inside := a.mustDial(b.at(80))
	say := func(c net.Conn) {
		t.Helper()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		msg := []byte("still here")
		c.Write(msg)
		got := make([]byte, 100)
		if n, err := c.Read(got); err != nil || !bytes.Equal(got[:n], msg) {
			t.Errorf("%q, %v", got[:n], err)
		}
	}
	say(outside)
	say(inside)
	if err := first.Add(a.port); err == nil || !strings.Contains(err.Error(), "port 1: is there already") {
		t.Error(err)
	}
	first.Close()
	if _, err := first.State(); !errors.Is(err, ErrGone) {
		t.Error("a closed client:", err)
	}
	time.Sleep(IdleGrace + time.Second) // the switch stays: it has ports
	say(outside)
	say(inside)
	second, again := engine(t, o)
	if again.PID != st.PID || len(again.Ports) != 2 || again.Ports[1].Received.Frames == 0 || again.Ports[1].Connections != 1 || len(again.Published) != 1 {
		t.Errorf("%+v", again)
	}
	eventually(t, "the same traffic in both ways", func() bool { // a last acknowledgement may come between
		st, err := second.State()
		if err != nil {
			t.Fatal(err)
		}
		traffic, err := second.Traffic()
		if err != nil || len(traffic) != 2 {
			t.Fatalf("%v, %v", traffic, err)
		}
		return !slices.ContainsFunc(traffic, func(of Traffic) bool {
			p := st.Ports[of.ID-1]
			return of.Sent != p.Sent || of.Received != p.Received || of.Dropped != p.Dropped
		})
	})
	say(outside)
	if err := second.SetEvents(1, a.port.Events); err != nil {
		t.Error(err)
	}
	say(inside)
	if err := second.Unpublish(address); err != nil {
		t.Error(err)
	}
	outside.Close()
	for _, id := range []int{1, 2} {
		if err := second.Remove(id); err != nil {
			t.Error(err)
		}
	}
	if err := second.Remove(2); err == nil || err.Error() != "port 2: there is none" {
		t.Error(err)
	}
	eventually(t, "its descriptors are closed", func() bool { return openFiles(t, st.PID) <= files })
	second.Close()
	left(t, o, st)
}

// TestProcessOfDead holds that a switch whose engine was killed, and then its pVMs, does not stay.
func TestProcessOfDead(t *testing.T) {
	o := process(t)
	e, st := engine(t, o)
	g := newGuest(t, 1, "a")
	pVM := exec.Command("sleep", "60")
	if err := pVM.Start(); err != nil {
		t.Fatal(err)
	}
	defer pVM.Wait()
	defer pVM.Process.Kill()
	fd, err := unix.PidfdOpen(pVM.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	g.port.Events.Process.Close()
	g.port.Events.Process = os.NewFile(uintptr(fd), "pidfd")
	if err := e.Add(g.port); err != nil {
		t.Fatal(err)
	}
	e.Close()
	time.Sleep(IdleGrace + time.Second)
	if syscall.Kill(st.PID, 0) != nil {
		t.Fatal("the switch has left a pVM")
	}
	pVM.Process.Kill()
	left(t, o, st)
}

// left waits until a switch has left.
func left(t *testing.T, o Options, st State) {
	t.Helper()
	eventually(t, "a switch that nobody needs leaves", func() bool {
		_, err := os.Stat(filepath.Join(o.Dir, socketName))
		return os.IsNotExist(err) && syscall.Kill(st.PID, 0) != nil
	})
}

// TestSpare holds that a switch leaves at once when an engine has said that none is to come, unless one comes.
func TestSpare(t *testing.T) {
	o := process(t)
	first, st := engine(t, o)
	if err := first.Spare(); err != nil {
		t.Fatal(err)
	}
	second, again := engine(t, o)
	first.Close()
	time.Sleep(time.Second)
	if now, err := second.State(); err != nil || now.PID != st.PID || again.PID != st.PID {
		t.Errorf("%+v, %v, want the first one", now, err)
	}
	second.Spare()
	second.Close()
	begin := time.Now()
	left(t, o, st)
	if took := time.Since(begin); took >= IdleGrace {
		t.Errorf("it has left after %v", took)
	}
}

func openFiles(t *testing.T, pid int) int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestProcessKilled holds that an engine hears of it, and that the next switch takes the ports as they are.
func TestProcessKilled(t *testing.T) {
	o := process(t)
	c, st := engine(t, o)
	a, b := add(t, c, 1, "a"), add(t, c, 2, "b")
	b.serve(80, hash)
	if err := exchange(a.mustDial(b.at(80)), 1, 1<<20); err != nil {
		t.Fatal(err)
	}
	// In the middle of a transfer: requests are taken and not answered, and answered and not seen.
	done := make(chan error)
	conn := a.mustDial(b.at(80))
	go func() { done <- exchange(conn, 2, 16<<20) }()
	time.Sleep(20 * time.Millisecond)
	syscall.Kill(st.PID, syscall.SIGKILL)
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the engine has not heard of it")
	}
	if err := c.Add(a.port); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
	next, now := engine(t, o)
	if now.PID == st.PID || len(now.Ports) != 0 {
		t.Errorf("%+v", now)
	}
	for _, g := range []*guest{a, b} {
		if err := next.Add(g.port); err != nil {
			t.Fatal(err)
		}
	}
	// Between pVMs nothing of a connection is in the switch: it goes on.
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestProcessAtOnce holds that engines that come at once have one switch, and that another gateway is refused.
func TestProcessAtOnce(t *testing.T) {
	o := process(t)
	var wg sync.WaitGroup
	pids := make([]int, 8)
	for i := range pids {
		wg.Go(func() {
			c, err := Dial(context.Background(), o)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			st, err := c.State()
			if err != nil {
				t.Error(err)
			}
			pids[i] = st.PID
		})
	}
	wg.Wait()
	defer syscall.Kill(pids[0], syscall.SIGKILL)
	for _, pid := range pids {
		if pid != pids[0] {
			t.Error("switches:", pids)
		}
	}
	other := o
	other.Loopback = true
	if _, err := Dial(context.Background(), other); err == nil || !strings.Contains(err.Error(), "one runs with gateway 10.88.0.1/16 and loopback false: end all pVMs") {
		t.Error(err)
	}
}

// TestProcessFails holds what is said of a switch that cannot start, and of a client that speaks nonsense.
func TestProcessFails(t *testing.T) {
	o := process(t)
	o.Self = []string{"/bin/false"}
	if _, err := Dial(context.Background(), o); err == nil || !strings.Contains(err.Error(), "it ended at once: see ") {
		t.Error(err)
	}
	o.Self = []string{"/does/not/exist"}
	if _, err := Dial(context.Background(), o); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(o.Dir, socketName)); !os.IsNotExist(err) {
		t.Error("a socket is left:", err)
	}
	relative := o
	relative.Dir = "network"
	if _, err := Dial(context.Background(), relative); err == nil || !strings.Contains(err.Error(), "must be an absolute path") {
		t.Error(err)
	}
	if Main([]string{"/tmp"}) == 0 {
		t.Error("a switch by hand")
	}
	o.Self = []string{os.Args[0]}
	c, _ := engine(t, o)
	dir, err := os.Open(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for name, line := range map[string]string{
		"no JSON":          "hello\n",
		"a line too long":  strings.Repeat("x", 2*maxLine),
		"too many files":   "",
		"files, not asked": `{"op":"state"}` + "\n",
	} {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		var rights []byte
		if strings.Contains(name, "files") {
			rights = unix.UnixRights(0, 1, 2, 0)
		}
		if line == "" {
			conn.WriteMsgUnix([]byte(" "), rights, nil)
			line = " "
		}
		conn.WriteMsgUnix([]byte(line), rights, nil)
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 1000)
		n, err := conn.Read(buf)
		if err == nil && !strings.Contains(string(buf[:n]), `"error"`) {
			t.Errorf("%s: %q", name, buf[:n])
		}
		conn.Close()
	}
	if _, err := c.State(); err != nil {
		t.Error("another client:", err)
	}
}

// TestReceiver holds that requests are taken apart however they arrive, with the files that came with each.
func TestReceiver(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
		defer c.Close()
	}
	g := newGuest(t, 7, "g")
	events := g.port.Events
	go func() {
		for _, q := range []*request{{Op: "add", Port: &g.port}, {Op: "state"}, {Op: "events", ID: 7, Events: &events}} {
			if err := q.send(ends[0]); err != nil {
				t.Error(err)
			}
		}
		for _, c := range `{"op":"remove","id":7}` + "\n" {
			ends[0].Write([]byte{byte(c)})
		}
		ends[0].Close()
	}()
	r := &receiver{conn: ends[1]}
	for _, want := range []string{"add", "state", "events", "remove"} {
		q, err := r.next()
		if err != nil || q.Op != want {
			t.Fatal(want, q, err)
		}
		for _, f := range q.files() {
			if *f == nil {
				t.Error(want, "without a file")
			}
		}
		if want == "add" && (q.Port.MAC != g.port.MAC || q.Port.IP != g.port.IP || q.Port.Events.SeqOffset != events.SeqOffset) {
			t.Errorf("%+v", q.Port)
		}
		q.close()
	}
	if q, err := r.next(); q != nil || err == nil {
		t.Error(q, err)
	}
}
