// Package quiet keeps bubbletea from talking to the terminal when the program starts.
//
// bubbletea v1 asks the terminal for its background colour in an init function (tea_init.go), in every
// program that links it, and termenv waits up to five seconds for the answer (OSCTimeout), which
// some terminals never give. termenv does not ask if CI is set (termenv.go, isTTY), so CI is set until
// [Done]. It works because Go initialises packages in the order of their import paths as soon as all
// they import is initialised (language specification, Program initialization, since Go 1.21): this
// package imports only os, bubbletea needs os/exec, and kxsh/… sorts before os/….
package quiet

import "os"

var old, had = os.LookupEnv("CI")

func init() { os.Setenv("CI", "true") }

// Done restores the environment. The first call does it, the others do nothing.
func Done() {
	if restored {
		return
	}
	restored = true
	if had {
		os.Setenv("CI", old)
	} else {
		os.Unsetenv("CI")
	}
}

var restored bool
