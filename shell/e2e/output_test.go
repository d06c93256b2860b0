package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"testing"
	"time"
)

// output is what a program has written so far, for a test that waits for more of it.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	seen int // what expect has matched already
	wake chan struct{}
}

func newOutput() *output { return &output{wake: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return len(p), nil
}

// String is everything so far, without a terminal's escape sequences.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return escape.ReplaceAllString(o.buf.String(), "")
}

// expect waits until re matches what came after earlier matches, and returns its groups.
func (o *output) expect(t testing.TB, re string) []string {
	t.Helper()
	want := regexp.MustCompile(re)
	end := time.After(patience)
	for {
		text := o.String()
		rest := text[min(o.seen, len(text)):]
		if m := want.FindStringSubmatchIndex(rest); m != nil {
			o.seen += m[1]
			return want.FindStringSubmatch(rest)
		}
		select {
		case <-o.wake:
		case <-end:
			const shown = 1000 // a long one hides other tests'
			t.Fatalf("%q does not appear; after the last match, the end of %d bytes:\n%s", re, len(rest), rest[max(0, len(rest)-shown):])
		}
	}
}

// session is a kxsh that goes on while the test does something else.
type session struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  *output // standard output
	errs *output
	done chan struct{}
}

// start starts kxsh in the background, without standard input.
func (h *home) start(t testing.TB, args ...string) *session {
	t.Helper()
	return h.startInput(t, nil, args...)
}

// startInput is start with a standard input.
func (h *home) startInput(t testing.TB, stdin *os.File, args ...string) *session {
	t.Helper()
	s := &session{t: t, cmd: h.command(args...), out: newOutput(), errs: newOutput(), done: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.errs
	if stdin != nil {
		s.cmd.Stdin = stdin
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		s.cmd.Wait()
		close(s.done)
	}()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		<-s.done
	})
	return s
}

func (s *session) expect(re string) []string {
	s.t.Helper()
	return s.out.expect(s.t, re)
}

// exit waits for its end.
func (s *session) exit(want int) {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(patience):
		s.t.Fatalf("%q does not end; so far:\n%s%s", s.cmd.Args, s.out, s.errs)
	}
	if got := s.cmd.ProcessState.ExitCode(); got != want {
		s.t.Errorf("%q: exit status %d, want %d\n%s%s", s.cmd.Args, got, want, s.out, s.errs)
	}
}
