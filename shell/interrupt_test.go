package shell

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Ctrl-C while a pipeline is being started ends all of it, whichever of its programs it comes too early for.
func TestInterruptWhileStarting(t *testing.T) {
	lines := []string{
		"run spin.kx | run spin.kx | run spin.kx",
		"run spin.kx | sleep 100 | run spin.kx | sleep 100",
		"sleep 100 | sleep 100 | sleep 100 | run spin.kx",
		"run spin.kx | { :; sleep 100; } | (trap : USR1; run spin.kx) | cat",
		"wait | run spin.kx | wait",
	}
	const rounds = 10
	for _, line := range lines {
		t.Run(line, func(t *testing.T) {
			s := screens(t, t.TempDir(), "-i")
			s.line("run -d spin.kx")
			s.expect("1\r\n")
			for i := range rounds {
				s.line(fmt.Sprintf("echo begun; %s; echo not reached", line))
				s.expect("begun\r\n")
				time.Sleep(time.Duration(i) * 300 * time.Microsecond)
				s.send("\x03")
				s.line("echo status $?")
				s.expect("^status 130\r\n")
			}
			for i := range rounds {
				s := screens(t, t.TempDir(), "-c", fmt.Sprintf("run -d spin.kx; echo begun; %s; echo not reached", line))
				s.expect("begun\r\n")
				time.Sleep(time.Duration(i) * 300 * time.Microsecond)
				s.send("\x03")
				s.leaves(130)
			}
		})
	}
}

// Ctrl-\ ends what is in the foreground, and the line goes on. At the prompt it is no part of the line, as are other keys without a meaning.
func TestQuit(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("run -d --name ticks tick.kx")
	s.expect("1\r\n")
	for _, line := range []string{"logs -f ticks", "run tick.kx </dev/null", "(trap : USR1; logs -f ticks)", "run tick.kx | cat", "logs -f ticks & fg"} {
		s.line(line + "; echo next $?")
		s.expect(`tick \d+\r\n`)
		s.send("\x1c")
		s.expect("next 131\r\n")
	}
	s.expect("> $")
	s.send("\x00ec\x1c\x0f\x00ho ke\x1fpt\r")
	s.expect("\nkept\r\n")
	s.expect("> $")
	s.send("\x1a\x00head -n 1\r") // nor do they have the prompt read what is for the next command
	s.expect("head -n 1\r\n")
	s.becomes("head", "S+")
	s.send("typed\r")
	s.expect("^typed\r\ntyped\r\n")
	s.line("exit")
	s.leaves(0)

	for _, line := range []string{"logs -f ticks", "run tick.kx | cat"} {
		s := screens(t, t.TempDir(), "-c", "run -d --name ticks tick.kx; "+line)
		s.expect(`tick \d+\r\n`)
		s.send("\x1c")
		s.leaves(131)
		if s.mu.Lock(); strings.Contains(s.out.String(), "goroutine") {
			t.Error(s.out.String())
		}
		s.mu.Unlock()
	}
}

// Ctrl-C as fg lets a job go on, and Ctrl-Z just after, are heard by one or the other.
func TestInterruptWhileGoingOn(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("run -d --name ticks tick.kx")
	s.expect("1\r\n")
	for i := range 12 {
		s.line("logs -f -n 1 ticks")
		s.expect(`tick \d+\r\n`)
		s.send("\x1a")
		s.expect("Stopped")
		s.line("fg")
		time.Sleep(time.Duration(i) * 400 * time.Microsecond)
		if i%2 == 0 {
			s.send("\x03")
			s.expect(`\^C(tick \d+\r\n)*\r\n`) // the prompt does not write over it
			s.line("kill %% 2>/dev/null; wait %% 2>/dev/null; echo over")
			s.expect("over\r\n")
		} else {
			s.send("\x1a")
			s.expect("Stopped")
			s.line("fg")
			s.expect(`tick \d+\r\n`)
			s.send("\x03")
		}
	}
	s.line("exit 0")
	s.leaves(0)
}
