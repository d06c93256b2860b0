package shell

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// stopHere is Ctrl-Z for what is in the foreground, which is then a job, and says nothing more.
func (s *screen) stopHere(text string) {
	s.t.Helper()
	s.send("\x1a")
	s.appears(`\[\d+\]\+  Stopped    `+regexp.QuoteMeta(text)+`\r\n`, func() { s.send("\x1a") }) // the first may have come before the command
	s.line("echo status $?; sleep 0.3; echo quiet")
	s.expect(`status 148\r\nquiet\r\n`)
}

// A command of ours is a job as programs are: what it has to say while it is stopped comes when it goes on.
func TestJobControlOfCommands(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("run -d --name ticks tick.kx")
	s.expect("1\r\n")
	s.line("logs -f ticks")
	s.expect(`tick 3\r\n`)
	s.stopHere("logs -f ticks")
	s.line("jobs")
	s.expect(`\[1\]\+  Stopped    logs -f ticks\r\n`)
	s.line("fg")
	s.expect(`tick \d+\r\n`)
	s.stopHere("logs -f ticks")
	s.line("fg; echo status $?")
	s.expect(`tick \d+\r\n`)
	s.send("\x03")
	s.expect("status 130\r\n")
	s.mu.Lock()
	ticks := regexp.MustCompile(`tick (\d+)\r\n`).FindAllStringSubmatch(s.out.String(), -1)
	s.mu.Unlock()
	for i, m := range ticks {
		if m[1] != strconv.Itoa(i+1) {
			t.Fatalf("line %d is tick %s", i+1, m[1])
		}
	}

	s.line("logs -f -n 1 ticks")
	s.expect(`tick \d+\r\n`)
	s.stopHere("logs -f -n 1 ticks")
	s.line("bg")
	s.expect(`\[2\] logs -f -n 1 ticks &\r\n`)
	s.expect(`tick \d+\r\n`)
	s.send("kill -STOP %2\r")
	s.told(`\[2\]\+  Stopped    logs -f -n 1 ticks\r\n`)
	s.line("sleep 0.3; echo quiet")
	s.expect(`^quiet\r\n`)
	s.line("kill %2; wait %2; echo status $?")
	s.expect("status 143\r\n")

	s.line("logs -f -n 1 ticks | grep --line-buffered tick")
	s.expect(`tick \d+\r\n`)
	s.stopHere("logs -f -n 1 ticks | grep --line-buffered tick")
	s.line("fg; echo status $?")
	s.expect(`tick \d+\r\n`)
	s.send("\x03")
	s.expect("status 130\r\n")

	s.line("logs -f ticks >/dev/null & fg")
	s.expect("logs -f ticks >/dev/null\r\n")
	time.Sleep(100 * time.Millisecond)
	s.stopHere("logs -f ticks >/dev/null")
	s.line("wait ticks || echo over")
	time.Sleep(200 * time.Millisecond)
	s.stopHere("wait ticks || echo over")
	s.line("kill ticks; sleep 0.2; jobs")
	s.expect(`\[4\]-  Stopped    logs -f ticks >/dev/null\r\n\[5\]\+  Stopped    wait ticks \|\| echo over\r\n`)
	s.line("fg")
	s.expect(`wait ticks \|\| echo over\r\nover\r\n`)
	s.line("fg; exit")
	s.expect("logs -f ticks >/dev/null\r\n")
	s.leaves(0)
}

