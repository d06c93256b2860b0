package shell

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/chzyer/readline"
)

// errInterrupt is Ctrl-C on the line being edited.
var errInterrupt = errors.New("interrupt")

// editor is line editing, as much of it as the shell needs.
type editor interface {
	// ReadLine returns the next line: io.EOF at Ctrl-D, errInterrupt at Ctrl-C. A pasted line may
	// hold newlines. before is the program that the line goes on with, as far as it has been read.
	ReadLine(prompt, before string) (string, error)
	// Remember adds an entry to the history.
	Remember(line string)
	Close()
}

// readlineEditor is chzyer/readline's editing.
type readlineEditor struct {
	rl    *readline.Instance
	out   *promptWriter
	paint *highlighter
}

// promptWriter takes out the blank that readline puts behind the prompt of an empty line and at once
// steps back over.
type promptWriter struct {
	w      io.Writer
	prompt atomic.Value // string
}

func (p *promptWriter) Write(b []byte) (int, error) {
	prompt := p.prompt.Load().(string)
	if before, ok := strings.CutSuffix(string(b), prompt+" \b"); ok && prompt != "" {
		_, err := io.WriteString(p.w, before+prompt)
		return len(b), err
	}
	return p.w.Write(b)
}

func (p *promptWriter) Close() error { return nil }

// interruptPrompt is what is written behind a line that is interrupted.
const interruptPrompt = "^C"

// newEditor makes an editor. readline leaves raw mode whenever no line is being edited.
func newEditor(in, out *os.File, ahead *typeahead, history string, complete func(line string, pos int) ([]string, int), paint *highlighter) (editor, error) {
	w := &promptWriter{w: out}
	w.prompt.Store("")
	var rl *readline.Instance
	rl, err := readline.NewEx(&readline.Config{
		Stdin:                  &pasteReader{r: ahead.before(in)},
		Stdout:                 w,
		Stderr:                 w,
		HistoryFile:            history,
		HistoryLimit:           historyLimit,
		DisableAutoSaveHistory: true,
		HistorySearchFold:      true,
		AutoComplete:           completer(complete),
		Painter:                paint,
		InterruptPrompt:        interruptPrompt,
		EOFPrompt:              "exit",
		FuncFilterInputRune: func(r rune) (rune, bool) {
			if r == readline.CharInterrupt && rl.Operation.IsInCompleteMode() {
				rl.Operation.ExitCompleteMode(true) // or it would do only that, and keep the line
			}
			if r == readline.CharInterrupt && rl.Operation.IsSearchMode() {
				rl.Operation.ExitSearchMode(false)
			}
			return r, true
		},
	})
	if err != nil {
		return nil, err
	}
	return &readlineEditor{rl: rl, out: w, paint: paint}, nil
}

func (e *readlineEditor) ReadLine(prompt, before string) (string, error) {
	e.out.prompt.Store(prompt)
	e.paint.before.Store([]rune(before))
	e.rl.SetPrompt(prompt)
	if !dumb() {
		fmt.Fprint(e.out, pasteOn)
		defer fmt.Fprint(e.out, pasteOff)
	}
	line, err := e.rl.Readline()
	if errors.Is(err, readline.ErrInterrupt) {
		err = errInterrupt
	}
	return strings.ReplaceAll(line, string(pastedNewline), "\n"), err
}

func (e *readlineEditor) Remember(line string) { e.rl.SaveHistory(line) }
func (e *readlineEditor) Close()               { e.rl.Close() }

// completer adapts a completion function to readline, which wants what is to be appended.
type completer func(line string, pos int) (words []string, from int)

func (c completer) Do(line []rune, pos int) ([][]rune, int) {
	text := string(line[:pos])
	words, from := c(text, len(text))
	typed := []rune(text[from:])
	var out [][]rune
	for _, w := range words {
		if r := []rune(w); len(r) >= len(typed) {
			out = append(out, r[len(typed):])
		}
	}
	return out, len(typed)
}
