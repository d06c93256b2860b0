package shell

import (
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// What is longer than the terminal goes to the pager, on a terminal, and nowhere else.
func TestPager(t *testing.T) {
	cmd := kxsh(t.TempDir(), "-i")
	cmd.Env = append(cmd.Env, "TERM=xterm", "NO_COLOR=1", "PATH=/usr/bin:/bin", "PAGER=sed 's/^/paged: /'")
	s := screenOf(t, cmd)
	s.line("help")
	s.expect(`paged: Commands about pVMs.*\r\n(paged: .*\r\n)*paged:   version`)
	s.line("help version")
	s.expect("print the version\r\n")
	s.line("help | head -n 1")
	s.expect("Commands about pVMs")
	s.line("export PAGER='exec false'; help; echo status $?") // nobody reads: no error of the command's
	s.expect("status 0\r\n")
	s.line("export PAGER='echo asks; read x </dev/tty; echo read $x'; help; echo status $?")
	s.expect("asks\r\n")
	s.send("q\r")
	s.expect("read q\r\nstatus 0\r\n")
	s.line("export KXSH_PAGER=cat; help")
	s.expect("Commands about pVMs")
	s.line("exit")
	s.leaves(0)

	one := kxsh(t.TempDir(), "help")
	one.Env = append(one.Env, "TERM=xterm", "NO_COLOR=1", "PAGER=sed 's/^/paged: /'")
	s = screenOf(t, one)
	s.expect("paged: Commands about pVMs")
	s.leaves(0)
}

// Words are not cut at the terminal's edge.
func TestHelpFolds(t *testing.T) {
	cmd := kxsh(t.TempDir(), "help", "ps")
	cmd.Env = append(cmd.Env, "TERM=xterm", "NO_COLOR=1", "PAGER=cat")
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 12, Cols: 40})
	s := screenOn(t, cmd, f, err)
	s.leaves(0)
	time.Sleep(100 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	wide := 0
	for line := range strings.Lines(s.out.String()) {
		wide = max(wide, len([]rune(strings.TrimRight(line, "\r\n"))))
	}
	if wide >= 40 {
		t.Errorf("%d columns on a terminal of 40: %s", wide, s.out.String())
	}
}

func TestHelpFlows(t *testing.T) {
	const text = "A sentence that\ngoes on.\nAnother one:\n  an example\nand what follows\nit.\n\nThe end"
	if got, want := flow(text, 80), "A sentence that goes on.\nAnother one:\n  an example\nand what follows it.\n\nThe end"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := flow(text, 0); got != text {
		t.Errorf("elsewhere than on a terminal: %q", got)
	}
}
