package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// scene is a home of its own, in which examples of the commands' help are typed one after the other, with what has to be done before and
// what is to be seen afterwards.
type scene struct {
	name    string
	in      string // who reads: "" a kxsh without a terminal, "terminal" one with it, "bash" another shell
	only    string // the hypervisor it is for, if not for all, and why
	why     string
	prepare func(t *testing.T, h *home) // beside web.kx, which is in the home's folder
	steps   []typing
}

// typing is a line of a scene.
type typing struct {
	example string // as the help has it; "": the line is none
	typed   string
	shows   string // a pattern of all that is printed, standard error too; on a terminal, of a part of it
	status  int    // not on a terminal
	asked   string // on a terminal, a line that the program in the foreground is asked to repeat: it goes on by then
	keys    string // what ends it on a terminal
}

// ex is an example, and what it shows. That it succeeds goes without saying.
func ex(line, shows string) typing { return typing{example: line, typed: line, shows: shows} }

// do is something else that is typed.
func do(line, shows string) typing { return typing{typed: line, shows: shows} }

// with has other words typed instead of some of an example's: of a number that nobody can choose, WORD=INSTEAD.
func (e typing) with(words ...string) typing {
	for _, w := range words {
		word, instead, _ := strings.Cut(w, "=")
		e.typed = regexp.MustCompile(`(^|[\s%])`+regexp.QuoteMeta(word)+`($|[\s:])`).ReplaceAllString(e.typed, "${1}"+strings.ReplaceAll(instead, "$", "$$")+"${2}")
	}
	return e
}

func (e typing) ends(status int) typing   { e.status = status; return e }
func (e typing) hears(line string) typing { e.asked = line; return e }
func (e typing) left(keys string) typing  { e.keys = keys; return e }

// Every example of the reference, which has those of help and of the man pages, does what it promises.
func TestExamples(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "docs/reference/commands.md"))
	if err != nil {
		t.Fatal(err)
	}
	var listed, typed []string
	for _, list := range regexp.MustCompile("(?m)^examples:\n((?:  .+\n)+)").FindAllStringSubmatch(string(b), -1) {
		for line := range strings.Lines(list[1]) {
			listed = append(listed, strings.TrimSpace(line))
		}
	}
	for _, s := range append(slices.Clone(examples), networkExamples...) {
		for _, e := range s.steps {
			if e.example != "" {
				typed = append(typed, e.example)
			}
		}
	}
	for _, e := range listed {
		if !slices.Contains(typed, e) {
			t.Errorf("nobody types %q", e)
		}
	}
	for _, e := range typed {
		if !slices.Contains(listed, e) {
			t.Errorf("typed, but no example: %q", e)
		}
	}
	play(t, examples)
}

// Those that need a network device, on Xen that of the lab with xl.
func TestNetworkExamples(t *testing.T) { play(t, networkExamples) }

func play(t *testing.T, scenes []scene) {
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			if s.only != "" {
				onlyOn(t, s.only, s.why)
			}
			if where == "hosted" { // on Xen all engines share one table of domains
				t.Parallel()
			}
			h := newHome(t)
			h.env = append(h.env, "XDG_CONFIG_HOME="+filepath.Join(h.dir, ".config"), "cpu="+strconv.Itoa(firstCPU(t)))
			h.image(t, filepath.Join(root, "shell/e2e/testdata/examples/web.c"), "-O2")
			if s.prepare != nil {
				s.prepare(t, h)
			}
			switch s.in {
			case "terminal":
				h.playOnTerminal(t, s.steps)
			case "bash":
				h.playIn(h.dialogue(t, "bash", "--noprofile", "--norc"), s.steps)
			default:
				h.playIn(h.dialogue(t, h.bin), s.steps)
			}
		})
	}
}

func (h *home) playIn(d *dialogue, steps []typing) {
	defer d.close()
	for _, e := range steps {
		out, status := d.say(e.typed)
		if status != e.status || !regexp.MustCompile(`^(?:`+e.shows+`)$`).MatchString(out) {
			d.t.Errorf("%s: status %d, want %d; it prints\n%swant %s", e.typed, status, e.status, out, e.shows)
		}
	}
}

func (h *home) playOnTerminal(t *testing.T, steps []typing) {
	term := h.terminal(t)
	for _, e := range steps {
		term.typed(e.typed)
		term.expect(e.shows)
		if e.asked != "" {
			term.send(e.asked + "\r")
			term.expect(e.asked + `\r?\n` + e.asked)
		}
		if e.keys != "" {
			term.send(e.keys)
		}
	}
	term.typed("exit")
	term.exit(0)
}
