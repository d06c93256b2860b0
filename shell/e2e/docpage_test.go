package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// page is a page of the documentation, as those read it who type what it says. Comments in it, which a browser does not show,
// tell what somebody would know:
//
//	<!-- test: page HYPERVISOR WHY -->   run the page on that hypervisor only
//	<!-- test: setup COMMAND -->         what is there already, run by bash
//	<!-- test: file NAME -->             the next block is that file
//	<!-- test: in SHELL COMMAND -->      the next block is for that shell, which has run COMMAND
//	<!-- test: on HYPERVISOR WHY -->     the next block is run on that hypervisor only
//	<!-- test: by TEST -->               the next block is run by that test, of tree_test.go: it needs the whole tree, or a machine of its own
type page struct {
	name      string
	only, why string
	blocks    []block
}

// block is a fenced part of a page, or a setup.
type block struct {
	line  int // of its first line
	lang  string
	lines []string
	only  string // the hypervisor it is for, if it is not for all, and why
	why   string
	by    string   // the test that runs it, if it is not TestDocs
	file  string   // its name, if it is one
	shell []string // which, and what that has run; nil: bash
}

const setupLang = "setup"

var directive = regexp.MustCompile(`^<!-- test: (\w+) (.+) -->$`)

// pages are all pages that have commands for people. The reference of commands is generated from their table: TestExamples.
func pages() (all []string, err error) {
	for _, pattern := range []string{"README.md", "CONTRIBUTING.md", "docs/*.md", "docs/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("%s: no pages: %v", pattern, err)
		}
		all = append(all, found...)
	}
	return slices.DeleteFunc(all, func(f string) bool { return strings.HasSuffix(f, "/commands.md") }), nil
}

// readPage refuses what a test could not tell from a command that is not run.
func readPage(path string) (*page, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	name, err := filepath.Rel(root, path)
	if err != nil {
		return nil, err
	}
	p := &page{name: name}
	var next, open *block // what the next block will be; the one that lines are of
	for i, line := range strings.Split(string(b), "\n") {
		fail := func(format string, args ...any) (*page, error) {
			return nil, fmt.Errorf("%s:%d: %s", name, i+1, fmt.Sprintf(format, args...))
		}
		fence, isFence := strings.CutPrefix(line, "```")
		switch m := directive.FindStringSubmatch(line); {
		case open != nil && isFence:
			if why := open.check(); why != "" {
				return fail("%s", why)
			}
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		case isFence:
			if open = next; open == nil {
				open = &block{}
			}
			open.line, open.lang, next = i+2, fence, nil
		case m != nil && m[1] == "page":
			p.only, p.why, _ = strings.Cut(m[2], " ")
		case m != nil && m[1] == "setup":
			p.blocks = append(p.blocks, block{line: i + 1, lang: setupLang, lines: []string{m[2]}})
		case m != nil && next != nil:
			return fail("two comments about one block")
		case m != nil && m[1] == "on":
			next = &block{}
			next.only, next.why, _ = strings.Cut(m[2], " ")
		case m != nil && m[1] == "by":
			next = &block{by: m[2]}
		case m != nil && m[1] == "file":
			next = &block{file: m[2]}
		case m != nil && m[1] == "in":
			next = &block{shell: strings.SplitN(m[2], " ", 2)}
		case strings.HasPrefix(line, "<!-- test"):
			return fail("no such comment")
		case next != nil && line != "":
			return fail("the comment before belongs to no block")
		case strings.HasPrefix(line, "    kxsh ") || strings.HasPrefix(line, "    make ") || strings.HasPrefix(line, "    $ "):
			return fail("a command that is not in a fenced block")
		}
	}
	if open != nil || next != nil {
		return nil, fmt.Errorf("%s: the last block does not end", name)
	}
	return p, nil
}

// check tells why nobody could know what is to be done with a block; "": it is clear.
func (b *block) check() string {
	switch {
	case b.lang == "" && promptOf(b.lines[0]) == noPrompt:
		return "a block without a language begins with a prompt: say text if it is only shown"
	case b.by != "" && b.lang != "sh":
		return "tests of the tree run blocks of sh"
	case slices.Contains([]string{"", "sh", "text"}, b.lang):
		return ""
	case b.lang == "c" && b.file == "":
		return "which file is it?"
	case slices.Contains([]string{"c", "yaml"}, b.lang):
		return ""
	}
	return "no such language: " + b.lang
}

// command is one of a block's, as it stands there.
type command struct {
	line int
	text string
}

// commands are those of a block that a shell runs.
func (b *block) commands() (list []command, err error) {
	text := strings.Join(b.lines, "\n")
	err = syntax.NewParser().Stmts(strings.NewReader(text), func(s *syntax.Stmt) bool {
		list = append(list, command{b.line + int(s.Pos().Line()) - 1, text[s.Pos().Offset():s.End().Offset()]})
		return true
	})
	return list, err
}

// promptKind is who waits for what is typed.
type promptKind int

const (
	noPrompt      promptKind = iota
	hostPrompt               // $
	kxshPrompt               // kxsh@HOST N>
	programPrompt            // >, of a program in the foreground
)

var kxshLine = regexp.MustCompile(`^kxsh@\w+( \d+)?> `)

func promptOf(line string) promptKind {
	switch {
	case strings.HasPrefix(line, "$ "):
		return hostPrompt
	case kxshLine.MatchString(line):
		return kxshPrompt
	case strings.HasPrefix(line, "> "):
		return programPrompt
	}
	return noPrompt
}

// step is something that is typed, and what is then seen.
type step struct {
	line   int
	prompt promptKind // that it is typed at; noPrompt: without waiting for one
	typed  string     // with the key that ends it
	want   []string
}

// typedHere is how a transcript tells of what is typed but not shown, or without a prompt.
var typedHere = regexp.MustCompile(`^(.*?)\s*\((?:(Ctrl-\]|Ctrl-D) )?typed here\)$`)

// steps takes a transcript apart.
func (b *block) steps() (steps []step) {
	for i, line := range b.lines {
		s := step{line: b.line + i, prompt: promptOf(line)}
		inProgram := len(steps) > 0 && steps[len(steps)-1].prompt != hostPrompt
		m := typedHere.FindStringSubmatch(line)
		switch {
		case s.prompt == hostPrompt:
			s.typed = strings.TrimPrefix(line, "$ ")
		case s.prompt == kxshPrompt:
			s.typed = kxshLine.ReplaceAllString(line, "") + "\r"
		case line == "^C" && inProgram:
			s.typed = "\x03"
		case line == "^Z" && inProgram:
			s.typed = "\x1a"
		case m != nil && inProgram:
			s.typed = map[string]string{"Ctrl-]": "\x1d", "Ctrl-D": "\x04", "": m[1] + "\r"}[m[2]]
		case s.prompt == programPrompt && inProgram:
			s.typed = strings.TrimPrefix(line, "> ") + "\r"
		default:
			last := &steps[len(steps)-1] // a transcript begins with a prompt
			last.want = append(last.want, line)
			continue
		}
		steps = append(steps, s)
	}
	return steps
}
