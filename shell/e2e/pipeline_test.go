package e2e

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kxsh/engine"
)

// flow is a family of testdata/fork/flow.c: its root reads, a child writes numbered lines.
type flow struct {
	*home
	writer, reader string
}

func (h *home) flow(t *testing.T, image string, args ...string) *flow {
	t.Helper()
	root := h.launch(t, append([]string{"-i", image}, args...)...)
	f := &flow{home: h, reader: strconv.Itoa(root)}
	for _, p := range h.awaitMembers(t, root, 2) {
		if p.PID != root {
			f.writer = strconv.Itoa(p.PID)
		}
	}
	f.awaitLog(t, f.writer, "line 5\n")
	return f
}

// piped tells whether the two have a pipe, and what goes through it in a second.
func (f *flow) piped(t *testing.T) (is bool, rate uint64) {
	t.Helper()
	for _, s := range f.inspect(t, f.writer).Shares {
		if s.Kind == engine.KindPipe && s.Rate != nil && len(s.Readers) == 1 && strconv.Itoa(s.Readers[0]) == f.reader {
			return true, *s.Rate
		}
	}
	return false, 0
}

// pipeline looks from one console to the other, in a kxsh of its own, until the pipe is there.
func (f *flow) pipeline(t *testing.T) *session {
	t.Helper()
	s := f.start(t, "-c", `console $0 | console $1`, f.writer, f.reader)
	f.awaitPiped(t)
	return s
}

func (f *flow) awaitPiped(t *testing.T) {
	t.Helper()
	await(t, "bytes in a pipe", func() (bool, string) {
		is, rate := f.piped(t)
		return is && rate > 0, fmt.Sprint(is, rate)
	})
}

// lines are the numbers of the writer's lines that its log has.
func (f *flow) lines(t *testing.T) (numbers []int) {
	t.Helper()
	for line := range strings.Lines(f.output(t, "logs", f.writer)) {
		if n, ok := strings.CutPrefix(line, "line "); ok {
			numbers = append(numbers, number(t, n))
		}
	}
	return numbers
}

// returned waits until the writer writes to its console again, and the pipe has gone.
func (f *flow) returned(t *testing.T) {
	t.Helper()
	before := len(f.lines(t))
	await(t, "lines on the console", func() (bool, string) {
		n := len(f.lines(t))
		return n > before+2, fmt.Sprint(before, n)
	})
	await(t, "the pipe's end", func() (bool, string) {
		list := f.output(t, "ipcs", "-p", "--no-headers")
		return list == "", list
	})
}

// told is what the reader says that it has read since it was asked last.
func (f *flow) told(t *testing.T) (first, last, wrong, pause int) {
	t.Helper()
	said := func() []string {
		var all []string
		for line := range strings.Lines(f.output(t, "-c", "logs $0 2>&1", f.reader)) {
			if strings.HasPrefix(line, "from ") {
				all = append(all, line)
			}
		}
		return all
	}
	before := len(said())
	f.output(t, "kill", "-USR1", f.reader)
	await(t, "the reader's word", func() (bool, string) {
		all := said()
		if len(all) == before {
			return false, "nothing"
		}
		_, err := fmt.Sscanf(all[len(all)-1], "from %d to %d, %d wrong, %d ms", &first, &last, &wrong, &pause)
		return err == nil, fmt.Sprint(all)
	})
	return first, last, wrong, pause
}

// interrupt has the client of a pipeline interrupted, and sees what it ends with.
func interrupt(s *session) {
	s.cmd.Process.Signal(syscall.SIGINT)
	s.exit(130)
}

// Two consoles of one family in a pipeline have a pipe as long as it runs, and are as they were after it.
func TestPipelineOfConsoles(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "flow")
	t.Run("interrupted", func(t *testing.T) { h.flow(t, image).interrupted(t) })
	t.Run("job", func(t *testing.T) { h.flow(t, image).job(t) })
	t.Run("client killed", func(t *testing.T) { h.flow(t, image).clientKilled(t) })
	t.Run("engine killed", func(t *testing.T) { h.flow(t, image).engineKilled(t) })
	t.Run("reader killed", func(t *testing.T) { h.flow(t, image).readerKilled(t) })
	t.Run("reader of a stubborn one", func(t *testing.T) { h.flow(t, image, "ignore").readerOfStubborn(t) })
	t.Run("writer killed", func(t *testing.T) { h.flow(t, image).writerKilled(t) })
	t.Run("stopped", func(t *testing.T) { h.flow(t, image).stopped(t) })
	t.Run("forked", func(t *testing.T) { h.flow(t, image).forked(t) })
	t.Run("copied", func(t *testing.T) { h.copied(t, image) })
}

func (f *flow) end(t *testing.T) {
	t.Helper()
	f.output(t, "-c", "kill --tree -KILL $0; wait $0 2>/dev/null; :", f.reader)
}

