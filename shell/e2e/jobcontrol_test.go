package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

func (h *home) stat(t *testing.T, pid string) string {
	t.Helper()
	return strings.TrimSpace(h.output(t, "ps", "--no-headers", "-o", "stat", pid))
}

// statOf is stat of a pVM that may not be there yet.
func (h *home) statOf(name string) string {
	out, _ := h.command("ps", "--no-headers", "-o", "stat", name).Output()
	return strings.TrimSpace(string(out))
}

// Ctrl-Z stops what is in the foreground, fg and bg let it go on: it is the same console, with all that is written meanwhile.
func TestJobControl(t *testing.T) {
	h := newHome(t)
	apps := root + "/guest/apps/"
	term := h.terminal(t)
	term.typed("run --name spinner " + apps + "spin.kx")
	term.expect("\n")
	await(t, "it runs", func() (bool, string) {
		out := h.output(t, "ps", "--no-headers", "-o", "stat,name")
		return strings.Join(strings.Fields(out), " ") == "R spinner", out
	})
	term.send("\x1a")
	term.expect(`\[1\]\+  Stopped    run --name spinner \S+spin.kx\r?\n`)
	pid := strings.TrimSpace(h.output(t, "pidof", "spinner"))
	if got := h.stat(t, pid); got != "T" {
		t.Errorf("stopped: %q", got)
	}
	term.typed("echo status $?")
	term.expect(`status 148`)

	term.typed("run -m 16M " + apps + "cat.kx")
	term.expect("\n")
	term.send("first\r")
	term.expect("first\r?\nfirst")
	term.send("\x1a")
	term.expect(`\[2\]\+  Stopped +run -m 16M \S+cat.kx`)
	term.typed("jobs")
	term.expect(`\[1\]-  Stopped .*spin.kx\r?\n\[2\]\+  Stopped .*cat.kx`)
	term.typed("fg")
	term.expect(`run -m 16M \S+cat.kx`)
	term.send("second\r")
	term.expect("second\r?\nsecond")
	term.send("\x04")
	term.typed("bg %1; jobs")
	term.expect(`\[1\] run --name spinner \S+spin.kx &\r?\n\[1\].  Running +run --name spinner \S+spin.kx &`)
	await(t, "it goes on behind", func() (bool, string) { got := h.stat(t, pid); return got == "R", got })
	term.typed("fg %1")
	term.expect("run --name")
	term.send("\x03")
	term.typed("echo status $?")
	term.expect("status 130")

	term.typed("run --name left " + apps + "cat.kx")
	term.expect("\n")
	term.send("begun\r")
	term.expect("begun\r?\nbegun")
	term.send("\x1a")
	term.expect(`Stopped +run --name left`)
	term.typed("fg")
	term.expect("run --name left")
	term.send("here\r")
	term.expect("here\r?\nhere")
	term.send("\x1d") // Ctrl-]: it goes on, and is no job any more
	term.expect("detached")
	term.typed("fg; kill left")
	term.expect("no job")

	term.typed("run --name stopped " + apps + "spin.kx")
	await(t, "it runs", func() (bool, string) { got := h.statOf("stopped"); return got == "R", got })
	term.send("\x1a")
	term.expect(`Stopped +run --name stopped`)
	term.typed("kill %+; wait %+; echo status $?") // which it hears of
	term.expect("status 143")

	term.typed("run --name spinner " + apps + "spin.kx &")
	term.expect(`\[\d\] (\d+)`)
	term.typed("kill -STOP $!; jobs")
	term.expect("Stopped +run --name spinner")
	term.typed("kill -CONT $!; kill $!; wait $!; echo status $?")
	term.expect("status 143")
	term.typed("fg")
	term.expect("no job")
	term.typed("exit")
	term.exit(1)
}

