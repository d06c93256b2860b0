package shell

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// stat is the states of the programs named name that descend from the shell, and whether they are the terminal's, as ps has it: T, S+.
func (s *screen) stat(name string) string {
	var list []string
	for line := range strings.Lines(s.processes("stat=,comm=")) {
		if f := strings.Fields(line); len(f) == 2 && f[1] == name {
			list = append(list, strings.NewReplacer("s", "", "l", "", "<", "", "N", "").Replace(f[0]))
		}
	}
	return strings.Join(list, " ")
}

// becomes waits until programs are in a state.
func (s *screen) becomes(name, want string) {
	s.t.Helper()
	var got string
	for range 1000 {
		if got = s.stat(name); got == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("%s is %q, not %q", name, got, want)
}

// Programs of the host are jobs as under any shell: a pipeline is one.
func TestJobControlOfPrograms(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("sleep 100")
	s.becomes("sleep", "S+")
	s.send("\x1a")
	s.expect(`\[1\]\+  Stopped    sleep 100\r\n`)
	s.becomes("sleep", "T")
	s.line("echo status $?")
	s.expect("status 148\r\n")
	s.line("sleep 200 | cat")
	s.becomes("cat", "S+")
	s.send("\x1a")
	s.expect(`\[2\]\+  Stopped    sleep 200 \| cat\r\n`)
	s.line("jobs")
	s.expect(`\[1\]-  Stopped    sleep 100\r\n\[2\]\+  Stopped    sleep 200 \| cat\r\n`)
	s.line("bg")
	s.expect(`\[2\] sleep 200 \| cat &\r\n`)
	s.becomes("cat", "S")
	s.line("fg %1")
	s.expect("sleep 100\r\n")
	s.becomes("sleep", "S+ S")
	s.send("\x1a")
	s.expect(`\[1\]\+? +Stopped    sleep 100`)
	s.line("fg; echo status $?")
	s.expect("sleep 100\r\n")
	s.becomes("sleep", "S+ S")
	s.send("\x03")
	s.expect("status 130\r\n")
	s.line("kill -STOP %2")
	s.told(`\[2\]\+  Stopped    sleep 200 \| cat\r\n`) // of itself, before the prompt
	s.becomes("cat", "T")
	s.line("kill %2; wait %2; echo status $?")
	s.expect("status 143\r\n")
	s.becomes("sleep", "")
	s.line("sleep 299 & sleep 300 & fg %sleep")
	s.expect(`fg: \(%sleep\): more than one job begins so`)
	s.line("kill %-; wait %-; fg %sleep")
	s.expect("sleep 300\r\n")
	s.becomes("sleep", "S+")
	s.send("\x1a")
	s.expect(`Stopped    sleep 300`)
	s.line("exit")
	s.expect("there are stopped jobs")
	s.line("kill %+")
	s.line("echo still $?; exit 3")
	s.leaves(3)
}

// What waits for a program that stops goes on when that does, and knows what it knew.
func TestJobControlOfLists(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("A=before; f() { sleep 0.2; echo $A $1; }")
	s.line("held() { sh -c 'until [ -e go'$1' ]; do sleep 0.05; done'; }")
	letGo := func(n string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.cmd.Dir, "go"+n), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.line("held 0 && f list")
	s.becomes("sh", "S+")
	s.send("\x1a")
	s.expect(`\[1\]\+  Stopped    held 0 && f list`)
	s.line("A=after; fg")
	letGo("0")
	s.expect("before list\r\n")
	s.line("for i in 1 2 3; do held $i; echo turn $i; done")
	letGo("1")
	s.expect("turn 1\r\n")
	s.becomes("sh", "S+")
	s.send("\x1a")
	s.expect(`Stopped    for i in 1 2 3`)
	s.line("echo $A; bg")
	s.expect("after\r\n")
	s.expect("> $")
	letGo("2")
	letGo("3")
	s.expect("turn 2\r\nturn 3\r\n")
	s.send("\r")
	s.line("for i in 1 2; do held 4; read x; echo read $x; done")
	s.becomes("sh", "S+")
	s.send("\x1a")
	s.expect(`\[3\]\+  Stopped    for i`)
	s.line("bg")
	letGo("4")
	s.told(`\[3\]\+  Stopped    for i`) // it wants to read the terminal
	s.line("fg")
	s.expect("echo read")
	s.send("one\rtwo\r")
	s.expect("(?s)read one\r\n.*read two\r\n")
	s.line("echo in; while :; do i=1; done")
	s.expect("in\r\n")
	s.send("\x1a")
	s.expect(`\[4\]\+  Stopped    while :`)
	s.line("kill %4; wait %4; echo status $?")
	s.expect("status 143\r\n")
	s.line("trap 'echo trapped' INT; sleep 50")
	s.becomes("sleep", "S+")
	s.send("\x03")
	s.expect("trapped\r\n")
	s.line("trap - INT; sleep 60; echo not reached")
	s.becomes("sleep", "S+")
	s.send("\x03")
	s.line("echo status $?")
	s.expect("status 130\r\n")
	s.line("exit")
	s.leaves(0)
}

// A program has the terminal when it asks for it, and a stopped one leaves it as the shell had it.
func TestTerminalOfJobs(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line(`sh -c 'stty -echo -icanon; sleep 100'`)
	s.becomes("sleep", "S+")
	s.send("\x1a")
	s.expect("Stopped")
	s.line("stty -a | tr ' ' '\\n' | grep -x -e icanon -e echo | sort | tr '\\n' .")
	s.expect(`echo\.icanon\.`)
	s.line("fg")
	s.becomes("sleep", "S+")
	s.send("\x03")
	s.line("echo status $?")
	s.expect("status 130")
	s.line("sh -c 'read x; echo got $x; sleep 100'")
	s.send("one\r")
	s.expect("got one")
	if err := pty.Setsize(s.f, &pty.Winsize{Rows: 30, Cols: 90}); err != nil { // the shell is not told
		t.Fatal(err)
	}
	s.send("\x03")
	s.line("ps | sh -c 'read x </dev/tty; echo the terminal says $x'")
	s.send("two\r")
	s.expect("the terminal says two")
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	os.WriteFile(script, []byte("sleep 100\necho the script goes on\n"), 0o755) // no #!: the shell's own
	s.line(script)
	s.becomes("sleep", "S+")
	s.send("\x1a")
	s.expect("Stopped    " + script)
	s.line("fg")
	s.becomes("sleep", "S+")
	s.send("\x03")
	s.line("echo status $?; exit")
	s.expect("status 130")
	s.leaves(0)
}

// A session that begins behind another shell's prompt waits there until it has the terminal.
func TestStartedBehind(t *testing.T) {
	cmd := kxsh(t.TempDir())
	bash := exec.Command("bash", "--norc", "--noprofile", "-i")
	bash.Env, bash.Dir = append(cmd.Env, "TERM=xterm", "NO_COLOR=1", "PATH=/usr/bin:/bin", "PS1=ready> "), cmd.Dir
	s := screenOf(t, bash)
	s.expect("ready> ")
	s.send(cmd.Path + " -i &\r")
	s.expect(`\[1\] \d+\r\n`)
	s.told("Stopped")
	s.expect("ready> $")
	s.send("fg\r")
	s.expect("fg\r\n")
	s.line("sleep 100")
	s.becomes("sleep", "S+")
	s.send("\x1a")
	s.expect(`\[1\]\+  Stopped    sleep 100`)
	s.line("kill %1; exit 3")
	s.expect("ready> ")
	s.send("exit $?\r")
	s.leaves(3)
}

// What ends a script does not end the session, unless it is asked to.
func TestErrorsAtThePrompt(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("set -u; echo $nope; echo not reached")
	s.expect("nope: unbound variable\r\n")
	s.line("echo status $?")
	s.expect("status 1\r\n")
	s.line("echo ${nope?is not set}")
	s.expect("is not set\r\n")
	s.line("echo $((1 / 0)); echo not reached")
	s.expect("division by 0\r\n")
	s.line("echo status $?")
	s.expect("status 1\r\n")
	s.line("set -e; (exit 4)")
	s.leaves(4)
}

// Ctrl-Z may come before the program has started, which is stopped then as well: it is one stop, and told once. Another one, later, is told again.
func TestStopToldOnce(t *testing.T) {
	main, j := newJob(0, 0, "", false), newJob(1, 0, "sleep 100", false)
	main.markStopped(1, true)
	main.moveTo(j, &statement{})
	j.markStopped(2, false)
	if !j.stopTold {
		t.Error("a stop that was shown is to be shown again")
	}
	j.markGoing()
	j.markStopped(3, false)
	if j.stopTold {
		t.Error("a stop behind the prompt is not to be shown")
	}
}

// A program that joins its group when Ctrl-Z has just come stops like those that were there.
func TestStopWhileStarting(t *testing.T) {
	g, x := &group{}, &execution{shell: New(fakeConfig())}
	x.shell.main = newJob(0, 0, "", false)
	run := &statement{}
	run.job.Store(x.shell.main)
	x.job, x.ctx = x.shell.main, context.WithValue(context.Background(), statementKey{}, run)
	x.shell.control = &jobControl{front: newJob(1, 0, "another", false)}
	var all []*exec.Cmd
	start := func() {
		t.Helper()
		cmd := exec.Command("sleep", "100")
		if err := g.start(cmd, nil, false); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
	}
	start()
	g.kill(syscall.SIGTSTP)
	start()
	for _, cmd := range all {
		go x.follow(cmd.Process.Pid, g)
	}
	for end := time.Now().Add(time.Minute); x.job.stoppedAs() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if x.job.stoppedAs() == 0 {
		t.Error("the second goes on")
	}
	g.kill(syscall.SIGKILL)
	for _, cmd := range all {
		cmd.Wait()
	}
}

// An interrupt between the end of a run's pVM and the end of the command is the shell's.
func TestInterruptAfterTheEnd(t *testing.T) {
	j, s := newJob(0, 0, "", false), &session{}
	c := &Call{Context: context.Background(), shell: &Shell{}, job: j}
	c.takeSignals(s.forward)
	j.enter(c)
	if s.interrupted() {
		t.Fatal("interrupted before anything came")
	}
	j.deliver(syscall.SIGINT)
	if got := j.ending(); got != 130 {
		t.Errorf("the shell goes on: %d", got)
	}
}

// Ctrl-Z and fg reach a pVM in the order in which they were, however long the first takes.
func TestSignalsInOrder(t *testing.T) {
	var i interrupts
	var got []syscall.Signal
	slow := make(chan struct{})
	for _, sig := range []syscall.Signal{syscall.SIGTSTP, syscall.SIGCONT} {
		i.passOn(sig, func() bool {
			if sig == syscall.SIGTSTP {
				<-slow
			}
			got = append(got, sig)
			return true
		})
	}
	time.Sleep(10 * time.Millisecond) // for the second to go first, if it may
	close(slow)
	i.telling.Wait()
	if len(got) != 2 || got[0] != syscall.SIGTSTP {
		t.Errorf("they arrive as %v", got)
	}
}
