package e2e

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

var updateScreens = flag.Bool("update-screens", false, "write what the screens are now into testdata/screens")

// screen is a terminal as a person sees it.
type screen struct {
	*terminal
	cols, rows int

	mu sync.Mutex
	vt *vt.Emulator
}

// Write is what the program writes.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vt.Write(p)
}

func (h *home) screen(t *testing.T, cols, rows int, args ...string) *screen {
	t.Helper()
	s := &screen{cols: cols, rows: rows, vt: vt.NewEmulator(cols, rows)}
	s.terminal = h.terminalOf(t, &pty.Winsize{Rows: uint16(rows), Cols: uint16(cols)}, s, args...)
	go io.Copy(s.pty, s.vt) // what a terminal answers when it is asked
	t.Cleanup(func() { s.vt.InputPipe().(io.Closer).Close() })
	return s
}

// What is another one each time, and on each machine. A number has the room of the blanks before it.
var (
	figure = regexp.MustCompile(` *[0-9][0-9:.]*[%KMGhmsuµn]*`)
	header = regexp.MustCompile(`^(kxsh top|pVMs|CPU)`)
	moving = regexp.MustCompile(`[▁▂▃▄▅▆▇█|# ]+`)
)

// text is the screen without what changes.
func (s *screen) text() string {
	host, _ := os.Hostname()
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for line := range strings.Lines(s.vt.String()) {
		line = strings.TrimRight(line, " \n")
		line = strings.ReplaceAll(line, host, "HOST")
		line = strings.Replace(strings.Replace(line, "hosted on", "HV on", 1), "xen on", "HV on", 1)
		line = figure.ReplaceAllStringFunc(line, func(n string) string { return fmt.Sprintf("%*s", len([]rune(n)), "#") })
		if header.MatchString(line) {
			line = moving.ReplaceAllString(line, " ")
		}
		fmt.Fprintln(&b, strings.TrimRight(line, " "))
	}
	return b.String()
}

// shows waits until the screen is that of a file.
func (s *screen) shows(name string) {
	s.t.Helper()
	file := filepath.Join("testdata", "screens", fmt.Sprintf("%s-%dx%d.txt", name, s.cols, s.rows))
	if *updateScreens {
		time.Sleep(2 * time.Second)
		if err := os.WriteFile(file, []byte(s.text()), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	await(s.t, name, func() (bool, string) {
		got := s.text()
		return got == string(want), got + "\nwant:\n" + string(want)
	})
}

// What the session and top look like on terminals of three sizes.
func TestScreens(t *testing.T) {
	h := newHome(t)
	h.env = append(h.env, "PAGER=cat") // what there is on a machine is not ours
	h.output(t, "-c", "run -d --name web $APPS/tick.kx; run -d --name lone $APPS/tick.kx")
	h.started(t, "lone")
	h.output(t, "-c", "fork -n 2 web")
	for _, size := range [][2]int{{40, 12}, {80, 24}, {200, 60}} {
		s := h.screen(t, size[0], size[1])
		s.typed(`printf '\033[2J\033[H'`) // the first prompt may be there before the engine has been asked how many pVMs there are
		for _, line := range []string{"ps --forest -o vcpus,name", "pstree", "kil web", "kill -WINCH nobody", "echo $?"} {
			s.typed(line)
		}
		s.shows("session")
		s.typed("top -d 0.2")
		s.send("p")
		s.shows("list")
		s.send("t/lone\r")
		s.shows("tree")
		s.send("q")
		s.typed(`printf '\033[2J\033[H'`)
		s.typed("help pidof")
		s.expect(prompt)
		s.send("ps --\t\t")
		s.shows("help")
		s.send("\x03\x03")
		s.typed(`printf '\033[2J\033[H'`)
		s.typed(`sh -c 'echo up; read x'`)
		s.expect("\nup\r\n") // before, Ctrl-Z may be a key of the line editor's
		s.send("\x1a")
		s.typed("exit")
		s.typed("kill %+; exit 0")
		s.exit(0)
		s.shows("left")
	}
}