// A pipeline of pVMs and programs of the host is one job, and a pVM stops also where its console is no terminal.
func TestJobControlOfPipelines(t *testing.T) {
	h := newHome(t)
	apps := root + "/guest/apps/"
	term := h.terminal(t)
	term.typed("run --name ticks " + apps + "tick.kx | cat")
	term.expect(`tick 1\r?\n`)
	term.send("\x1a")
	term.expect(`\[1\]\+  Stopped    run --name ticks \S+tick.kx \| cat\r?\n`)
	await(t, "all of it stops", func() (bool, string) { got := h.stat(t, "ticks"); return got == "T", got })
	term.typed("jobs; fg")
	term.expect(`\[1\]\+  Stopped    run --name ticks`)
	term.expect(`tick \d+\r?\n`)
	term.send("\x1a")
	term.expect(`\[1\]\+  Stopped`)
	term.typed("bg")
	term.expect(`tick \d+\r?\n`)
	term.send("\r")
	term.typed("kill -9 ticks; wait; echo waited")
	term.expect(`(?m)^waited`)

	term.typed("run --name spinner " + apps + "spin.kx >out")
	await(t, "it runs", func() (bool, string) { got := h.statOf("spinner"); return got == "R", got })
	term.send("\x1a")
	term.expect(`Stopped    run --name spinner`)
	await(t, "it stops", func() (bool, string) { got := h.stat(t, "spinner"); return got == "T", got })
	term.typed("fg")
	await(t, "it goes on", func() (bool, string) { got := h.stat(t, "spinner"); return got == "R", got })
	term.send("\x03")
	term.typed("echo status $?")
	term.expect("status 130")

	term.typed("run -i --name sums " + apps + "cat.kx | cat") // the terminal is the pVM's, although cat was given it
	term.expect("\n")
	await(t, "it reads", func() (bool, string) { got := h.statOf("sums"); return got == "S", got })
	term.send("typed\r")
	term.expect("typed\r?\ntyped")
	term.send("\x04")
	term.typed("echo status $?")
	term.expect("status 0")
	term.typed("exit")
	term.exit(0)
}

// Ctrl-C ends all of a pipeline that is just being started.
func TestInterruptWhileStarting(t *testing.T) {
	h := newHome(t)
	apps := root + "/guest/apps/"
	term := h.terminal(t)
	for i := range max(20/slowness, 4) {
		term.typed(fmt.Sprintf("echo begun; run %[1]sspin.kx | run %[1]scat.kx | sleep 1000 | run %[1]sspin.kx; echo not reached", apps))
		term.expect(`(?m)^begun`)
		time.Sleep(time.Duration(i) * 2 * time.Millisecond)
		term.send("\x03")
		term.typed("echo status $?")
		term.expect(`status 130\r?\n`)
	}
	await(t, "all have ended", func() (bool, string) { out := h.output(t, "ps", "--no-headers"); return out == "", out })
	term.typed("exit")
	term.exit(0)
}

// What goes on as soon as it is stopped does go on, though it has just begun to stop.
func TestStopAndGoOn(t *testing.T) {
	h := newHome(t)
	h.output(t, "run", "-d", "--name", "sleeper", root+"/guest/apps/tick.kx")
	h.output(t, "run", "-d", "--name", "spinner", root+"/guest/apps/spin.kx")
	h.output(t, "-c", fmt.Sprintf("for i in $(seq %d); do kill -TSTP sleeper spinner; kill -CONT sleeper spinner; sleep 0.0$((i %% 3)); done", max(100/slowness, 20)))
	await(t, "the one that sleeps goes on", func() (bool, string) { got := h.stat(t, "sleeper"); return got == "S", got })
	await(t, "the one that computes goes on", func() (bool, string) { got := h.stat(t, "spinner"); return got == "R", got })
	h.output(t, "kill", "-TSTP", "sleeper", "spinner")
	await(t, "both stop", func() (bool, string) {
		got := h.stat(t, "sleeper") + h.stat(t, "spinner")
		return got == "TT", got
	})
	h.output(t, "kill", "-KILL", "sleeper", "spinner")
}

