package netswitch

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/engine/porttest"
	"kxsh/ipc/netif"
)

// TestLossyGuest holds that bytes and ends arrive though the pVM loses frames, as one that is short of memory does.
func TestLossyGuest(t *testing.T) {
	s := newSwitch(t, Config{})
	g := newGuest(t, 1, "lossy")
	r := rand.New(rand.NewPCG(1, 2))
	var lost atomic.Int32
	g.lose = func() bool {
		lose := r.IntN(20) == 0
		if lose {
			lost.Add(1)
		}
		return lose
	}
	g.start()
	if err := s.Add(g.port); err != nil {
		t.Fatal(err)
	}
	g.serve(80, hash)
	address := porttest.Free(t)
	if err := s.Publish(Publication{Address: address, Targets: []Target{{1, 80}}}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if err := exchange(c.(*net.TCPConn), uint64(i), 100_000); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if lost.Load() == 0 {
		t.Error("nothing was lost")
	}
	eventually(t, "the lines have ended", func() bool { return s.lines() == 0 && s.timed() == 0 })
}

// rawGuest is a pVM whose TCP is the test itself, with a line to it.
type rawGuest struct {
	*guest
	sw    *Switch
	ends  ends
	heard chan segment
	host  *net.TCPConn // the line's other side
	line  *line
	last  segment // the switch's last
	seq   uint32  // ours
}

const rawISN = 1<<32 - 20 // its numbers soon begin anew

// newRawGuest answers the SYN of a connection of the host with those options and window.
func newRawGuest(t *testing.T, window uint16) *rawGuest {
	t.Helper()
	s := newSwitch(t, Config{})
	g := &rawGuest{guest: newGuest(t, 1, "raw"), sw: s, heard: make(chan segment, 1000), seq: rawISN}
	g.ends = ends{fromMAC: g.port.MAC, toMAC: s.mac, from: g.port.IP, to: s.ip}
	g.recv = func(frame []byte) {
		if p, ok := parseSegment(bytes.Clone(frame)); ok {
			g.heard <- p
		}
	}
	g.run()
	if err := s.Add(g.port); err != nil {
		t.Fatal(err)
	}
	address := porttest.Free(t)
	if err := s.Publish(Publication{Address: address, Targets: []Target{{1, 80}}}); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	g.host = c.(*net.TCPConn)
	g.host.SetDeadline(time.Now().Add(time.Minute))
	syn := g.next()
	if syn.flags != flagSYN {
		t.Fatalf("first comes %+v", syn)
	}
	g.segment(segment{seq: rawISN - 1, ack: syn.seq + 1, flags: flagSYN | flagACK, window: window, mss: lineMSS, scale: 0})
	for g.next(); g.last.flags&flagSYN != 0; g.next() { // one more, if the answer took a while
	}
	for _, l := range s.ports[1].relay.all() {
		g.line = l
	}
	return g
}

func (g *rawGuest) next() segment {
	g.t.Helper()
	select {
	case g.last = <-g.heard:
	case <-time.After(time.Minute):
		g.t.Fatal("no segment comes")
	}
	return g.last
}

// fresh is the next that does not only repeat data that has come: what is acknowledged late is sent again.
func (g *rawGuest) fresh() segment {
	g.t.Helper()
	end := g.last.seq + uint32(len(g.last.data))
	for g.next(); len(g.last.data) > 0 && int32(g.last.seq+uint32(len(g.last.data))-end) <= 0; g.next() {
	}
	return g.last
}

// segment sends one, between the ends of the last that came.
func (g *rawGuest) segment(s segment) {
	s.from, s.to = g.last.to, g.last.from
	var f [netif.MaxFrame]byte
	g.send(g.ends.frame(&f, &s))
}

// say sends data after what was said.
func (g *rawGuest) say(flags byte, text string) {
	g.segment(segment{seq: g.seq, ack: g.last.seq + uint32(len(g.last.data)), flags: flagACK | flags, window: 1000, data: []byte(text)})
	g.seq += uint32(len(text))
}

func (g *rawGuest) hostReads(want string) {
	g.t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(g.host, got); err != nil || string(got) != want {
		g.t.Fatalf("the host reads %q, %v, and not %q", got, err, want)
	}
}

// TestLineHears holds what the host gets of segments that are repeated, overlap, come too early, or cannot be, and that what
// acknowledges more than was sent, or resets from nowhere, changes nothing.
func TestLineHears(t *testing.T) {
	g := newRawGuest(t, 1000)
	g.say(0, "abc")
	g.hostReads("abc")
	g.seq -= 2
	g.say(0, "bcdef") // two of them again
	g.hostReads("def")
	g.seq += 3
	g.say(0, "jkl") // too early
	g.seq -= 6
	for g.next(); g.last.ack != g.seq; g.next() {
	}
	g.segment(segment{seq: g.seq + lineBuffer + 1, flags: flagRST})
	g.segment(segment{seq: g.seq, ack: g.last.seq + 1, flags: flagACK, data: []byte("xxx")}) // acknowledges what was not sent
	g.segment(segment{seq: g.seq, data: []byte("xxx")})                                      // without ACK
	g.segment(segment{seq: g.seq, ack: g.last.seq, flags: flagSYN | flagACK, data: []byte("xxx")})
	g.say(0, "ghi")
	g.say(flagFIN, "jkl")
	g.hostReads("ghijkl")
	if n, err := g.host.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
	g.host.Write([]byte("last words"))
	for g.next(); len(g.last.data) == 0; g.next() {
	}
	if string(g.last.data) != "last words" || g.last.ack != g.seq+1 {
		t.Errorf("after its end it hears %+v", g.last)
	}
	g.segment(segment{seq: g.seq + 1, flags: flagRST})
	if _, err := g.host.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	eventually(t, "the line has ended", func() bool { return g.sw.lines() == 0 })
}

// TestLineReset holds that the host hears of a reset.
func TestLineReset(t *testing.T) {
	g := newRawGuest(t, 1000)
	g.segment(segment{seq: g.seq, flags: flagRST})
	if _, err := g.host.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

// TestLineLastWords holds that the host reads what a pVM has said before it resets a connection, as a server does that has not read all.
func TestLineLastWords(t *testing.T) {
	for range 20 {
		g := newRawGuest(t, 1000)
		g.say(0, "goodbye")
		g.segment(segment{seq: g.seq, flags: flagRST})
		got := make([]byte, 7)
		if _, err := io.ReadFull(g.host, got); err != nil || string(got) != "goodbye" {
			t.Fatalf("%q, %v", got, err)
		}
		if _, err := g.host.Read(got); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatal(err)
		}
	}
}

// TestLineWindow holds that no more is sent than the pVM takes, that what it does not answer is sent again, and that a window is found
// to be open though nobody has said so.
func TestLineWindow(t *testing.T) {
	g := newRawGuest(t, 5)
	g.host.Write([]byte("0123456789"))
	first := g.next()
	if string(first.data) != "01234" {
		t.Fatalf("%q is sent into a window of 5 bytes", first.data)
	}
	if again := g.next(); string(again.data) != "01234" || again.seq != first.seq {
		t.Fatalf("after silence comes %+v", again)
	}
	g.segment(segment{seq: g.seq, ack: first.seq + 5, flags: flagACK, window: 0})
	if probe := g.fresh(); string(probe.data) != "5" {
		t.Fatalf("a closed window is probed with %q", probe.data)
	}
	g.segment(segment{seq: g.seq, ack: first.seq + 5, flags: flagACK, window: 100})
	got := ""
	for got != "56789" {
		s := g.next()
		if at := int(s.seq - first.seq - 5); at <= len(got) {
			got = got[:at] + string(s.data)
		}
	}
}

// TestLineSlowHost holds that the pVM is told to stop when the host does not read, and to go on when it does.
func TestLineSlowHost(t *testing.T) {
	g := newRawGuest(t, 1000)
	var sent []byte
	edge := g.last.ack + uint32(g.last.window)
	for full := false; !full; {
		if room := edge - g.seq; room > 0 {
			data := random(uint64(len(sent)), int(min(room, lineMSS)))
			sent = append(sent, data...)
			g.say(0, string(data))
		}
		select {
		case g.last = <-g.heard:
			edge = g.last.ack + uint32(g.last.window)
		case <-time.After(100 * time.Millisecond):
			full = edge == g.seq
		}
		if len(sent) > 64<<20 {
			t.Fatal("the window never closes")
		}
	}
	g.line.mu.Lock()
	if n := g.line.back.len(); n > lineBuffer {
		t.Errorf("%d bytes are held", n)
	}
	g.line.mu.Unlock()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(g.host, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatal("the host has read other bytes than were sent:", err)
	}
	for g.last.window == 0 {
		g.next()
	}
}

// TestLineDelay holds that an acknowledgement waits longer once bytes have come after it, and no longer when the pVM has waited for it.
func TestLineDelay(t *testing.T) {
	g := newRawGuest(t, 1000)
	delay := func() time.Duration {
		g.line.mu.Lock()
		defer g.line.mu.Unlock()
		return g.line.delay
	}
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 40, 40} {
		g.say(0, "answer")
		if ack := g.fresh(); len(ack.data) != 0 || ack.ack != g.seq {
			t.Fatalf("acknowledged with %+v", ack)
		}
		g.host.Write([]byte("question"))
		if g.fresh(); string(g.last.data) != "question" || delay() != want*time.Millisecond {
			t.Fatalf("%+v comes; the next acknowledgement waits for %v, and not %d ms", g.last, delay(), want)
		}
	}
	g.say(0, "head")
	g.fresh()
	g.say(0, "body")
	if g.next(); g.last.ack != g.seq || delay() != ackDelay {
		t.Errorf("%+v comes; the next waits for %v", g.last, delay())
	}
}

