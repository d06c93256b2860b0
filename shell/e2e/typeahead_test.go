package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// What is typed while a pVM is in the foreground and it does not read is for whoever reads next, the prompt or another pVM; but not what it has read, nor what
// Ctrl-C takes away.
func TestTypeahead(t *testing.T) {
	h := newHome(t)
	image := h.image(t, filepath.Join(root, "shell/e2e/testdata/typeahead/lines.c"), "-O2", "-Wall", "-Wextra", "-Werror")
	term := h.terminal(t)
	runs := func(line string) {
		t.Helper()
		term.expect(prompt)
		term.send(strings.ReplaceAll(line, "lines", "run "+image) + "\r")
	}
	end := func() {
		t.Helper()
		h.output(t, "pkill", "-x", "lines")
	}
	runs("lines")
	term.expect("reads no more")
	term.send("echo one-$((1+0))\recho tq\x7fwo-$((1+1))\r")
	term.expect(`one-.*\n.*wo-`) // as the pVM's terminal shows it
	end()
	term.expect(`\none-1\r[^!]*\ntwo-2\r`)

	runs("lines 1")
	term.send("for it\recho three-$((1+2))\r")
	term.expect(`read <for it>[^!]*reads no more`)
	end()
	term.expect(`\nthree-3\r`)

	runs("lines; lines 1")
	term.expect("reads no more")
	term.send("for the next\r")
	term.expect("for the next")
	end()
	term.expect(`read <for the next>[^!]*reads no more`)
	end()

	runs("lines")
	term.expect("reads no more")
	term.send("echo gone-$((2+2))\r")
	term.expect("gone-")
	term.send("\x03")
	runs("echo five-$((2+3))")
	term.expect(`\nfive-5\r`)
	runs("lines")
	term.expect("reads no more")
	term.send("\x1decho six-$((3+3))\r")
	term.expect(`detached[^!]*\nsix-6\r`)
	end()
	term.expect(prompt)
	term.send("top\rq")
	runs("echo seven-$((3+4))")
	term.expect(`\nseven-7\r`)
	runs("exit")
	term.exit(0)
	if strings.Contains(term.out.String(), "gone-4") {
		t.Errorf("what Ctrl-C has taken away was run:\n%s", term.out.String())
	}
}
