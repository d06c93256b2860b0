package e2e

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kxsh/engine"
)

// streams is a family of testdata/fork/streams.c whose parent is in the foreground and has a standard input.
type streams struct {
	*home
	*session
	typed    *os.File
	root     int
	children []int
}

func (h *home) streams(t *testing.T, image, mode string) *streams {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Cleanup(func() { w.Close() })
	s := &streams{home: h, typed: w, session: h.startInput(t, r, "run", "-i", "-m", "16M", "--name", mode, image, mode)}
	await(t, "its children", func() (bool, string) {
		var all []engine.Process
		unmarshal(t, h.output(t, "ps", "--json"), &all)
		s.children = nil
		for _, p := range all {
			switch {
			case p.Name != mode:
			case p.PID == p.Family:
				s.root = p.PID
			default:
				s.children = append(s.children, p.PID)
			}
		}
		return s.root != 0 && len(s.children) == 2, fmt.Sprintf("%+v", all)
	})
	return s
}

func (s *streams) tell(t *testing.T, pid int) {
	t.Helper()
	s.output(t, "kill", "-USR1", strconv.Itoa(pid))
}

func (s *streams) pipe(t *testing.T, from, to int) int {
	t.Helper()
	return number(t, s.output(t, "pipe", strconv.Itoa(from), strconv.Itoa(to)))
}

func TestPipeOfRunning(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "streams")
	t.Run("read", func(t *testing.T) { h.pipeToSleeper(t, image, "read") })
	t.Run("poll", func(t *testing.T) { h.pipeToSleeper(t, image, "poll") })
	t.Run("engine", func(t *testing.T) { h.pipeAfterEngine(t, image) })
	t.Run("refused", func(t *testing.T) { h.pipeRefused(t, image) })
}

// A parent that sits in read or poll of its console reads what a child writes, then another child's, then the end.
func (h *home) pipeToSleeper(t *testing.T, image, mode string) {
	s := h.streams(t, image, mode)
	s.expect(`ready\n`)
	s.expect(`ready\n`)
	fmt.Fprintln(s.typed, "typed")
	s.errs.expect(t, `6 bytes, sum \d+\n`)

	first := s.pipe(t, s.children[0], s.root)
	list := []engine.SharedObject{}
	unmarshal(t, h.output(t, "ipcs", "-p", "-F", strconv.Itoa(s.root), "--json"), &list)
	if len(list) != 1 || list[0].ID != first || !slices.Equal(list[0].Writers, s.children[:1]) || !slices.Equal(list[0].Readers, []int{s.root}) {
		t.Errorf("pipe %d, listed %+v", first, list)
	}
	fmt.Fprintln(s.typed, "no more")
	s.tell(t, s.children[0])
	s.errs.expect(t, `^100001 bytes, sum 12000010\n`)

	// Another one's instead, and the first has no reader any more.
	s.pipe(t, s.children[1], s.root)
	s.tell(t, s.children[1])
	s.errs.expect(t, `^100001 bytes, sum 12000010\n`)
	s.tell(t, s.children[0])
	if out := h.output(t, "-c", fmt.Sprintf("wait %d; echo $?", s.children[0])); out != "141\n" {
		t.Errorf("without a reader: %s", out)
	}
	h.output(t, "kill", "-KILL", strconv.Itoa(s.children[1]))
	s.errs.expect(t, `^end\n`)
	s.exit(0)
}

// A writer's console becomes a pipe while it writes, and no line is lost; the next engine finds it so. Its reader's end is its own.
func (h *home) pipeAfterEngine(t *testing.T, image string) {
	s := h.streams(t, image, "pour")
	s.expect(`line 5\n`)
	s.pipe(t, s.root, s.children[0])
	await(t, "a rate of what goes through its pipe", func() (bool, string) {
		var d engine.Detail
		unmarshal(t, h.output(t, "inspect", "--json", strconv.Itoa(s.root)), &d)
		if len(d.Shares) != 1 || d.Shares[0].Kind != engine.KindPipe || d.Shares[0].Rate == nil || d.Shares[0].TotalBytes < d.Shares[0].Bytes {
			t.Fatalf("what goes through its pipe: %+v", d.Shares)
		}
		return *d.Shares[0].Rate > 0, fmt.Sprint(d.Shares)
	})
	before := h.output(t, "logs", strconv.Itoa(s.root))
	h.killEngine(t)
	s.tell(t, s.children[0])
	log := ""
	await(t, "one line that was piped", func() (bool, string) {
		log = h.output(t, "logs", strconv.Itoa(s.root))
		return strings.Count(log, "\n") == strings.Count(before, "\n")+1, log
	})
	i := 0
	for line := range strings.Lines(log) {
		if line != fmt.Sprintf("line %d\n", i) {
			t.Fatalf("line %d of the log: %q", i, line)
		}
		i++
	}
	h.output(t, "kill", "-KILL", strconv.Itoa(s.children[0]))
	s.exit(141)
	h.output(t, "kill", "-KILL", strconv.Itoa(s.children[1]))
}

// What cannot be connected is refused in one line, and is as before.
func (h *home) pipeRefused(t *testing.T, image string) {
	s, other := h.streams(t, image, "read"), h.streams(t, image, "poll")
	a, b, stranger := s.root, s.children[0], other.children[0]
	h.run(t, "-c", "kill -KILL $0; wait $0", strconv.Itoa(s.children[1]))
	for _, r := range []struct {
		before   string
		from, to int
		want     string
	}{
		{"", a, a, fmt.Sprintf("(%d): would read what it writes itself: name two pVMs", a)},
		{"", b, stranger, fmt.Sprintf("%d and %d are of different families", b, stranger)},
		{"", 30000, a, "(30000): no such pVM"},
		{"", b, 0, "(0): the host itself, no pVM"},
		{"", s.children[1], a, fmt.Sprintf("(%d): no such pVM", s.children[1])},
		{"", b, s.children[1], fmt.Sprintf("(%d): no such pVM", s.children[1])},
		{"kill -STOP $0; ", b, a, fmt.Sprintf("(%d): is stopped: kill -CONT %d first", b, b)},
		{"kill -CONT $0; kill -STOP $1; ", b, a, fmt.Sprintf("(%d): is stopped: kill -CONT %d first", a, a)},
	} {
		_, errs, code := h.run(t, "-c", r.before+`pipe $0 $1`, strconv.Itoa(r.from), strconv.Itoa(r.to))
		if code != 1 || errs != "pipe: "+r.want+"\n" {
			t.Errorf("%d to %d: status %d: %s", r.from, r.to, code, errs)
		}
	}
	h.output(t, "kill", "-CONT", strconv.Itoa(a))
	if out := h.output(t, "ipcs", "-p", "--no-headers"); out != "" {
		t.Errorf("left: %s", out)
	}
	fmt.Fprintln(s.typed, "still here")
	s.errs.expect(t, `11 bytes`)
	s.pipe(t, b, a)
	s.tell(t, b)
	s.errs.expect(t, `100001 bytes`)
}
