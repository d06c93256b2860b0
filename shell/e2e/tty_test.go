package e2e

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is kxsh on a pty, with a person's hands.
type terminal struct {
	t   *testing.T
	cmd *exec.Cmd
	pty *os.File
	out *output
}

func (h *home) terminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	return h.terminalOf(t, &pty.Winsize{Rows: 24, Cols: 100}, io.Discard, args...)
}

// terminalOf has a size; all that comes out of it goes to also, too.
func (h *home) terminalOf(t *testing.T, size *pty.Winsize, also io.Writer, args ...string) *terminal {
	t.Helper()
	cmd := h.command(args...)
	cmd.Env = append(cmd.Env, "TERM=xterm", "LC_ALL=C.UTF-8")
	f, err := pty.StartWithSize(cmd, size)
	if err != nil {
		t.Fatal(err)
	}
	return terminalOn(t, cmd, f, also)
}

// terminalOn is a command that has been started on a pty.
func terminalOn(t *testing.T, cmd *exec.Cmd, f *os.File, also ...io.Writer) *terminal {
	term := &terminal{t: t, cmd: cmd, pty: f, out: newOutput()}
	go io.Copy(io.MultiWriter(append(also, term.out)...), f)
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		f.Close()
	})
	return term
}

// prompt is the end of kxsh's prompt, or of that of a continuation line.
const prompt = `>\s*$`

