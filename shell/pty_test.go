package shell

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// screen is kxsh on a pty.
type screen struct {
	t    *testing.T
	f    *os.File
	cmd  *exec.Cmd
	done chan int
	tty  string // its terminal

	mu   sync.Mutex
	out  bytes.Buffer
	seen int
}

// screens starts kxsh on a pty in dir.
func screens(t *testing.T, dir string, args ...string) *screen {
	t.Helper()
	cmd := kxsh(dir, args...)
	cmd.Env = append(cmd.Env, "TERM=xterm", "NO_COLOR=1", "PATH=/usr/bin:/bin")
	return screenOf(t, cmd)
}

// screenOf starts a command on a pty.
func screenOf(t *testing.T, cmd *exec.Cmd) *screen {
	t.Helper()
	f, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	pty.Setsize(f, &pty.Winsize{Rows: 24, Cols: 100})
	if m, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS); err == nil { // or Ctrl-C and Ctrl-Z take with them what has yet to be read
		m.Lflag |= unix.NOFLSH
		unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, m)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s := screenOn(t, cmd, f, cmd.Start())
	s.tty = tty.Name()
	return s
}

// screenOn is a command that has been started on a pty, or has not.
func screenOn(t *testing.T, cmd *exec.Cmd, f *os.File, err error) *screen {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{t: t, f: f, cmd: cmd, done: make(chan int, 1)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := f.Read(buf)
			s.mu.Lock()
			s.out.Write(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		cmd.Wait()
		s.done <- cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() { cmd.Process.Kill(); f.Close() })
	return s
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`)

// expect waits until re has appeared after what was matched before.
func (s *screen) expect(re string) {
	s.t.Helper()
	s.appears(re, func() {})
}

// told is expect for what is told before a prompt: Enter asks for another one.
func (s *screen) told(re string) {
	s.t.Helper()
	s.appears(re, func() { s.send("\r") })
}

// appears waits until re has appeared after what was matched before; now and then it nudges.
func (s *screen) appears(re string, nudge func()) {
	s.t.Helper()
	want := regexp.MustCompile(re)
	var rest string
	for i := range 2000 {
		s.mu.Lock()
		text := escapes.ReplaceAllString(s.out.String(), "")
		rest = text[min(s.seen, len(text)):]
		loc := want.FindStringIndex(rest)
		if loc != nil {
			s.seen += loc[1]
		}
		s.mu.Unlock()
		if loc != nil {
			return
		}
		if i%50 == 49 {
			nudge()
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatalf("%q does not appear in %q\n%s", re, rest, s.processes("pid,ppid,pgid,tpgid,stat,wchan:20,args"))
}

// processes is what ps says of those on the terminal.
func (s *screen) processes(columns string) string {
	out, _ := exec.Command("ps", "-o", columns, "-t", strings.TrimPrefix(s.tty, "/dev/")).Output()
	return string(out)
}

// keys waits until the terminal is a pVM's, of which has appeared that it is to be started: the shell's own is given back before that.
func (s *screen) keys() {
	s.t.Helper()
	for range 2000 {
		if m, err := unix.IoctlGetTermios(int(s.f.Fd()), unix.TCGETS); err == nil && m.Lflag&unix.ICANON == 0 { // either side has the modes of both
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatal("the terminal does not become raw")
}

func (s *screen) send(text string) {
	s.t.Helper()
	if _, err := s.f.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// line types a line at the prompt.
func (s *screen) line(text string) {
	s.t.Helper()
	s.expect(`> $`)
	s.send(text + "\r")
	f := strings.Fields(text)
	s.expect(regexp.QuoteMeta(f[len(f)-1]) + `\s*\r?\n`)
}

func (s *screen) leaves(status int) {
	s.t.Helper()
	select {
	case got := <-s.done:
		if got != status {
			s.t.Errorf("exit status %d, want %d", got, status)
		}
	case <-time.After(time.Minute):
		s.t.Fatalf("does not leave: %q", s.out.String())
	}
}

func TestTyping(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("echo hello there")
	s.expect("hello there\r\n")
	s.line("for i in 1 2; do")
	s.expect("> $")
	s.send("echo n$i\rdone\r")
	s.expect("n1\r\nn2\r\n")
	s.expect("> $")
	s.send("echo a \\\r")
	s.expect(`\n\r> $`)
	s.send("b\\\\ # \\\r") // an escaped backslash, and one in a comment
	s.expect(`\na b\\\r\n`)
	s.expect("> $")
	s.send("half a line\x03")
	s.line("echo $?")
	s.expect("130\r\n")
	s.line("pss")
	s.expect(`command not found: did you mean ps\?`)
	s.line("if )")
	s.expect("kxsh: .*\r\n")
	s.expect("> $")
	s.send("echo ab\x7fc\x01\x1b[C\x05!\r") // backspace, home, right, end
	s.expect("ac!\r\n")
	s.expect("> $")
	s.send("(exit 7)\r")
	s.expect("> $")
	s.send("\x04")
	s.leaves(7)
}

func TestExitAndStartFile(t *testing.T) {
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "config/kxsh"), 0o755)
	os.WriteFile(filepath.Join(dir, "config/kxsh/kxshrc"), []byte("alias greet='echo from alias'\nFROM=rc\ntrap 'echo farewell' EXIT\n"), 0o644)
	s := screens(t, dir, "-i")
	s.line("greet $FROM")
	s.expect("from alias rc\r\n")
	s.line("exit 5")
	s.expect("farewell\r\n")
	s.leaves(5)
}

func TestHistory(t *testing.T) {
	dir := t.TempDir()
	s := screens(t, dir, "-i")
	s.line("echo first one")
	s.expect("first one\r\n")
	s.expect("> $")
	s.send("if true; then\r")
	s.expect("> $")
	s.send("echo several\r")
	s.expect("> $")
	s.send("fi\r")
	s.expect("several\r\n")
	s.expect("> $")
	s.send("\x1b[A\r") // up: the several lines, as one
	s.expect("if true; then echo several; fi")
	s.expect("several\r\n")
	s.expect("> $")
	s.send("\x12first\r") // Ctrl-R
	s.expect("first one\r\n")
	s.expect("first one\r\n")
	s.line("history")
	s.expect("1  echo first one")
	s.line("exit")
	s.leaves(0)

	s = screens(t, dir, "-i") // the next session knows
	s.expect("> $")
	s.send("\x1b[A\x1b[A")
	s.expect("history")
	s.send("\x03")
	s.line("exit 0")
	s.leaves(0)
}

func TestPaste(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.expect("> $")
	s.send("\x1b[200~echo one\necho two\x1b[201~")
	time.Sleep(200 * time.Millisecond)
	s.mu.Lock()
	early := strings.Contains(s.out.String(), "\none\r")
	s.mu.Unlock()
	if early {
		t.Error("a pasted newline ran the line")
	}
	s.send("\r")
	s.expect("one\r\ntwo\r\n")
	s.line("exit")
	s.leaves(0)
}

// A narrow terminal shows what a pVM is called.
func TestNarrow(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	pty.Setsize(s.f, &pty.Winsize{Rows: 12, Cols: 40})
	s.line("run -d spin.kx; run -d --name twelve-chars spin.kx; ps")
	s.expect(`PID STAT %CPU  MEM NAME\r\n(?s:.*)twelve-chars\r\n`)
	s.line("ps -o pid,fam; ps | cat; exit")
	s.expect(`PID FAM\r\n(?s:.*)PID PPID FAM STAT`)
	s.leaves(0)
}

// Ctrl-C leaves a search with an empty line, and what has to be several lines comes back from the history as such.
func TestSearch(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("echo sought")
	s.expect("^sought\r\n")
	s.expect("> $")
	s.send("\x12soug\x12")
	s.expect("search: soug")
	s.send("\x03echo other\r")
	s.expect("\nother\r\n")
	s.line("cat <<E")
	s.send("a\rE\r")
	s.expect("\na\r\n")
	s.expect("> $")
	s.send("\x1b[A")
	s.expect("cat <<E␊a␊E")
	s.send("\r")
	s.expect("\na\r\n")
	s.line("exit")
	s.leaves(0)
}

func TestCompletion(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "my image.kx"), nil, 0o644)
	os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o644)
	s := screens(t, dir, "-i")
	s.expect("> $")
	s.send("help reni\t\r")
	s.expect("help renice ")
	s.expect(`usage: renice`)
	s.line("run -d --name webserver spin.kx")
	s.expect("1\r\n")
	s.expect("> $")
	s.send("ps -o pid --no-h\tweb\t\r")
	s.expect("--no-headers webserver")
	s.expect(`\n1\r\n`)
	s.expect("> $")
	s.send("ipcrm 1\t\t")
	s.expect("11 +12 +13")
	s.send("\x03\x03") // the list, then the line
	s.expect("> $")
	s.send("run my\t")
	s.expect(`run my\\ image.kx $`)
	s.send("\x03")
	s.expect("> $")
	s.send("kill -KI\t1\r")
	s.expect("-KILL 1")
	s.line("wait 1; echo $?")
	s.expect("137\r\n")
	s.expect("> $")
	s.send("ps --sort -m\t\t")
	s.expect("mem")
	s.expect("maxmem")
	s.send("\x03\x03") // the list, then the line
	s.line("exit 0")
	s.leaves(0)
}

// A terminal that hangs up ends the session, also while a line is being edited.
func TestHangup(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.expect("> $")
	s.cmd.Process.Signal(syscall.SIGTERM) // an interactive shell ignores it
	s.send("echo still here\r")
	s.expect("\nstill here\r\n")
	s.expect("> $")
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.leaves(129)
}

// The console of a pVM: raw mode, Ctrl-C, Ctrl-D, Ctrl-], size.
func TestConsole(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("echo up; run cat.kx")
	s.expect("up\r\n")
	s.keys()
	s.send("typed\r")
	s.expect("typed\r\n")
	s.send("\x03")
	s.line("echo status $?")
	s.expect("status 130\r\n")
	s.line("echo up; run cat.kx")
	s.expect("up\r\n")
	s.keys()
	s.send("\x04")
	s.line("echo status $?")
	s.expect("status 0\r\n")
	s.line("run --name sizes size.kx")
	s.expect("size 24x100")
	if err := pty.Setsize(s.f, &pty.Winsize{Rows: 30, Cols: 90}); err != nil {
		t.Fatal(err)
	}
	s.expect("size 30x90")
	s.send("\x1d")
	s.expect(`\[detached from 3\]`)
	s.line("ps -o name --no-headers")
	s.expect("sizes\r\n")
	s.line("console sizes")
	s.expect(`\[attached to 3; Ctrl-\] detaches\]`)
	s.keys()
	s.send("\x1d")
	s.expect(`\[detached from 3\]`)
	s.line("kill sizes; wait; echo status $?")
	s.expect("status 143\r\n")
	s.line("for i in 1 2 3; do echo turn $i; run cat.kx; done")
	s.expect("turn 1\r\n")
	s.keys()
	s.send("\x03") // ends the loop, not one turn of it
	s.line("ps -e --no-headers | wc -l")
	s.expect("4\r\n")
	s.line("echo up; run cat.kx")
	s.expect("up\r\n")
	s.keys()
	s.send("\x1d")
	s.expect(`\[detached from 5\]`)
	s.line("console 5")
	s.expect(`\[attached to 5; .*\]\r\n`)
	s.send("half a line")
	s.expect("half a line")
	s.send("\x04")
	s.expect(`^\r\n\[5 has ended\]`)
	s.line("exit")
	s.leaves(0)
}

// Ctrl-C ends what runs in the foreground, and the line, not the jobs nor the shell.
func TestInterrupt(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("sleep 100 &")
	s.expect(`\[1\] \d+\r\n`)
	s.line("sleep 50; echo not reached")
	s.becomes("sleep", "S S+")
	s.send("\x03")
	s.line("echo status $?")
	s.expect("status 130\r\n")
	s.line("echo in; while :; do :; done")
	s.expect("in\r\n")
	s.send("\x03")
	s.line("read -p 'name? ' x")
	s.expect(`name\? `)
	s.send("\x03")
	s.line("jobs")
	s.expect(`\[1\]\+  Running    sleep 100 &`)
	s.line("kill %1; wait %1; echo status $?")
	s.expect("status 143\r\n")
	s.line("run spin.kx &")
	s.expect(`\[2\] 1\r\n`)
	s.expect(`kxsh@\S+ 1> `)
	s.send("kill $!\r")
	s.told(`\[2\]\+  SIGTERM    run spin.kx &`)
	s.line("trap 'echo trapped' INT; sleep 50")
	s.becomes("sleep", "S+")
	s.send("\x03")
	s.expect("> $")
	s.send("echo next\r")
	s.expect("next\r\n")
	s.line("exit")
	s.leaves(0)
}

// Ctrl-C ends the line when the pVM does not live to hear of it, whenever that is, but not when the pVM
// has heard it and ended well.
func TestInterruptUnheard(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("run polite.kx; echo went on $?")
	s.expect("ready\r\n")
	s.keys()
	s.send("\x03")
	s.expect("went on 0\r\n")
	s.line("run deaf.kx; echo not reached")
	s.expect("ready\r\n")
	s.keys()
	s.send("\x03")
	s.line("echo status $?")
	s.expect("status 130\r\n")
	s.line("exit")
	s.leaves(0)
}

// Whoever started the session, such as make, is not interrupted with what runs in it, and has the
// terminal again afterwards.
func TestForegroundGroup(t *testing.T) {
	dir := t.TempDir()
	cmd := kxsh(dir)
	sh := exec.Command("/bin/sh", "-c", `"$0" -i; echo left $?; read x; echo read $x`, cmd.Path)
	sh.Env, sh.Dir = append(cmd.Env, "TERM=xterm", "NO_COLOR=1", "PATH=/usr/bin:/bin"), dir
	s := screenOf(t, sh)
	s.line("sleep 50; echo not reached")
	s.becomes("sleep", "S+")
	s.send("\x03")
	s.line("echo status $?")
	s.expect("status 130\r\n")
	s.line("exit 4")
	s.expect("left 4\r\n")
	s.send("word\r")
	s.expect("read word\r\n")
	s.leaves(0)
}
