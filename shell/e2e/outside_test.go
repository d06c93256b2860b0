package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kxsh/engine"
)

// sharing is a family of testdata/fork/outside.c.
type sharing struct {
	*home
	root, child         int
	queue, set, segment string
}

func (h *home) share(t *testing.T, image string) *sharing {
	t.Helper()
	s := &sharing{home: h, root: h.launch(t, image)}
	await(t, "numbers of what it shares", func() (bool, string) {
		out := h.output(t, "logs", strconv.Itoa(s.root))
		n, _ := fmt.Sscan(out, &s.queue, &s.set, &s.segment)
		return n == 3, out
	})
	s.child = child(t, h.awaitMembers(t, s.root, 2), s.root)
	return s
}

// in adds the family to a command that needs it.
func (s *sharing) in(command string, args ...string) []string {
	return append([]string{command, "-F", strconv.Itoa(s.root)}, args...)
}

// ask has the parent do something, and returns its answer.
func (s *sharing) ask(t *testing.T, what string) string {
	t.Helper()
	out := s.output(t, "-c", `msgsnd -F "$@" 1 "$0" && msgrcv -F "$@" -t 2`, what, strconv.Itoa(s.root), s.queue)
	return strings.TrimSuffix(out, "\n")
}

func (s *sharing) list(t *testing.T, flags ...string) (list []engine.SharedObject) {
	t.Helper()
	unmarshal(t, s.output(t, s.in("ipcs", append(flags, "--json")...)...), &list)
	return list
}

// What a family shares is the same from outside as for its members, and is used from there; another family has its own.
func TestSharedFromOutside(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "outside")
	s := h.share(t, image)

	// Seen.
	s.output(t, "msgsnd", s.queue, "7", "twelve bytes")
	var list []engine.SharedObject
	await(t, "five bytes in a pipe", func() (bool, string) {
		list = s.list(t)
		i := slices.IndexFunc(list, func(o engine.SharedObject) bool { return o.Kind == engine.KindPipe })
		return i >= 0 && list[i].Bytes == 5, fmt.Sprintf("%+v", list)
	})
	for _, o := range list {
		ok := false
		switch o.Kind {
		case engine.KindPipe:
			ok = slices.Equal(o.Readers, []int{s.root}) && slices.Equal(o.Writers, []int{s.child}) && o.MaxBytes == 65536
		case engine.KindQueue:
			ok = strconv.Itoa(o.ID) == s.queue && o.Key == 77 && o.Mode == 0o600 && o.Count == 1 && o.Bytes == 12 && o.MaxBytes == 16384
		case engine.KindSemaphores:
			ok = strconv.Itoa(o.ID) == s.set && o.Key == 78 && o.Mode == 0o640 && o.Count == 3
		case engine.KindSegment:
			ok = strconv.Itoa(o.ID) == s.segment && o.Key == 79 && o.Bytes == 5000 && o.Count == 2 && o.Maker == s.root &&
				len(o.Readers) == 2 && slices.Contains(o.Readers, s.child)
		}
		if !ok {
			t.Errorf("%+v", o)
		}
	}
	if len(list) != 4 {
		t.Errorf("all: %+v", list)
	}
	if got := s.ask(t, "count"); got != "1 1 1 1 12" {
		t.Errorf("it counts %s", got)
	}
	if out := s.output(t, "inspect", strconv.Itoa(s.child)); strings.Count(out, "\nshares") != 2 ||
		!strings.Contains(out, fmt.Sprintf(", 5 of 65536 bytes, by %d > %d, 5 so far, 0/s\n", s.child, s.root)) {
		t.Errorf("inspect: %s", out)
	}

	// Used.
	if got := s.ask(t, "text "+strings.Repeat("abc", 300)); got != strings.Repeat("cba", 300) {
		t.Errorf("backwards: %s", got)
	}
	out, errs, _ := h.run(t, "-c", `printf 'from outside\0' | shmwrite $1 0; msgsnd $0 1 memory; msgrcv -t 2 $0; shmread $1 5 7; echo; shmread $1 | wc -c
		shmwrite $1 4999 xx; echo $?; msgrcv -n -t 3 $0; echo $?`, s.queue, s.segment)
	compare(t, out, "from outside\noutside\n5000\n1\n1\n")
	compare(t, errs, fmt.Sprintf("shmwrite: (%s): the segment ends at 5000\nmsgrcv: (%s): no message\n", s.segment, s.queue))
	made := strings.Fields(s.output(t, "-c", `k=$(ftok / A); echo $k $(msgget -c $k) $(msgget $k)`))
	if len(made) != 3 || len(made[0]) != 10 || made[1] != made[2] {
		t.Fatalf("a key, and a queue of it: %q", made)
	}
	if got := s.ask(t, "count"); got != "2 1 1 1 12" {
		t.Errorf("it counts %s", got)
	}
	s.output(t, "ipcrm", "-Q", made[0])

	// Another family has the same keys, and numbers of its own.
	other := h.share(t, image)
	out, errs, _ = h.run(t, "-c", `msgget 77; more=$(msgget -c -F $0 private); msgsnd -F $1 $more 1 x; msgsnd -F $1 $3 3 'to the other'
		msgrcv -n -F $0 -t 3 $2; ipcs -q --no-headers | wc -l; echo $more`, strconv.Itoa(s.root), strconv.Itoa(other.root), s.queue, other.queue)
	n, more, _ := strings.Cut(out, "\n")
	compare(t, n, "3")
	compare(t, errs, fmt.Sprintf("msgget: 2 families run: say which with -F PID\nmsgsnd: (%s): family %d has no such object: ipcs lists what it has\nmsgrcv: (%s): no message\n",
		strings.TrimSpace(more), other.root, s.queue))
	h.output(t, "kill", "-KILL", "%"+strconv.Itoa(other.root))

	// Members that are stopped are not needed; if all are, that is said at once.
	out, errs, _ = h.run(t, "-c", `kill -STOP $0; msgget 77; kill -STOP $1; msgget 77; echo $?; kill -CONT $0 $1`, strconv.Itoa(s.root), strconv.Itoa(s.child))
	if out != s.queue+"\n1\n" || errs != fmt.Sprintf("msgget: family %d: all its members are stopped: kill -CONT one of them first\n", s.root) {
		t.Errorf("stopped: %s%s", out, errs)
	}

	// The next engine finds everything.
	h.killEngine(t)
	if got := s.ask(t, "text xyz"); got != "zyx" {
		t.Errorf("after the engine: %s", got)
	}
	s.output(t, "msgsnd", s.queue, "1", "wait")
	await(t, "it waits", func() (bool, string) {
		out := h.output(t, "logs", strconv.Itoa(s.root))
		return strings.Contains(out, "waits"), out
	})
	s.output(t, "ipcrm", "-q", s.queue)
	if out := h.output(t, "-c", fmt.Sprintf("wait %[1]d; logs -n 1 %[1]d", s.root)); out != "EIDRM\n" {
		t.Errorf("the removal: %s", out)
	}
	// Its root has gone, and the family is still named by it.
	if list := s.list(t, "-m"); len(list) != 1 || list[0].Count != 1 {
		t.Errorf("without the root: %+v", list)
	}
	h.output(t, "kill", "-KILL", "%"+strconv.Itoa(s.root))
	if _, errs, code := h.run(t, "msgget", "77"); code != 1 || errs != "msgget: no pVM runs\n" {
		t.Errorf("without a pVM: status %d, %s", code, errs)
	}
}

