package shell

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

const (
	otherScreen = "\x1b[?1049h\x1b[?25l" // the terminal's other screen, without the cursor
	mainScreen  = "\x1b[?25h\x1b[?1049l"
)

var watchCommand = Command{
	Name:     "watch",
	Synopsis: "[-n SECONDS] [-t] COMMAND [ARG…]",
	Short:    "run a command again and again, and show what it prints",
	Long:     "COMMAND is a line for kxsh: its commands, programs of the host and pipelines, in quotes where this shell must not read them itself.\nAs much as fits is shown. Ctrl-C leaves.",
	Examples: []string{"watch ps --forest", "watch -n 0.5 'ps --json | jq length'"},
	Flags: func(f *pflag.FlagSet) {
		f.Float64P("interval", "n", 2, "how long to rest between two runs, in `SECONDS`, at least 0.1")
		f.BoolP("no-title", "t", false, "no first line with interval, command and time")
	},
	Args:    Topic,
	Leading: true,
	Run:     watch,
}

// watched is what watch shows.
type watched struct {
	c     *Call
	tty   *os.File
	line  string
	rest  time.Duration
	title bool

	mu     sync.Mutex
	hidden bool // stopped by Ctrl-Z
}

func watch(c *Call) error {
	if err := c.want(1, -1); err != nil {
		return err
	}
	seconds, _ := c.Flags.GetFloat64("interval")
	if !(seconds >= 0.1 && seconds <= 1e6) {
		return usagef("-n %v: not a time from 0.1 seconds to 1000000", seconds)
	}
	w := &watched{c: c, tty: terminalOf(c.Stdout), line: strings.Join(c.Args, " "), rest: time.Duration(seconds * float64(time.Second)), title: !c.flagBool("no-title")}
	if w.tty == nil {
		return fmt.Errorf("standard output is no terminal: write a loop, or top -b")
	}
	x := &execution{ctx: c.Context, shell: c.shell, job: c.job}
	sub := x.subshell("watch")
	c.takeSignals(func(sig syscall.Signal) bool {
		switch sig {
		case syscall.SIGTSTP:
			w.hide(true)
		case syscall.SIGCONT:
			w.hide(false)
		default:
			c.cancel(signalled(sig))
			sub.main.deliver(sig)
		}
		return true
	})
	resized, done := c.shell.resized()
	defer done()
	w.hide(false)
	defer w.hide(true)
	for c.Err() == nil {
		c.execution().hold()
		var out bytes.Buffer
		r, err := sub.runner(c.Environ, c.Dir, nil, &out, &out, nil)
		if err != nil {
			return err
		}
		sub.program(r, w.line, &out)
		w.draw(out.String())
		for again := time.After(w.rest); again != nil && c.Err() == nil; {
			select {
			case <-c.Done():
			case <-resized:
				w.draw(out.String())
			case <-again:
				again = nil
			}
		}
	}
	return c.Err()
}

// hide goes to the terminal's other screen, or leaves it.
func (w *watched) hide(hidden bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hidden = hidden
	if hidden {
		fmt.Fprint(w.tty, mainScreen)
	} else {
		fmt.Fprint(w.tty, otherScreen)
	}
}

// draw shows the beginning of a text, as much as there is room for.
func (w *watched) draw(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	cols, rows, err := term.GetSize(int(w.tty.Fd()))
	if w.hidden || err != nil {
		return
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if w.title {
		now := time.Now().Format("15:04:05")
		what := fmt.Sprintf("Every %v: %s", w.rest, w.line)
		what = ansi.Truncate(what, max(0, cols-len(now)-2), "…")
		lines = append([]string{what + strings.Repeat(" ", max(1, cols-ansi.StringWidth(what)-len(now))) + now, ""}, lines...)
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, line := range lines[:min(rows, len(lines))] {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(ansi.Truncate(printable(strings.ReplaceAll(line, "\t", "    ")), cols, "") + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	fmt.Fprint(w.tty, b.String())
}
