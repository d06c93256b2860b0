package shell

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// historyLimit is how many entries are kept.
const historyLimit = 5000

// historyFile is where an interactive shell keeps what was typed; "": nowhere.
func (s *Shell) historyFile() string {
	if s.cfg.StateDir == "" {
		return ""
	}
	return filepath.Join(s.cfg.StateDir, "history")
}

// readHistory returns the entries, one a line, oldest first.
func readHistory(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var lines []string
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		if scan.Text() != "" {
			lines = append(lines, scan.Text())
		}
	}
	return lines
}

// historyLine makes one line of an entry of several, so that it can be edited again. What cannot be
// one line, such as a here-document, has its newlines as a paste shows them.
func historyLine(text string) string {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "\n") {
		return text
	}
	var b strings.Builder
	f, err := syntax.NewParser(syntax.KeepComments(false)).Parse(strings.NewReader(text), "")
	if err == nil {
		err = syntax.NewPrinter(syntax.SingleLine(true)).Print(&b, f)
	}
	line := strings.TrimSpace(b.String())
	if err != nil || strings.Contains(line, "\n") {
		return strings.ReplaceAll(text, "\n", string(pastedNewline))
	}
	return line
}
