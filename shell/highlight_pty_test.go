package shell

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// colourful starts kxsh on a pty with colours, or without.
func colourful(t *testing.T, env ...string) *screen {
	t.Helper()
	cmd := kxsh(t.TempDir(), "-i")
	cmd.Env = append(cmd.Env, append([]string{"TERM=xterm", "PATH=/usr/bin:/bin"}, env...)...)
	return screenOf(t, cmd)
}

// raw is everything that has been written, with what gives it colours.
func (s *screen) raw() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// What is typed has its colours, by what is known at that prompt.
func TestHighlightTyping(t *testing.T) {
	s := colourful(t)
	for _, c := range []struct{ line, shown string }{
		{`greet`, "\x1b[31mgreet\x1b[m"},
		{`greet() { echo "dear $1" | cat; } # all`,
			"\x1b[1mgreet\x1b[m\x1b[35m()\x1b[m \x1b[35m{\x1b[m \x1b[1mecho\x1b[m \x1b[32m\"dear \x1b[m\x1b[36m$1\x1b[m\x1b[32m\"\x1b[m " +
				"\x1b[35m|\x1b[m \x1b[1mcat\x1b[m\x1b[35m;\x1b[m \x1b[35m}\x1b[m \x1b[2m# all\x1b[m"},
		{`greet`, "\x1b[1mgreet\x1b[m"},
		{`unset -f greet`, "\x1b[1munset\x1b[m -f greet"},
		{`alias hello=echo`, "\x1b[1malias\x1b[m hello=echo"},
		{`hello; greet`, "\x1b[1mhello\x1b[m\x1b[35m;\x1b[m \x1b[31mgreet\x1b[m"},
		{`printf '#!/bin/sh\n' >tool; ./tool; chmod +x tool; unalias hello`, "\x1b[31m./tool\x1b[m"},
		{`./tool; PATH=$PWD:$PATH`, "\x1b[1m./tool\x1b[m"},
		{`hello`, "\x1b[31mhello\x1b[m"},
		{`tool`, "\x1b[1mtool\x1b[m"},
	} {
		s.expect(`> $`)
		from := len(s.raw())
		s.send(c.line)
		for range 200 { // until PATH has been read
			if strings.Contains(s.raw()[from:], c.shown) {
				break
			}
			time.Sleep(50 * time.Millisecond)
			s.send("\x01\x05")
		}
		if got := s.raw()[from:]; !strings.Contains(got, c.shown) {
			t.Errorf("%q is not shown as %q in %q", c.line, c.shown, got[max(0, len(got)-400):])
		}
		s.send("\r")
		s.expect(`\n`)
	}
	s.line("exit 0")
	s.leaves(0)
}

// Colours come and go; nothing else is different with them: neither what is written where, nor how it moves.
func TestHighlightSameCells(t *testing.T) {
	sgr := regexp.MustCompile("\x1b\\[[0-9;]*m")
	keys := []string{
		"echo 'some words' | cat", "\x01", "\x1b[C\x1b[C", "x", "\x7f", "\x05", "\r", // typed, to the beginning, right, backspace, to the end
		"for i in 1 2; do\r", "echo \"$i\r", "\" 日本\r", "done\r", // lines that go on
		"echo " + strings.Repeat("a long 'line' that wraps; ", 12), "\x1b[D\x1b[D\x1b[D", "\x17", "\x03",
		"\x12", "some", "\x12", "\x05", "\r", // search
		"help reni\t", "\r", "ps --sort -m\t\t", "\x03\x03", // completion
		"\x1b[200~echo one\nif true\tthen\x1b[201~", "\x1b[D", "\x03", // paste
		"\x1b[A", "\x1b[A", "\x1b[B", "\x03", // history
	}
	var shown [2]string
	for i, env := range [][]string{{"NO_COLOR=1"}, nil} {
		s := colourful(t, env...)
		s.expect(`> $`)
		for _, k := range keys {
			s.send(k)
			if last := k[len(k)-1]; last == '\r' || last == '\x03' {
				s.expect(`> $`)
			}
		}
		shown[i] = s.raw()
		s.send("exit 0\r")
		s.leaves(0)
	}
	for _, pen := range []string{"\x1b[1m", "\x1b[31m", "\x1b[35m", "\x1b[32m"} {
		if strings.Contains(shown[0], pen) {
			t.Errorf("with NO_COLOR there is %q", pen)
		}
		if !strings.Contains(shown[1], pen) {
			t.Errorf("with colours there is no %q", pen)
		}
	}
	plain := sgr.ReplaceAllString(shown[0], "")
	painted := sgr.ReplaceAllString(shown[1], "")
	for i := range min(len(plain), len(painted)) {
		if plain[i] != painted[i] {
			t.Fatalf("with colours it is\n%q, without\n%q", painted[max(0, i-80):min(len(painted), i+80)], plain[max(0, i-80):min(len(plain), i+80)])
		}
	}
	if len(plain) != len(painted) {
		t.Errorf("%d bytes with colours, %d without", len(painted), len(plain))
	}
}
