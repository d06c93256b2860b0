package lab

import (
	"fmt"
	"os"

	"golang.org/x/term"
)

// rawTerminal hands every key to the machine, until the function returned is called.
func rawTerminal(t *os.File) (func(), error) {
	state, err := term.MakeRaw(int(t.Fd()))
	if err != nil {
		return nil, fmt.Errorf("lab: %s: %w: an interactive lab needs a terminal", t.Name(), err)
	}
	return func() { term.Restore(int(t.Fd()), state) }, nil
}

func terminalSize(t *os.File) (rows, columns int) {
	columns, rows, err := term.GetSize(int(t.Fd()))
	if err != nil || rows <= 0 || columns <= 0 {
		return 24, 80
	}
	return rows, columns
}