// What is typed while a job is stopped is not for that job.
func TestJobControlOfReaders(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	for _, line := range []string{"read x && echo got $x", "for x in once; do read x; echo got $x; done"} {
		s.line(line)
		time.Sleep(200 * time.Millisecond)
		s.stopHere(line)
		s.line("fg")
		s.expect(regexp.QuoteMeta(line) + "\r\n")
		s.send("word\r")
		s.expect("got word\r\n")
	}
	s.line("read x")
	time.Sleep(200 * time.Millisecond)
	s.stopHere("read x")
	s.line("bg")
	s.told(`\[3\]\+  Stopped    read x\r\n`) // there is nobody to read
	s.line("wait %3; echo status $?; wait; echo all $?")
	s.expect(`wait: \(%3\): is stopped: fg or bg lets it go on\r\nstatus 148\r\nwait: \(%3\): is stopped.*\r\nall 0\r\n`)
	s.line("kill %3; wait %3; echo status $?")
	s.expect("status 143\r\n")
	s.line("exit")
	s.leaves(0)
}

// A script without #! and a subshell with a trap are stopped and interrupted with what they run.
func TestJobControlInside(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	script := filepath.Join(t.TempDir(), "script")
	os.WriteFile(script, []byte("logs -f -n 1 ticks\necho not reached\n"), 0o755)
	s.line("run -d --name ticks tick.kx")
	s.expect("1\r\n")
	for _, line := range []string{script, "(trap 'echo t' USR1; logs -f -n 1 ticks; echo not reached)"} {
		s.line(line)
		s.expect(`tick \d+\r\n`)
		s.stopHere(line)
		s.line("fg; echo status $?")
		s.expect(`tick \d+\r\n`)
		s.send("\x03")
		s.expect(`\^C(\r\n|tick \d+\r\n)*status 130\r\n`)
		s.line(line)
		s.expect(`tick \d+\r\n`)
		s.send("\x03")
		s.line("echo status $?")
		s.expect(`status 130\r\n`)
	}
	s.line("(trap 'echo t' USR1; sleep 100; echo not reached)")
	s.becomes("sleep", "S+")
	s.send("\x1a")
	s.expect("Stopped")
	s.becomes("sleep", "T")
	s.line("fg")
	s.becomes("sleep", "S+")
	s.send("\x03")
	s.line("echo status $?; exit")
	s.expect(`status 130\r\n`)
	s.leaves(0)
}

// Nobody would let a start file go on.
func TestStopInStartFile(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "config/kxsh"), 0o755)
	os.WriteFile(filepath.Join(dir, "config/kxsh/kxshrc"), []byte("echo begun\nsleep 0.5\nread x\necho read $x\n"), 0o644)
	s := screens(t, dir, "-i")
	s.expect("begun\r\n")
	time.Sleep(100 * time.Millisecond)
	s.send("\x1a")
	time.Sleep(700 * time.Millisecond)
	s.send("\x1a")
	s.send("word\r")
	s.expect("read word\r\n")
	s.line("exit")
	s.leaves(0)
}

// What a stopped command writes waits, until the job goes on or the command is ended.
func TestOutputWaits(t *testing.T) {
	run, j := &statement{}, newJob(1, 0, "", false)
	run.job.Store(j)
	ctx, cancel := context.WithCancelCause(context.WithValue(context.Background(), statementKey{}, run))
	c := &Call{Context: ctx, cancel: cancel, shell: &Shell{}, job: newJob(0, 0, "", false)}
	var to bytes.Buffer
	out := &output{c: c, w: &to}
	written := make(chan error)
	write := func() {
		_, err := out.Write([]byte("x"))
		written <- err
	}
	j.markStopped(1, false)
	go write()
	select {
	case <-written:
		t.Fatal("a stopped command writes")
	case <-time.After(50 * time.Millisecond):
	}
	j.markGoing()
	if err := <-written; err != nil || to.String() != "x" {
		t.Fatalf("%q, %v", to.String(), err)
	}
	j.markStopped(2, false)
	go write()
	c.signal(syscall.SIGTERM)
	if err := <-written; err != signalled(syscall.SIGTERM) || to.String() != "x" {
		t.Errorf("%q, %v", to.String(), err)
	}
	j.enter(c)
	if !j.stop() {
		t.Error("a command cannot be stopped")
	}
	c.stopsItself.Store(true)
	if j.stop() {
		t.Error("the shell stops a command that does so itself")
	}
}