// TestLineSaid holds that two segments are acknowledged at once if there is more behind them or much was not acknowledged, and else with what goes to the pVM next; and that one which
// has waited for an acknowledgement has them at once again.
func TestLineSaid(t *testing.T) {
	g := newRawGuest(t, 1000)
	set := func(delay time.Duration) {
		g.line.mu.Lock()
		defer g.line.mu.Unlock()
		g.line.eager, g.line.delay = 0, delay
	}
	full := string(random(1, lineMSS))
	say := func(n int, flags byte) {
		for range n {
			g.say(flags, full)
		}
	}
	acknowledged := func(when string) {
		t.Helper()
		for g.next(); len(g.last.data) == 0 && g.last.ack != g.seq; g.next() {
		}
		if len(g.last.data) != 0 {
			t.Fatalf("%s: %+v comes", when, g.last)
		}
	}
	say(2, flagPSH)
	acknowledged("at the beginning")
	set(time.Minute)
	say(2, 0)
	acknowledged("there is more")
	g.say(0, full)
	g.say(flagPSH, full)
	select {
	case s := <-g.heard:
		t.Errorf("the pVM had no more to say: %+v comes", s)
	case <-time.After(50 * time.Millisecond):
	}
	g.host.Write([]byte("question"))
	if g.next(); string(g.last.data) != "question" || g.last.ack != g.seq {
		t.Errorf("%+v comes", g.last)
	}
	say(mostUntold/lineMSS+1, flagPSH)
	for g.next(); g.last.ack+mostUntold < g.seq; g.next() {
	}
	set(ackDelay)
	g.say(flagPSH, "head")
	acknowledged("after a while")
	g.say(flagPSH, "body")
	acknowledged("after a while")
	g.line.mu.Lock()
	defer g.line.mu.Unlock()
	if want := eagerBytes - len("body"); g.line.eager != want {
		t.Errorf("%d bytes are acknowledged at once, and not %d", g.line.eager, want)
	}
}

