package shell

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSignal is Linux's highest signal number, which is the guest's too.
const maxSignal = 64

// signalName returns a signal's name with SIG, or its number.
func signalName(sig syscall.Signal) string {
	if n := unix.SignalName(sig); n != "" {
		return n
	}
	return strconv.Itoa(int(sig))
}

// parseSignal reads a signal: 9, KILL, SIGKILL, kill.
func parseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > maxSignal {
			return 0, fmt.Errorf("%s: no such signal; kill -l lists them", s)
		}
		return syscall.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("%s: no such signal; kill -l lists them", s)
}

// signalNames returns the names without SIG, by number.
func signalNames() []string {
	var names []string
	for i := 1; i <= maxSignal; i++ {
		if n := unix.SignalName(syscall.Signal(i)); n != "" {
			names = append(names, strings.TrimPrefix(n, "SIG"))
		}
	}
	return names
}

// listSignals is kill -l and trap -l: the whole table, or one line an argument that turns a name
// into a number, and a number or an exit status into a name.
func listSignals(w io.Writer, args []string) error {
	if len(args) == 0 {
		col := 0
		for i := 1; i <= maxSignal; i++ {
			if n := unix.SignalName(syscall.Signal(i)); n != "" {
				if col++; col%5 == 0 {
					fmt.Fprintf(w, "%2d) %s\n", i, n)
				} else {
					fmt.Fprintf(w, "%2d) %-12s", i, n)
				}
			}
		}
		if col%5 != 0 {
			fmt.Fprintln(w)
		}
		return nil
	}
	for _, a := range args {
		if n, err := strconv.Atoi(a); err == nil && n > 128 && n <= 128+maxSignal {
			a = strconv.Itoa(n - 128)
		}
		sig, err := parseSignal(a)
		if err != nil {
			return err
		}
		if _, err := strconv.Atoi(a); err == nil {
			fmt.Fprintln(w, strings.TrimPrefix(signalName(sig), "SIG"))
		} else {
			fmt.Fprintln(w, int(sig))
		}
	}
	return nil
}

// prepareSignal turns -9, -KILL and -SIGKILL into --signal=…, up to the first argument that is no
// flag. known are the command's own one-letter flags that take no value.
func prepareSignal(known string) func([]string) []string {
	return func(args []string) []string {
		out := make([]string, 0, len(args))
		value := false // this word is a flag's
		for i, a := range args {
			if value {
				out, value = append(out, a), false
				continue
			}
			if a == "--" || len(a) < 2 || a[0] != '-' {
				return append(out, args[i:]...)
			}
			isFlag := strings.HasPrefix(a, "--") || len(a) == 2 && strings.Contains(known, a[1:])
			// -FOO is taken for a signal as well, which is then said not to exist.
			if _, err := parseSignal(a[1:]); !isFlag && (err == nil || len(a) > 2 && a == strings.ToUpper(a)) {
				a = "--signal=" + a[1:]
			}
			out = append(out, a)
			if len(a) == 2 && strings.Contains("sn", a[1:]) { // its value follows
				return append(out, args[i+1:]...)
			}
			value = isFlag && a == "-P"
		}
		return out
	}
}