// A console is left when Ctrl-Z stops its pVM, and fg comes back to it.
func TestJobControlOfConsole(t *testing.T) {
	h := newHome(t)
	term := h.terminal(t)
	term.typed("run --name shared " + root + "/guest/apps/cat.kx")
	term.expect("\n")
	term.send("first\r")
	term.expect("first\r?\nfirst")
	term.send("\x1d")
	term.expect("detached")
	term.typed("console shared")
	term.expect(`attached to \d+; Ctrl-\] detaches`)
	for _, word := range []string{"second", "third"} {
		term.send(word + "\r")
		term.expect(word + "\r?\n" + word)
		term.send("\x1a")
		term.expect(`\[1\]\+  Stopped    console shared\r?\n`)
		if got := h.stat(t, "shared"); got != "T" {
			t.Errorf("stopped: %q", got)
		}
		term.typed("fg")
		term.expect("console shared")
	}
	term.send("last\r") // Ctrl-D before the terminal is the pVM's would be the terminal's
	term.expect("last\r?\nlast")
	term.send("\x04")
	term.typed("echo status $?; jobs")
	term.expect("status 0")
	term.typed("exit")
	term.exit(0)
}

// Commands of ours stop as programs do: what they would have said comes with fg.
func TestJobControlOfCommands(t *testing.T) {
	h := newHome(t)
	apps := root + "/guest/apps/"
	term := h.terminal(t)
	term.typed("run -d --name ticks " + apps + "tick.kx")
	term.typed("logs -f ticks")
	term.expect(`tick 2\r?\n`)
	term.send("\x1a")
	term.expect(`\[1\]\+  Stopped    logs -f ticks\r?\n`)
	if got := h.stat(t, "ticks"); got != "S" && got != "R" {
		t.Errorf("the pVM has become %q", got)
	}
	term.typed("sleep 2; echo quiet")
	term.expect(`^[^\n]*\nquiet`)
	n := strings.Count(term.out.String(), "tick ") // more than two, if Ctrl-Z came late
	term.typed("fg; echo status $?")
	term.expect(fmt.Sprintf(`tick %d\r?\ntick %d\r?\n`, n+1, n+2))
	term.send("\x03")
	term.expect("status 130")

	term.typed("events -f | grep --line-buffered -e ticks -e greeter")
	term.expect(`\d ticks`)
	term.send("\x1a")
	term.expect(`\[2\]\+  Stopped    events -f \| grep`)
	term.typed("run --name greeter " + apps + "hello.kx; jobs")
	term.expect(`Stopped    events -f`)
	term.typed("bg")
	term.expect(`exited +\d+ greeter`)
	term.send("\r")
	term.typed("kill %2; wait %2; echo status $?")
	term.expect("status 143")

	term.typed("{ echo waits; wait ticks || echo is over $?; }")
	term.expect(`(?m)^waits`)
	term.send("\x1a")
	term.expect(`\[3\]\+  Stopped    { echo waits`)
	term.typed("kill -9 ticks; fg")
	term.expect(`(?m)^is over 137`)

	term.typed("cc -c -x c -o made.o -")
	term.awaitProgram("cc1", false) // before its exec its parent could not stop, which waits for that (vfork(2)); and what is typed earlier has no echo
	term.send("int x;\r")
	term.expect("int x;\r?\n")
	term.send("\x1a")
	term.expect(`\[4\]\+  Stopped    cc -c -x c -o made.o -`)
	term.awaitProgram("cc1", true) // the shell hears of cc alone, and a program that has not come to it yet reads what is typed
	term.typed("echo between; fg; echo status $?")
	term.expect("(?m)^between")
	term.expect("(?m)^cc -c")
	term.send("int y;\r")
	term.expect("int y;\r?\n")
	term.send("\x04")
	term.expect("status 0")
	term.typed("cc -c -x c -o made.o -; echo not reached")
	term.awaitProgram("cc1", false)
	term.send("int x;\r")
	term.expect("int x;\r?\n")
	term.send("\x03")
	term.typed("echo status $?")
	term.expect("status 130")
	term.typed("exit")
	term.exit(0)
}