// TestLineTime holds how long a pVM may be silent: asked after lineIdle, and given up lineSilence later, sooner if it owes an answer.
func TestLineTime(t *testing.T) {
	g := newRawGuest(t, 1000)
	g.line.look(clock() + lineIdle - time.Minute)
	g.line.look(clock() + lineIdle + time.Minute)
	una := g.last.seq
	if probe := g.next(); probe.seq+1 != una || len(probe.data) != 0 {
		t.Errorf("it is asked with %+v", probe)
	}
	g.line.look(clock() + lineIdle + lineSilence + time.Minute)
	if s := g.next(); s.flags&flagRST == 0 {
		t.Errorf("it is given up with %+v", s)
	}
	if _, err := g.host.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
	g = newRawGuest(t, 1000)
	g.host.Write([]byte("question"))
	g.next()
	g.line.look(clock() + lineSilence + time.Minute)
	if _, err := g.host.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

// TestLineTidies holds that a line that is given up, or whose socket could not be had, leaves nothing behind.
func TestLineTidies(t *testing.T) {
	s := newSwitch(t, Config{})
	g := newGuest(t, 1, "mute").run()
	if err := s.Add(g.port); err != nil {
		t.Fatal(err)
	}
	p := s.ports[1]
	if _, err := p.reach(80, 10*time.Millisecond); !errors.Is(err, errNotTaken) {
		t.Error(err)
	}
	l := newLine(p, 80)
	l.release, _ = p.conns.take(&p.conns.tcp, maxConns, l.end)
	p.lines.add(l)
	p.relay.add(l)
	l.state = lineOpen
	l.join(-1)
	if n, _ := p.conns.count(); n != 0 || s.lines() != 0 || len(p.lines.byEnds) != 0 || s.timed() != 0 {
		t.Errorf("left: %d connections, %d lines, %d ends, %d deadlines", n, s.lines(), len(p.lines.byEnds), s.timed())
	}
}

// FuzzLine has a pVM say anything to a line: what is kept stays within bounds, and nothing is sent that was not there.
func FuzzLine(f *testing.F) {
	f.Add([]byte{flagACK, 0, 0, 4, 1, flagACK | flagFIN, 1, 0, 0, 9, flagRST, 0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{flagACK, 200, 3, 255, 255}, 20))
	f.Fuzz(func(t *testing.T, script []byte) {
		s := newSwitch(t, Config{})
		g := newGuest(t, 1, "fuzz")
		if err := s.Add(g.port); err != nil {
			t.Fatal(err)
		}
		p := s.ports[1]
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pair[1])
		l := newLine(p, 80)
		l.release, _ = p.conns.take(&p.conns.tcp, maxConns, l.end)
		p.lines.add(l)
		p.relay.add(l)
		l.state, l.window = lineOpen, 1000
		l.join(pair[0])
		unix.Write(pair[1], make([]byte, 3000))
		for ; len(script) >= 5; script = script[5:] {
			l.mu.Lock()
			say := segment{
				flags: script[0], ack: l.una + uint32(script[1]) - 8, seq: l.rcv + uint32(script[2]) - 8,
				window: uint16(script[3]) << 8, scale: noScale, data: make([]byte, int(script[4])*5),
			}
			l.mu.Unlock()
			l.hear(&say)
			l.settle()
			l.look(clock() + time.Duration(script[1])*time.Second)
			l.mu.Lock()
			if l.state != lineOver && (l.back.len() > lineBuffer || l.out.len() > lineBuffer || l.sent < 0 || l.sent > l.out.len() || l.most < l.sent || l.most > l.out.len()+1) {
				t.Errorf("back %d, out %d, sent %d, most %d", l.back.len(), l.out.len(), l.sent, l.most)
			}
			l.mu.Unlock()
		}
	})
}

// timed is the number of lines that have a deadline.
func (s *Switch) timed() (n int32) {
	for _, r := range s.relays {
		n += r.timed.Load()
	}
	return n
}
