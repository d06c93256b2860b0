package completions_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"kxsh/completions"
)

// interactive is how each shell starts with nothing but our script, and what it is told first.
var interactive = map[string]struct {
	args  []string
	setup string
}{
	"bash": {[]string{"--norc", "--noprofile", "-i"}, "bind 'set bell-style none'; source SCRIPT; kxsh ready\n"},
	"zsh":  {[]string{"-f", "-i"}, "fpath=(DIR $fpath); autoload -Uz compinit; compinit -u -D; kxsh ready\n"},
	"fish": {[]string{"--no-config", "-i"}, "source SCRIPT; kxsh ready\n"},
}

// typed are lines as somebody types them, with Tab, and the arguments that kxsh then gets.
var typed = []struct{ line, want string }{
	{"pst\t", "pstree"},
	{"no\t", "notes.txt"},
	{"engine --b\t", "engine|--background"},
	{"--color ne\t ps", "--color|never|ps"},
	{"--log-level=de\t ps", "--log-level=debug|ps"},
	{"-c ps no\t", "-c|ps|notes.txt"},
	{"kill -s KI\t7", "kill|-s|KILL|7"},
	{"kill --signal=KI\t 7", "kill|--signal=KILL|7"},
	{"kill -KI\t12", "kill|-KILL|12"},
	{"kill web-\t7", "kill|web-worker|7"},
	{"kill 1\t", "kill|12"},
	{"kill 7 1\t", "kill|7|12"},
	{"kill %3\t", "kill|%30"},
	{"--socket /s kill d\t", "--socket|/s|kill|db"},
	{"pgrep -l web-\t", "pgrep|-l|web-worker"},
	{"run --det\the\tx", "run|--detach|hello.kx|x"},
	{"run -m 64M he\tx", "run|-m|64M|hello.kx|x"},
	{"run -d my\t", "run|-d|my app.kx"},
	{"run -d \"my\t", "run|-d|my app.kx"},
	{`run -d my\ ` + "\t", "run|-d|my app.kx"},
	{"run folder/i\t", "run|folder/inner.kx"},
	{"run no\t", "run|no"},
	{"run --net us\thello.kx", "run|--net|user|hello.kx"},
	{"run --restart=al\t hello.kx", "run|--restart=always|hello.kx"},
	{"run --restart un\thello.kx", "run|--restart|unless-stopped|hello.kx"},
	{"run hello.kx no\t", "run|hello.kx|notes.txt"},
	{"inspect he\t", "inspect|hello.kx"},
	{"inspect d\t", "inspect|db"},
	{"ps -o pid,na\t", "ps|-o|pid,name"},
	{"ps --sort=-me\t", "ps|--sort=-mem"},
	{"ps --no-h\t", "ps|--no-headers"},
	{"help pst\t", "help|pstree"},
	{"bench --quick rec\tboot-m\t", "bench|--quick|recycle|boot-many"},
	{"pool re\t3", "pool|resize|3"},
	{"bench --js\tbo\t", "bench|--json|boot"},
	{"cc -o x no\t", "cc|-o|x|notes.txt"},
}

// In every shell that is here, on a terminal, Tab makes of a line what it should.
func TestTyping(t *testing.T) {
	for _, sh := range completions.Shells {
		if _, err := exec.LookPath(sh); err != nil {
			continue
		}
		t.Run(sh, func(t *testing.T) {
			d := newDesk(t)
			term := d.start(t, sh)
			for _, c := range typed {
				if got := term.enter(t, "kxsh "+c.line+"\n"); got != c.want {
					t.Errorf("%q: kxsh got %q, want %q", c.line, got, c.want)
				}
			}
			term.enter(t, "kxsh --socket /other kill 1\t\n")
			if got, _ := os.ReadFile(d.asked); !strings.Contains(string(got), "/other") {
				t.Errorf("asked %q, want the engine at /other", got)
			}
			d.noneRan(t)
		})
	}
}

// terminal is a shell on a pty.
type terminal struct {
	desk *desk
	pty  *os.File

	mu     sync.Mutex
	screen bytes.Buffer
}

// start starts the shell and waits until it has read the script.
func (d *desk) start(t *testing.T, sh string) *terminal {
	how := interactive[sh]
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(sh, how.args...)
	cmd.Env, cmd.Dir = d.env(), d.dir
	f, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{desk: d, pty: f}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := f.Read(buf)
			term.mu.Lock()
			term.screen.Write(buf[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		f.Close()
	})
	setup := strings.NewReplacer("SCRIPT", filepath.Join(dir, completions.File(sh)), "DIR", dir).Replace(how.setup)
	if got := term.enter(t, setup); got != "ready" {
		t.Fatalf("%s: setting up: kxsh got %q", sh, got)
	}
	return term
}

// enter types a line and returns the arguments that kxsh then got.
func (term *terminal) enter(t *testing.T, line string) string {
	t.Helper()
	os.Remove(term.desk.seen)
	if _, err := term.pty.WriteString(line); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got, err := os.ReadFile(term.desk.seen); err == nil {
			return strings.ReplaceAll(strings.TrimSuffix(string(got), "\n"), "\n", "|")
		}
	}
	term.mu.Lock()
	defer term.mu.Unlock()
	t.Fatalf("%q ran nothing; the screen:\n%q", line, term.screen.String())
	return ""
}