// escape is an ANSI escape sequence: colours and cursor movement.
var escape = regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`)

// expect waits until the screen has shown re after what earlier calls matched.
func (term *terminal) expect(re string) {
	term.t.Helper()
	term.out.expect(term.t, re)
}

func (term *terminal) send(s string) {
	term.t.Helper()
	if _, err := term.pty.WriteString(s); err != nil {
		term.t.Fatal(err)
	}
}

// typed sends a line as a person does, after the prompt has appeared.
func (term *terminal) typed(line string) {
	term.t.Helper()
	term.expect(prompt)
	term.send(line + "\r")
	term.expect(regexp.QuoteMeta(lastWord(line)))
}

func lastWord(s string) string {
	f := strings.Fields(s)
	return f[len(f)-1]
}

func (term *terminal) exit(want int) {
	term.t.Helper()
	done := make(chan error, 1)
	go func() { done <- term.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(patience):
		term.t.Fatalf("kxsh does not leave; so far:\n%s", term.out)
	}
	if got := term.cmd.ProcessState.ExitCode(); got != want {
		term.t.Errorf("exit status %d, want %d", got, want)
	}
}

// A terminal that does not know the characters of a tree gets others.
func TestTreeInALocale(t *testing.T) {
	h := newHome(t)
	h.output(t, "run", "-d", "--name", "leaf", root+"/guest/apps/spin.kx")
	term := h.terminal(t)
	for _, c := range [][2]string{{"pstree", "└─leaf"}, {"LC_ALL=C pstree", "`-leaf"}, {"LC_ALL=C pstree -U", "└─leaf"}, {"pstree -A", "`-leaf"}} {
		term.expect(prompt)
		term.send(c[0] + "\r")
		term.expect(`\n` + c[1])
	}
}

func TestSessionOnATerminal(t *testing.T) {
	h := newHome(t)
	term := h.terminal(t)
	term.typed("run " + root + "/guest/apps/hello.kx")
	term.expect("Hello from a pVM")
	term.typed("for i in 1 2; do")
	term.expect(prompt)
	term.send("echo number $i; done\r")
	term.expect("(?s)number 1.*number 2")
	term.expect(prompt)
	term.send("not finished\x03") // Ctrl-C clears the line
	term.expect(prompt)
	term.send("echo still here\r")
	term.expect("(?m)^still here")
	term.expect(prompt)
	term.send("kill -T\t") // and so it does beneath a list of what might follow
	term.expect("-TERM")
	term.send("\x03")
	term.expect(prompt)
	term.send("echo and here\r")
	term.expect("(?m)^and here")
	term.typed("(exit 7)")
	term.expect(prompt)
	term.send("\x04") // Ctrl-D leaves with the last status
	term.exit(7)
}

// What is typed has colours where they are asked for; without, there is nothing of them.
func TestColoursOfTheLine(t *testing.T) {
	h := newHome(t)
	for _, args := range [][]string{{"--color", "always"}, {"--color", "auto"}} { // and NO_COLOR
		shown := newOutput()
		raw := func() string {
			shown.mu.Lock()
			defer shown.mu.Unlock()
			return shown.buf.String()
		}
		term := h.terminalOf(t, &pty.Winsize{Rows: 12, Cols: 40}, shown, args...)
		term.expect(prompt)
		term.send(`ps --no-headers "$HOME" | nosuchcommand && echo 'in a line that is wrapped'`)
		term.expect("wrapped")
		const known, quoted, unknown = "\x1b[1mps\x1b[m --no-headers", "\x1b[32m\"\x1b[m\x1b[36m$HOME\x1b[m\x1b[32m\"\x1b[m", "\x1b[31mnosuchcommand\x1b[m"
		painted := args[1] == "always"
		for end := time.Now().Add(patience); painted && !strings.Contains(raw(), unknown) && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			term.send("\x01\x05") // until PATH has been read
		}
		for _, part := range []string{known, quoted, unknown} {
			if strings.Contains(raw(), part) != painted {
				t.Errorf("%s: %q is shown: %v, want %v, in %q", args[1], part, !painted, painted, raw())
			}
		}
		term.send("\x03")
		term.expect(`\^C`)
		term.typed("exit 3")
		term.exit(3)
	}
}

func TestCtrlCReachesThePVM(t *testing.T) {
	h := newHome(t)
	term := h.terminal(t)
	term.typed("run --name spin " + root + "/guest/apps/spin.kx")
	h.started(t, "spin")
	term.send("\x03")
	term.typed("echo status $?")
	term.expect("(?m)^status 130")
	term.typed("exit")
	term.exit(0)
}

// started waits until a pVM's program runs.
func (h *home) started(t *testing.T, name string) {
	t.Helper()
	await(t, name+" in main", func() (bool, string) {
		out, errs, _ := h.run(t, "inspect", name)
		return strings.Contains(out, "main after"), out + errs
	})
}

func TestDetachAndAttach(t *testing.T) {
	h := newHome(t)
	term := h.terminal(t)
	term.typed("run --name t " + root + "/guest/apps/tick.kx")
	term.expect("tick 1")
	term.send("\x1d") // Ctrl-]
	term.expect("detached")
	term.typed("ps -o name,stat --no-headers")
	term.expect(`t +[SR]`)
	term.typed("console t")
	term.expect(`tick \d`)
	term.send("\x03")
	term.typed("pidof t || echo nobody")
	term.expect("(?m)^nobody")
	term.typed("exit")
	term.exit(0)
}

// A pVM's terminal is a terminal: echo, line editing and end of file are its own.
func TestLineDisciplineInThePVM(t *testing.T) {
	h := newHome(t)
	term := h.terminal(t)
	term.typed("run --name cat " + root + "/guest/apps/cat.kx")
	h.started(t, "cat")
	term.send("helpp\x7flo\r") // a correction with backspace
	term.expect("(?m)^helplo\r?$")
	term.send("\x04")
	term.typed("echo status $?")
	term.expect("(?m)^status 0")
	term.typed("exit")
	term.exit(0)
}

func TestTwoSessionsOneEngine(t *testing.T) {
	h := newHome(t)
	a, b := h.terminal(t), h.terminal(t)
	a.typed("run -d --name shared " + root + "/guest/apps/spin.kx")
	a.expect(`(?m)^\d+\r?$`)
	b.typed("pidof shared && echo found")
	b.expect("(?m)^found")
	b.typed("kill -9 shared")
	a.typed("wait; echo status $?")
	a.expect("(?m)^status 137")
	a.typed("exit")
	b.typed("exit")
	a.exit(0)
	b.exit(0)
}

// A terminal that goes away takes nothing with it but the session.
func TestHangup(t *testing.T) {
	h := newHome(t)
	term := h.terminal(t)
	term.typed("run -d --name stays " + root + "/guest/apps/spin.kx")
	term.expect(`(?m)^\d+\r?$`)
	term.expect(prompt)
	term.cmd.Process.Signal(syscall.SIGHUP)
	term.exit(129)
	if out, _, code := h.run(t, "pidof", "stays"); code != 0 || out == "" {
		t.Errorf("pidof after a hangup: %q, status %d", out, code)
	}
}

// Ctrl-C reaches the foreground group of a family's terminal, and nobody else.
func TestForegroundGroup(t *testing.T) {
	h := newHome(t)
	var shown bytes.Buffer
	term := h.terminalOf(t, &pty.Winsize{Rows: 24, Cols: 100}, &shown, "run", "-m", "16M", h.compileFork(t, "foreground"))
	all := func(lines ...string) { // each has a console of its own, so in any order
		t.Helper()
		term.expect(strings.Join(orders(lines), "|"))
	}
	all("job in the background", "relative in the foreground", "shell ready")
	term.send("\x03")
	all("shell interrupted", "relative interrupted")
	term.send("f\r")
	term.expect("shell behind\r\n")
	term.send("\x03")
	term.expect("job interrupted\r\n")
	term.send("b\r")
	term.expect("shell in front\r\n")
	term.send("\x03")
	all("shell interrupted", "relative interrupted")
	term.send("\x04")
	term.exit(0)
	if out := shown.String(); strings.Count(out, "job interrupted") != 1 || strings.Contains(out, "lost") || strings.Contains(out, "not there") {
		t.Errorf("in all:\n%s", out)
	}
}

// orders is a pattern for each order in which lines may come, others between them.
func orders(lines []string) (all []string) {
	if len(lines) == 1 {
		return []string{lines[0] + `\r\n`}
	}
	for i, first := range lines {
		for _, rest := range orders(slices.Delete(slices.Clone(lines), i, i+1)) {
			all = append(all, first+`\r\n(.*\r\n)*?`+rest)
		}
	}
	return all
}

// A loop over pVMs too short-lived to take the interrupt ends at the first Ctrl-C.
func TestInterruptLoop(t *testing.T) {
	h := newHome(t)
	term := h.terminal(t)
	for i := range 5 {
		term.expect(prompt)
		term.send("while :; do run $APPS/hello.kx; done\r")
		term.expect("Hello from a pVM\r\n")
		time.Sleep(time.Duration(slowness) * time.Duration(101+37*i) * time.Millisecond) // somewhere in the loop
		term.send("\x03")
		term.expect(prompt)
		term.send("echo status $?\r")
		term.expect("status 130\r\n")
	}
}
