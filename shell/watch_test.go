package shell

import "testing"

// watch runs a line of ours, and leaves the screen as it was.
func TestWatch(t *testing.T) {
	s := screens(t, t.TempDir(), "-i")
	s.line("run -d --name watched spin.kx")
	s.expect("1\r\n")
	s.line("watch -n 0.1 'ps --no-headers -o name; echo twice | tr t T'")
	s.expect("Every 100ms: ps --no-headers .*[0-9]:[0-9][0-9]")
	s.expect("watched *\r\nTwice")
	s.expect("watched *\r\nTwice")
	s.send("\x1a")
	s.expect(`\[1\]\+  Stopped    watch -n 0.1`)
	s.line("echo back; fg %1")
	s.expect("back\r\n")
	s.expect("watched *\r\nTwice")
	s.send("\x03")
	s.line("echo status $?")
	s.expect("status 130\r\n")
	s.line("watch -n 0.1 sleep 100")
	s.becomes("sleep", "S+")
	s.send("\x03")
	s.line("echo status $?")
	s.expect("status 130\r\n")
	s.line("watch -n 0 ps; echo status $?")
	s.expect("watch: -n 0: not a time.*\r\nstatus 2")
	s.line("watch ps | cat; exit")
	s.expect("watch: standard output is no terminal")
	s.leaves(0)
}