// Bytes flow without the engine, none is lost or doubled, and Ctrl-C gives both their consoles back.
func (f *flow) interrupted(t *testing.T) {
	defer f.end(t)
	s := f.pipeline(t)
	f.told(t)
	c, err := engine.Connect(context.Background(), f.socket(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := c.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	nap := 6 * time.Second * time.Duration(min(slowness, 2))
	syscall.Kill(info.PID, syscall.SIGSTOP)
	time.Sleep(nap)
	syscall.Kill(info.PID, syscall.SIGCONT)
	first, last, wrong, pause := f.told(t)
	if last-first < 50 || wrong > 0 || pause > int(nap.Milliseconds())/2 {
		t.Errorf("without an engine: lines %d to %d, %d of them wrong, none for %d ms", first, last, wrong, pause)
	}
	before := f.lines(t)
	interrupt(s)
	f.returned(t)
	_, more, wrong, _ := f.told(t)
	last = max(last, more) // -1: the interrupt came before another line
	all := f.lines(t)
	for i, n := range all {
		switch {
		case i == len(before):
			if n != last+1 {
				t.Errorf("read up to line %d, and the next on the console is %d", last, n)
			}
		case i > 0 && n != all[i-1]+1:
			t.Errorf("line %d after %d", n, all[i-1])
		}
	}
	if wrong > 0 {
		t.Errorf("%d lines out of order", wrong)
	}
	f.start(t, "-c", "echo typed | console $0", f.reader).errs.expect(t, `read: typed\n`)
}

func (f *flow) job(t *testing.T) {
	defer f.end(t)
	s := f.start(t, "-c", `console $0 | console $1 & while ! ipcs -p --no-headers | grep -q .; do sleep 0.1; done; kill %1; wait %1; echo $?`, f.writer, f.reader)
	s.exit(0)
	s.expect(`^143\n$`)
	f.returned(t)
}

func (f *flow) clientKilled(t *testing.T) {
	defer f.end(t)
	s := f.pipeline(t)
	s.cmd.Process.Kill()
	f.returned(t)
	if _, _, wrong, _ := f.told(t); wrong > 0 {
		t.Errorf("%d lines out of order", wrong)
	}
}

// The next engine takes back what the last one has lent; a client that lives gets another pipe from it.
func (f *flow) engineKilled(t *testing.T) {
	defer f.end(t)
	s := f.pipeline(t)
	f.killEngine(t)
	f.awaitPiped(t)
	interrupt(s)
	f.returned(t)
	s = f.pipeline(t)
	c, err := engine.Connect(context.Background(), f.socket(), nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Info(context.Background())
	c.Close()
	if err != nil {
		t.Fatal(err)
	}
	syscall.Kill(s.cmd.Process.Pid, syscall.SIGSTOP)
	syscall.Kill(info.PID, syscall.SIGKILL)
	s.cmd.Process.Kill()
	if !gone(info.PID, patience) {
		t.Fatal("the engine survives SIGKILL")
	}
	f.returned(t)
}

// A writer without a reader gets SIGPIPE, as by the copy.
func (f *flow) readerKilled(t *testing.T) {
	s := f.pipeline(t)
	f.output(t, "kill", "-KILL", f.reader)
	if out := f.output(t, "-c", "wait $0; echo $?", f.writer); out != "141\n" {
		t.Errorf("the writer ends with %s", out)
	}
	s.exit(0)
	s.errs.expect(t, `\[`+f.reader+` has ended\]\n`)
}

func (f *flow) readerOfStubborn(t *testing.T) {
	s := f.pipeline(t)
	f.output(t, "kill", "-KILL", f.reader)
	f.returned(t)
	f.output(t, "kill", "-KILL", f.writer)
	s.exit(0)
}

func (f *flow) writerKilled(t *testing.T) {
	defer f.end(t)
	s := f.pipeline(t)
	f.output(t, "kill", "-KILL", f.writer)
	s.errs.expect(t, `(?s)end\n`)
	interrupt(s)
	if list := f.output(t, "ipcs", "-p", "--no-headers"); list != "" {
		t.Errorf("left: %s", list)
	}
}

// Who is stopped when the pipeline ends has its console again when it goes on.
func (f *flow) stopped(t *testing.T) {
	defer f.end(t)
	for _, pid := range []string{f.writer, f.reader} {
		s := f.pipeline(t)
		f.output(t, "kill", "-STOP", pid)
		interrupt(s)
		f.output(t, "kill", "-CONT", pid)
		f.returned(t)
	}
}

// Children that the two have had meanwhile give back what they have inherited.
func (f *flow) forked(t *testing.T) {
	defer f.end(t)
	s := f.pipeline(t)
	children := strings.Fields(f.output(t, "-c", "fork $0; fork $1", f.writer, f.reader))
	interrupt(s)
	f.returned(t)
	child := &flow{home: f.home, writer: children[0]}
	before := len(child.lines(t))
	await(t, "lines of the writer's child", func() (bool, string) {
		n := len(child.lines(t))
		return n > before, fmt.Sprint(before, n)
	})
}

// What cannot be a pipe is copied, as ever: between families, and with anything between.
func (h *home) copied(t *testing.T, image string) {
	a, b := h.flow(t, image), h.flow(t, image)
	defer a.end(t)
	defer b.end(t)
	for _, c := range []struct{ script, from, to string }{
		{`console $0 | console $1`, a.writer, b.reader},
		{`console $0 | cat | console $1`, a.writer, a.reader},
		{`{ console $0; } | console $1`, b.writer, b.reader},
	} {
		reader := &flow{home: h, reader: c.to}
		s := h.start(t, "-c", c.script, c.from, c.to)
		await(t, "lines", func() (bool, string) {
			first, last, wrong, _ := reader.told(t)
			return last > first && wrong == 0, fmt.Sprint(first, last, wrong)
		})
		if list := h.output(t, "ipcs", "-p", "--no-headers"); list != "" {
			t.Errorf("%s: pipes: %s", c.script, list)
		}
		s.cmd.Process.Kill()
	}
}