// A receiver in the shell waits for what a member sends later; one that was interrupted takes nothing.
func TestReceiveFromOutside(t *testing.T) {
	h := newHome(t)
	s := h.share(t, h.compileFork(t, "outside"))
	for _, typ := range []string{"50", "51"} {
		s.output(t, "msgsnd", s.queue, "1", "later "+typ)
		if got := s.output(t, "msgrcv", "-t", typ, s.queue); got != "late\n" {
			t.Errorf("later: %q", got)
		}
	}
	h.awaitClients(t, 0)
	waiter := h.start(t, "msgrcv", "-t", "60", s.queue)
	term := h.terminal(t, "msgrcv", "-t", "60", s.queue)
	h.awaitClients(t, 2)
	waiter.cmd.Process.Signal(syscall.SIGINT)
	waiter.exit(130)
	term.send("\x03")
	term.exit(130)
	h.awaitClients(t, 0) // the engine has heard of it
	s.output(t, "msgsnd", s.queue, "60", "still there")
	if got := s.output(t, "msgrcv", "-n", "-t", "60", s.queue); got != "still there\n" {
		t.Errorf("after the interrupted: %q", got)
	}
	// One that waits while the member that would tell it ends is served by the other.
	h.awaitClients(t, 0)
	waiter = h.start(t, "msgrcv", s.queue)
	h.awaitClients(t, 1)
	h.output(t, "kill", "-KILL", strconv.Itoa(s.root))
	s.output(t, s.in("msgsnd", s.queue, "4", "to whom it may concern")...)
	waiter.exit(0)
	if got := waiter.out.String(); got != "to whom it may concern\n" {
		t.Errorf("received %q", got)
	}
	h.awaitClients(t, 0)
	waiter = h.start(t, "msgrcv", s.queue)
	h.awaitClients(t, 1)
	h.output(t, "kill", "-KILL", strconv.Itoa(s.child))
	waiter.exit(1)
	if got := waiter.errs.String(); !strings.HasPrefix(got, "msgrcv: ") || strings.Count(got, "\n") != 1 {
		t.Errorf("without a family: %q", got)
	}
}

// A member that writes nonsense all over what the family shares cannot make the shell or the engine hang.
func TestScribbledFromOutside(t *testing.T) {
	h := newHome(t)
	pid := h.launch(t, h.compileFork(t, "scribble"), strconv.Itoa(int(time.Now().UnixNano()%1e9)))
	before := h.info(t).PID
	begin, rounds := time.Now(), 0
	for ; len(h.members(t, pid)) > 1 || rounds == 0; rounds++ {
		for _, args := range [][]string{
			{"ipcs"}, {"msgget", "-c", "5"}, {"shmget", "6", "9000"}, {"shmread", "8000"}, {"inspect", strconv.Itoa(pid)}, {"msgsnd", "-n", "8213", "1", "x"}, {"msgrcv", "-n", "8213"}, {"ipcrm", "8213"},
		} {
			if out, errs, code := h.run(t, args...); code > 1 || strings.Count(errs, "\n") > 1 {
				t.Errorf("%q: status %d: %s%s", args, code, out, errs)
			}
		}
	}
	t.Logf("%d rounds in %v", rounds, time.Since(begin))
	if out := h.output(t, "-c", fmt.Sprintf("wait %[1]d; echo $?; logs -n 1 %[1]d", pid)); out != "0\nalive\n" {
		t.Errorf("the parent: %q", out)
	}
	if now := h.info(t).PID; now != before {
		t.Errorf("engine %d has become %d", before, now)
	}
}
