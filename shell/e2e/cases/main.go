// Command cases runs Go tests and keeps their results, and makes the table of which case ran where.
//
//	cases run [-v] -o FILE -- COMMAND...     COMMAND prints what go test -json does
//	cases table NAME=FILE...                 a column for each file, in this order
//	cases guest LIST NAME=FILE...            the same of what the guest test program printed, for the cases in LIST
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
)

const usage = `usage: cases run [-v] -o FILE -- COMMAND...   run tests, keep their results
       cases table NAME=FILE...               which case ran where
       cases guest LIST NAME=FILE...          which case of the guest test program ran where`

func main() {
	status, err := command(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cases:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func command(args []string, out io.Writer) (status int, err error) {
	if len(args) == 0 {
		return 2, errors.New(usage)
	}
	flags := pflag.NewFlagSet("cases", pflag.ContinueOnError)
	file := flags.StringP("output", "o", "", "keep the results in this `FILE`")
	verbose := flags.BoolP("verbose", "v", false, "say how each case ended")
	if err := flags.Parse(args[1:]); err != nil {
		return 2, err
	}
	switch rest := flags.Args(); {
	case args[0] == "run" && len(rest) > 0 && *file != "":
		return run(rest, *file, *verbose, out)
	case args[0] == "table" && len(rest) > 0:
		return 0, table(rest, out)
	case args[0] == "guest" && len(rest) > 1:
		return guest(rest[0], rest[1:], out)
	}
	return 2, errors.New(usage)
}

// run runs a command, keeps what it prints in a file, which is complete or not there, and shows people what
// matters of it. The status is the command's; a run whose tests did not come to their end has failed too.
func run(args []string, file string, verbose bool, out io.Writer) (status int, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return 2, err
	}
	if err := os.RemoveAll(file); err != nil {
		return 2, err
	}
	kept, err := os.Create(file + ".new")
	if err != nil {
		return 2, err
	}
	defer os.Remove(kept.Name())
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return 2, err
	}
	// The command hears of these too, and its end is ours; and it ignores none of them, as it would if we did, for shells
	// that tests start could not trap what is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		return 2, err
	}
	s := newScreen(out, verbose)
	lines := bufio.NewReader(io.TeeReader(pipe, kept))
	for {
		line, readErr := lines.ReadString('\n')
		if line != "" {
			s.show(line)
		}
		if readErr != nil {
			break
		}
	}
	ended := cmd.Wait()
	unfinished := s.finish()
	if err := errors.Join(kept.Close(), os.Rename(kept.Name(), file)); err != nil {
		return 2, err
	}
	var exit *exec.ExitError
	switch {
	case errors.As(ended, &exit):
		if w, ok := exit.Sys().(syscall.WaitStatus); ok && w.Signaled() {
			return 128 + int(w.Signal()), fmt.Errorf("%s: %s", args[0], ended)
		}
		return exit.ExitCode(), nil
	case ended != nil:
		return 2, ended
	case unfinished || s.failed:
		return 1, fmt.Errorf("%s: tests failed or did not end", strings.Join(args, " "))
	}
	return 0, nil
}