// awaitProgram waits until a program of the host that has such a name, and the terminal's session, reads its standard input (proc_pid_syscall(5)), or has stopped.
func (term *terminal) awaitProgram(name string, stopped bool) {
	term.t.Helper()
	await(term.t, fmt.Sprintf("%s, stopped %t", name, stopped), func() (bool, string) {
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range dirs {
			stat, _ := os.ReadFile(dir + "/stat")
			call, _ := os.ReadFile(dir + "/syscall")
			pid, _ := strconv.Atoi(filepath.Base(dir))
			session, _ := unix.Getsid(pid)
			is := bytes.HasPrefix(call, []byte("0 0x0 "))
			if stopped {
				is = bytes.Contains(stat, []byte(") T "))
			}
			if is && session == term.cmd.Process.Pid && bytes.Contains(stat, []byte("("+name+")")) {
				return true, ""
			}
		}
		return false, ""
	})
}

// top is left alone with Ctrl-Z, too.
func TestJobControlOfTop(t *testing.T) {
	h := newHome(t)
	term := h.terminal(t)
	term.typed("run -d --name shown " + root + "/guest/apps/spin.kx")
	term.typed("top -d 0.2")
	for range 2 {
		term.expect("pVMs: 1(?s:.*)shown")
		term.send("\x1a")
		term.expect(`\[1\]\+  Stopped    top -d 0\.2`)
		term.typed("echo between; fg")
		term.expect("(?m)^between")
	}
	term.expect("pVMs: 1(?s:.*)shown")
	term.send("q")
	term.typed("echo status $?; exit")
	term.expect("status 0")
	term.exit(0)
}

// Under another shell it is kxsh that stops, and goes on with its pVM when that shell says so.
func TestStoppedFromBash(t *testing.T) {
	h := newHome(t)
	cmd := exec.Command("bash", "--norc", "--noprofile", "-i")
	cmd.Env = append(h.command().Env, "PS1=ready> ", "TERM=xterm")
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 100})
	if err != nil {
		t.Fatal(err)
	}
	term := terminalOn(t, cmd, f)
	kxsh := h.command().Path
	term.expect("ready> ")
	term.send(kxsh + " run --name echoes " + root + "/guest/apps/cat.kx\r")
	await(t, "it waits", func() (bool, string) {
		out := h.output(t, "ps", "--no-headers", "-o", "stat,name")
		return strings.Join(strings.Fields(out), " ") == "S echoes", out
	})
	term.send("first\r") // the terminal is the pVM's
	term.expect("first\r?\nfirst")
	for range 2 {
		term.send("\x1a")
		term.expect(`Stopped(?s:.*)ready> `)
		if got := h.stat(t, "echoes"); got != "T" {
			t.Errorf("stopped: %q", got)
		}
		term.send("fg\r")
		term.expect("run --name")
		await(t, "it goes on", func() (bool, string) { got := h.stat(t, "echoes"); return got == "S", got })
		term.send("word\r")
		term.expect("word\r?\nword")
	}
	term.send("\x1a")
	term.expect(`Stopped(?s:.*)ready> `)
	term.send("bg\r")
	await(t, "it goes on behind", func() (bool, string) { got := h.stat(t, "echoes"); return got == "S", got })
	term.send("echo here\r")
	term.expect("here(?s:.*)here")
	term.send("fg\r")
	term.expect("run --name")
	term.send("again\r")
	term.expect("again\r?\nagain")
	term.send("\x04")
	term.expect("ready> ")
	term.send("exit $?\r")
	term.exit(0)
}
