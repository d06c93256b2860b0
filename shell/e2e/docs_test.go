package e2e

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// Whoever types what the pages say sees what they show.
func TestDocs(t *testing.T) {
	files, err := pages()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		p, err := readPage(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if len(p.blocks) == 0 {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".md"), func(t *testing.T) {
			if p.only != "" {
				onlyOn(t, p.only, p.why)
			}
			if where == "hosted" { // on Xen all engines share one table of domains
				t.Parallel()
			}
			h := newHome(t)
			r := &reader{t: t, h: h, page: p, stands: map[string]string{}}
			defer r.close()
			for i := range p.blocks {
				r.block(&p.blocks[i])
			}
		})
	}
}

// reader types what a page says, in the home's folder.
type reader struct {
	t       *testing.T
	h       *home
	page    *page
	bash    *dialogue         // nil: not yet
	session *terminal         // an interactive kxsh; nil: none
	stands  map[string]string // see likeness
}

func (r *reader) close() {
	r.leave()
	if r.bash != nil {
		// The page may have had an engine somewhere else.
		if socket, _ := r.inBash("printf %s $KXSH_SOCKET"); socket != r.h.socket() {
			if err := shutdown(socket); err != nil {
				r.t.Error(err)
			}
		}
		r.bash.close()
	}
}

func (r *reader) failf(line int, format string, args ...any) {
	r.t.Helper()
	r.t.Fatalf("%s:%d: %s", r.page.name, line, fmt.Sprintf(format, args...))
}

func (r *reader) block(b *block) {
	switch {
	case b.by != "":
		if !slices.Contains(treeTests(r.t), b.by) {
			r.failf(b.line, "there is no test %s in tree_test.go", b.by)
		}
	case b.only != "" && b.only != where:
		r.t.Logf("%s:%d: only on %s: %s", r.page.name, b.line, b.only, b.why)
	case b.file != "":
		r.h.write(r.t, b.file, []byte(strings.Join(b.lines, "\n")+"\n"))
	case b.shell != nil:
		r.inShell(b)
	case b.lang == "sh", b.lang == setupLang:
		r.script(b)
	case b.lang == "":
		r.transcript(b)
	}
}

var testName = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// treeTests are the tests that run what TestDocs does not.
func treeTests(t *testing.T) (names []string) {
	b, err := os.ReadFile("tree_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range testName.FindAllStringSubmatch(string(b), -1) {
		names = append(names, m[1])
	}
	return names
}

// script runs commands by bash, of which each must succeed.
func (r *reader) script(b *block) {
	list, err := b.commands()
	if err != nil {
		r.failf(b.line, "%v", err)
	}
	for _, c := range list {
		if out, status := r.host(c.text); status != 0 {
			r.failf(c.line, "exit status %d:\n%s", status, out)
		}
	}
}

// inShell runs a block by another shell, if that is here.
func (r *reader) inShell(b *block) {
	if _, err := exec.LookPath(b.shell[0]); err != nil {
		r.t.Logf("%s:%d: not run: %v", r.page.name, b.line, err)
		return
	}
	quiet := "-f"
	if b.shell[0] == "fish" {
		quiet = "--no-config"
	}
	cmd := exec.Command(b.shell[0], quiet, "-c", strings.Join(append(b.shell[1:], b.lines...), "\n"))
	cmd.Env, cmd.Dir = r.h.env, r.h.dir
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		r.failf(b.line, "%v\n%s", err, out)
	}
}

var lastOne = regexp.MustCompile(` ((?:0x[0-9a-f]+|[0-9]+))\r?$`)

// exitStatus tells that a line of a command's output may be an exit status.
var exitStatus = regexp.MustCompile(`\$\?`)

func (r *reader) transcript(b *block) {
	steps := b.steps()
	for i, s := range steps {
		next := kxshPrompt
		if i+1 < len(steps) && steps[i+1].prompt != hostPrompt {
			next = steps[i+1].prompt
		}
		l := likeness{exact: exitStatus.MatchString(s.typed), stands: r.stands}
		// What the page shows stands for what this run has shown, where it is the last word.
		if m := lastOne.FindStringSubmatchIndex(s.typed); m != nil {
			w := s.typed[m[2]:m[3]]
			s.typed = s.typed[:m[2]] + cmp.Or(r.stands[w], w) + s.typed[m[3]:]
		}
		again := lists.MatchString(s.typed)
		seen, ok := "", false
		for end := time.Now().Add(patience / 3); !ok; time.Sleep(50 * time.Millisecond) {
			switch {
			case s.typed == "kxsh":
				r.leave()
				r.enter()
			case s.prompt == hostPrompt:
				r.leave()
				seen, _ = r.host(s.typed)
			default:
				seen = r.inSession(&s, next, &l)
			}
			ok = l.match(s.want, strings.Split(seen, "\n"))
			if !again || time.Now().After(end) {
				break
			}
		}
		if !ok {
			r.failf(s.line, "%q shows\n%s\nand not\n%s", s.typed, seen, strings.Join(s.want, "\n"))
		}
	}
}

