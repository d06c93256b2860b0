package shell

import (
	"fmt"
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
