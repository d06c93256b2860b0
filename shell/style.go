package shell

import (
	"io"
	"os"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
)

// style is the few colours of a command's output; without colours every function returns its input.
type style struct {
	head, key, warn func(string) string
}

// styleFor chooses colours for w: color is auto, always or never, and auto means a terminal and no
// NO_COLOR.
func styleFor(w io.Writer, color string) style {
	on := color == "always" || color != "never" && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && terminalOf(w) != nil
	if !on {
		plain := func(s string) string { return s }
		return style{plain, plain, plain}
	}
	r := lipgloss.NewRenderer(w, termenv.WithProfile(termenv.ANSI))
	render := func(s lipgloss.Style) func(string) string {
		return func(text string) string { return s.Render(text) }
	}
	return style{
		head: render(r.NewStyle().Bold(true)),
		key:  render(r.NewStyle().Foreground(lipgloss.Color("6"))),
		warn: render(r.NewStyle().Foreground(lipgloss.Color("1"))),
	}
}

// style is styleFor the call's standard output.
func (c *Call) style() style { return styleFor(c.Stdout, c.shell.cfg.Color) }