// lists are commands that may be typed again until they show what is to come.
var lists = regexp.MustCompile(`^(kxsh )?(ps|pstree|logs|ipcs|events|inspect|stats|ldd|pgrep|pidof)\b[^;&|]*$`)

// enter starts an interactive session, wide enough for every line.
func (r *reader) enter() {
	r.session = r.h.terminal(r.t)
	pty.Setsize(r.session.pty, &pty.Winsize{Rows: 50, Cols: 250})
	r.session.expect(prompt)
}

// leave ends it. Ctrl-D does nothing while a command is on its way; where a test has failed, that may go on for ever.
func (r *reader) leave() {
	if r.session == nil {
		return
	}
	cmd := r.session.cmd
	done := make(chan struct{})
	go func() { cmd.Wait(); close(done) }()
	give := time.After(patience / 3)
	for over := false; !over; {
		r.session.pty.WriteString("\x04") // it may just have left
		select {
		case <-done:
			over = true
		case <-give:
			cmd.Process.Kill()
		case <-time.After(200 * time.Millisecond):
		}
	}
	r.session = nil
}

// atPrompt is what ends in a prompt, by whose it is.
var atPrompt = map[promptKind]*regexp.Regexp{
	noPrompt:      regexp.MustCompile(`(?:^|\n)()$`),
	kxshPrompt:    regexp.MustCompile(`(?:^|\n)((?:kxsh@[^ \n]+(?: \d+)?> *)+)$`),
	programPrompt: regexp.MustCompile(`(?:^|\n)(> *)$`),
}

var echoed = regexp.MustCompile(`^kxsh@[^ \n]+(?: \d+)?> .*\n`)

// settled is how long nothing comes when nothing more is to be expected soon.
var settled = 20 * time.Millisecond * time.Duration(slowness)

// inSession types a step in the session and returns what is seen until the prompt next: at once if that is like it, and some
// time later if not.
func (r *reader) inSession(s *step, next promptKind, l *likeness) (seen string) {
	if r.session == nil {
		r.enter()
	}
	out := r.session.out
	out.seen = len(out.String())
	r.session.send(s.typed)
	for end := time.Now().Add(patience / 3); ; {
		quiet := false
		select {
		case <-out.wake:
		case <-time.After(settled):
			quiet = true
		}
		seen = strings.ReplaceAll(out.String()[out.seen:], "\r", "")
		if strings.HasSuffix(s.typed, "\r") { // the line as it was echoed
			var entered bool
			if _, seen, entered = strings.Cut(seen, "\n"); !entered && time.Now().Before(end) {
				continue
			}
		}
		m := atPrompt[next].FindStringSubmatchIndex(seen)
		if m != nil {
			text := strings.NewReplacer("^C", "", "^Z\n", "").Replace(seen[:m[2]])
			// What was typed before kxsh looked is echoed twice, with a prompt between: that is not yet the end of a silent command.
			if again := echoed.FindString(text); strings.HasSuffix(again, "> "+strings.TrimSuffix(s.typed, "\r")+"\n") {
				text = text[len(again):]
			}
			if len(s.want) == 0 && next == kxshPrompt && !quiet {
				continue
			}
			if l.match(s.want, strings.Split(text, "\n")) || next != noPrompt && lists.MatchString(strings.TrimSpace(s.typed)) {
				return text
			}
		}
		if time.Now().After(end) {
			return seen
		}
	}
}

// host runs a command by bash and returns what it printed and its exit status. Where compiling takes long, what the tests on the
// machine around have compiled is taken.
func (r *reader) host(command string) (string, int) {
	kept := r.kept(command)
	if kept != "" && where == "xen" {
		if b, err := os.ReadFile(kept); err == nil {
			r.h.write(r.t, outputOf(command), b)
			os.Chmod(filepath.Join(r.h.dir, outputOf(command)), 0o755)
			return "", 0
		}
	}
	text, status := r.inBash(command)
	if kept != "" && status == 0 {
		if err := keep(filepath.Join(r.h.dir, outputOf(command)), kept); err != nil {
			r.t.Logf("not kept: %v", err)
		}
	}
	return text, status
}

var compiles = regexp.MustCompile(`^kxsh cc .*-o (\S+)`)

func outputOf(command string) string { return compiles.FindStringSubmatch(command)[1] }

// kept is where what a command compiles is kept, named after what it is made of; "" if it compiles nothing.
func (r *reader) kept(command string) string {
	if !compiles.MatchString(command) {
		return ""
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%x %q", kxshDigest(), command)
	for _, b := range r.page.blocks {
		fmt.Fprintf(sum, " %q", b.lines)
	}
	return filepath.Join(programs, fmt.Sprintf("docs-%s-%x", outputOf(command), sum.Sum(nil)[:8]))
}

func (r *reader) inBash(command string) (string, int) {
	if r.bash == nil {
		r.bash = r.h.dialogue(r.t, "bash", "--noprofile", "--norc")
	}
	return r.bash.say(command)
}
