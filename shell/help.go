package shell

import (
	"fmt"
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

var helpCommand = Command{
	Name:     "help",
	Synopsis: "[COMMAND]",
	Short:    "list the commands, or explain one",
	Args:     Topic,
	Pages:    true,
	Run: func(c *Call) error {
		if err := c.want(0, 1); err != nil {
			return err
		}
		if len(c.Args) == 0 {
			return c.shell.help(c.Stdout, c.style())
		}
		cmd := c.shell.table[c.Args[0]]
		if cmd == nil {
			return fmt.Errorf("%s: no such command%s", c.Args[0], c.shell.didYouMean(c.Args[0]))
		}
		return c.shell.helpOn(c.Stdout, cmd, c.style())
	},
}

// help lists the commands.
func (s *Shell) help(w io.Writer, st style) error {
	var b strings.Builder
	wide := 0
	for _, c := range s.order {
		wide = max(wide, len(c.Name))
	}
	b.WriteString(st.head("Commands about pVMs") + " (help COMMAND or COMMAND --help says more):\n")
	for _, c := range s.order {
		indent := "\n" + strings.Repeat(" ", wide+4)
		short := strings.ReplaceAll(fold(c.Short, width(w)-wide-4), "\n", indent)
		fmt.Fprintf(&b, "  %s%s  %s\n", st.key(c.Name), strings.Repeat(" ", wide-len(c.Name)), short)
	}
	b.WriteString(fold("\nEverything else is POSIX sh with bash's extensions; host programs and pVM commands mix in a pipeline.\n"+
		"PID means a PID, a name, a shell glob over names, or %family. Ctrl-] detaches from a console.\n", width(w)))
	_, err := io.WriteString(w, b.String())
	return err
}

// fold breaks lines at words for a terminal of so many columns; 0: it is none.
func fold(text string, cols int) string {
	if cols < 12 {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		for ansi.StringWidth(strings.TrimRight(line, "\n")) >= cols {
			at := -1
			for i, r := range line {
				if ansi.StringWidth(line[:i]) >= cols {
					break
				}
				if r == ' ' && strings.TrimSpace(line[:i]) != "" {
					at = i
				}
			}
			if at < 0 {
				break
			}
			b.WriteString(strings.TrimRight(line[:at], " ") + "\n")
			line = strings.TrimLeft(line[at:], " ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// flow joins the lines that were broken in the middle of a sentence, for fold to break them where they are to be.
func flow(text string, cols int) string {
	if cols == 0 {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines[:len(lines)-1] {
		next := lines[i+1]
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(next, " ")
		if line == "" || next == "" || indented || strings.HasSuffix(line, ".") || strings.HasSuffix(line, ":") {
			lines[i] += "\n"
		} else {
			lines[i] += " "
		}
	}
	return strings.Join(lines, "")
}

// helpOn explains one command.
func (s *Shell) helpOn(w io.Writer, c *Command, st style) error {
	var b strings.Builder
	cols := width(w)
	b.WriteString(fold(c.Short, cols) + "\n\n")
	fmt.Fprintf(&b, "%s\n", fold(st.head("usage:")+" "+c.Name+" "+c.Synopsis, cols))
	if c.Long != "" {
		b.WriteString("\n" + fold(flow(c.Long, cols), cols) + "\n")
	}
	if flags := c.flagSet().FlagUsagesWrapped(max(0, cols-1)); flags != "" {
		b.WriteString("\n" + st.head("flags:") + "\n" + fold(flags, cols))
	}
	if len(c.Examples) > 0 {
		b.WriteString("\n" + st.head("examples:") + "\n")
		for _, e := range c.Examples {
			b.WriteString(fold("  "+e, cols) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// didYouMean names a command of ours that name is a near miss of.
func (s *Shell) didYouMean(name string) string {
	var names []string
	for _, c := range s.order {
		names = append(names, c.Name)
	}
	return DidYouMean(name, names)
}

// DidYouMean names the first of names that name is a near miss of, for the end of an error: at most one letter
// wrong, missing, too many or swapped. "" if there is none.
func DidYouMean(name string, names []string) string {
	for _, n := range names {
		if len(name) > 1 && nearMiss(name, n) {
			return fmt.Sprintf(": did you mean %s?", n)
		}
	}
	return ""
}

// nearMiss reports whether one edit turns a into b, which differs.
func nearMiss(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 || a == b {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	return a[i+1:] == b[i+1:] || i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}
