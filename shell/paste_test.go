package shell

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

// A paste loses its brackets and its newlines, keys their meaningless ones, and what is behind the end of a line stays where it was.
func TestPasteReader(t *testing.T) {
	const newline = string(pastedNewline)
	for typed, want := range map[string]string{
		"plain\r":                               "plain\r",
		"\x1b[200~a\r\nb\nc\td\re\x1b[201~\r":   "a" + newline + "b" + newline + "c d" + newline + "e\r",
		"\x1b[A\x1bb\x0fx\r":                    "\x1b[A\x1bbx\r",
		"\x1b[200~\x1b[200~\r\r\n\x1b[201~x\r":  "[200~" + newline + newline + "x\r",
		"\x1b[201~\x1b[20~\x1b[200~\x1b[201~\r": "\x1b[201~\x1b[20~\r",
	} {
		tty := strings.NewReader(typed + "for others\r")
		line, err := bufio.NewReader(&pasteReader{r: tty}).ReadString('\r')
		rest, _ := io.ReadAll(tty)
		if line != want || err != nil || string(rest) != "for others\r" {
			t.Errorf("%q: %q, %v, want %q; left %q", typed, line, err, want, rest)
		}
	}
}
