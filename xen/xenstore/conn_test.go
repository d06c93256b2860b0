package xenstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"
)

// Random operations, alone and in transactions, do to the store what they do to a map.
func TestAgainstModel(t *testing.T) {
	s := newStored()
	c, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	rnd := rand.New(rand.NewPCG(1, 2))
	model := map[string]string{}
	path := func() string {
		p := ""
		for range 1 + rnd.IntN(3) {
			p += fmt.Sprintf("/%c", 'a'+rnd.IntN(4))
		}
		return p
	}
	some := func(m map[string]string) (reqs []request) {
		for range 1 + rnd.IntN(2*window) {
			p := path()
			if rnd.IntN(3) > 0 {
				v := strings.Repeat("v", rnd.IntN(200))
				reqs = append(reqs, set(p, v))
				m[p] = v
				continue
			}
			reqs = append(reqs, remove(p))
			maps.DeleteFunc(m, func(k, _ string) bool { return k == p || strings.HasPrefix(k, p+"/") })
		}
		return reqs
	}
	for round := range 300 {
		switch rnd.IntN(3) {
		case 0:
			if err := c.change(0, some(model)...); err != nil {
				t.Fatal(err)
			}
		case 1:
			s.conflicts = rnd.IntN(3)
			inside := maps.Clone(model)
			reqs := some(inside)
			if err := c.transaction(func(tx uint32) error { return c.change(tx, reqs...) }); err != nil {
				t.Fatal(err)
			}
			model = inside
		case 2: // one that is given up
			stop := errors.New("stop")
			reqs := some(map[string]string{})
			err := c.transaction(func(tx uint32) error {
				if err := c.change(tx, reqs...); err != nil {
					return err
				}
				return stop
			})
			if err != stop {
				t.Fatal(err)
			}
		}
		if got := s.content(); !maps.Equal(got, model) {
			t.Fatalf("round %d: %v\nwant %v", round, got, model)
		}
		paths := slices.Collect(maps.Keys(model))
		paths = append(paths, "/nothing")
		values, err := c.read(0, paths...)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range paths {
			if values[i] != model[p] {
				t.Fatalf("%s: %q, want %q", p, values[i], model[p])
			}
		}
	}
}

func TestTransactionGivesUp(t *testing.T) {
	s := newStored()
	c, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	s.conflicts = conflicts
	if err := c.transaction(func(uint32) error { return nil }); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("%d conflicts: %v", conflicts, err)
	}
}

// A list comes in parts, whatever their size, and begins anew when it changes in between.
func TestList(t *testing.T) {
	for _, partMax := range []int{64, 100, payloadMax} {
		s := newStored()
		s.partMax = partMax
		var want []string
		for i := range 1000 {
			want = append(want, fmt.Sprintf("%05d", i))
			s.tree["/vm/"+want[i]+"/name"] = "x"
		}
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		c.patience = 20 * time.Second // for hundreds of parts, on a busy machine
		got, err := c.list("/vm")
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("parts of %d: %d names, %v", partMax, len(got), err)
		}
		if got, err := c.list("/none"); err != nil || got != nil {
			t.Errorf("no such folder: %v, %v", got, err)
		}
		c.close()
	}
}

// script answers each request with what it is given, and hears everything.
func script(t *testing.T, answers ...[]byte) *conn {
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	go io.Copy(io.Discard, there)
	go func() {
		for _, a := range answers {
			if _, err := there.Write(a); err != nil {
				return
			}
		}
		there.Close()
	}()
	return newConn(here)
}

func encoded(t *testing.T, m message) []byte {
	b, err := m.encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is not the protocol is an error, soon, and no panic.
func TestProtocolErrors(t *testing.T) {
	ok := message{op: opRead, body: []byte("value")}
	long := encoded(t, ok)
	long[12], long[13] = 0xff, 0xff
	for name, answer := range map[string][]byte{
		"end":                 {},
		"half a header":       encoded(t, ok)[:7],
		"half a body":         encoded(t, ok)[:headerSize+2],
		"too long":            long,
		"another request's":   encoded(t, message{op: opRead, req: 7}),
		"another transaction": encoded(t, message{op: opRead, tx: 7}),
		"another operation":   encoded(t, message{op: opWrite}),
		"a watch event":       encoded(t, message{op: 15}),
		"unknown error":       encoded(t, message{op: opError, body: []byte("EWHAT\x00")}),
	} {
		if _, err := script(t, answer).read(0, "/a"); err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q", name, err)
		}
	}
	if v, err := script(t, encoded(t, ok)).read(0, "/a"); err != nil || v[0] != "value" {
		t.Errorf("the protocol itself: %q, %v", v, err)
	}
	for _, p := range []string{"", "/", "a", "/a/", "/a//b", "/a b", "/a\x00b", "/ä", "/" + strings.Repeat("a", pathMax)} {
		if _, err := script(t).read(0, p); err == nil {
			t.Errorf("path %.20q is taken", p)
		}
		if err := script(t).change(0, set(p, "x")); err == nil {
			t.Errorf("path %.20q is written", p)
		}
	}
	if err := script(t).change(0, set("/a", strings.Repeat("x", payloadMax))); err == nil {
		t.Error("a message longer than the protocol allows")
	}
}

// A xenstored that does not answer is waited for no longer than patience.
func TestHang(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	go io.Copy(io.Discard, there)
	begin := time.Now()
	if _, err := greet(newConn(here)); err == nil || time.Since(begin) > 20*patience {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// When xenstored falls silent in the middle of a transaction, that is said, and late replies are taken for no others.
func TestSilence(t *testing.T) {
	s := newStored()
	c, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	c.patience = 50 * time.Millisecond
	err = c.transaction(func(tx uint32) error {
		s.with(func() { s.hang = true })
		err := c.change(tx, set("/a", "b"))
		s.with(func() { s.hang = false })
		return err
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if _, again := c.read(0, "/a"); again == nil || again.Error() != err.Error() {
		t.Errorf("%v, after %v", again, err)
	}
}

// FuzzReadMessage: what is read is what encodes to it, however it arrives, and nothing else is read.
func FuzzReadMessage(f *testing.F) {
	b, _ := (&message{op: opRead, req: 1, tx: 2, body: []byte("/a\x00")}).encode()
	f.Add(b)
	f.Add(b[:3])
	f.Add([]byte("\x10\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := readMessage(iotest.OneByteReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		b, err := m.encode()
		if err != nil || !bytes.HasPrefix(data, b) {
			t.Errorf("%x read as %+v, which is %x (%v)", data, m, b, err)
		}
		errorOf(m.body)
	})
}

// FuzzReplies: whatever the other end sends, every operation ends.
func FuzzReplies(f *testing.F) {
	f.Add([]byte("\x16\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x001\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, op := range []func(*conn) error{
			func(c *conn) error { _, err := c.read(0, "/a", "/b"); return err },
			func(c *conn) error { _, err := c.list("/a"); return err },
			func(c *conn) error { return c.transaction(func(tx uint32) error { return c.change(tx, remove("/a")) }) },
		} {
			c := newConn(deaf{bytes.NewReader(data)})
			op(c)
		}
	})
}

// deaf hears nothing and says what it has to say.
type deaf struct{ io.Reader }

func (deaf) Write(p []byte) (int, error) { return len(p), nil }
func (deaf) Close() error                { return nil }
func (deaf) SetDeadline(time.Time) error { return nil }
