package shell

import (
	"io"
	"os"
	"strings"

	"charm.land/lipgloss/v2"
)

// style is the few colours of a command's output; without colours every function returns its input.
type style struct {
	head, key func(string) string
}

// styleFor chooses colours for w: color is auto, always or never, and auto means a terminal and no
// NO_COLOR.
func styleFor(w io.Writer, color string) style {
	if !colorOn(w, color) {
		plain := func(s string) string { return s }
		return style{plain, plain}
	}
	render := func(s lipgloss.Style) func(string) string {
		return func(text string) string { return s.Render(text) }
	}
	return style{
		head: render(lipgloss.NewStyle().Bold(true)),
		key:  render(lipgloss.NewStyle().Foreground(lipgloss.Color("6"))),
	}
}

// pensFor chooses the colours of a line that is typed at the terminal w, as styleFor does; without colours all
// are "". There is no background: readline erases to the end of a line.
func pensFor(w io.Writer, color string) (p pens) {
	if !colorOn(w, color) {
		return p
	}
	for k, s := range map[kind]lipgloss.Style{
		kindCommand:  lipgloss.NewStyle().Bold(true),
		kindUnknown:  lipgloss.NewStyle().Foreground(lipgloss.Color("1")),
		kindKeyword:  lipgloss.NewStyle().Foreground(lipgloss.Color("5")),
		kindOperator: lipgloss.NewStyle().Foreground(lipgloss.Color("5")),
		kindQuote:    lipgloss.NewStyle().Foreground(lipgloss.Color("2")),
		kindVariable: lipgloss.NewStyle().Foreground(lipgloss.Color("6")),
		kindComment:  lipgloss.NewStyle().Faint(true),
	} {
		p[k], _, _ = strings.Cut(s.Render("|"), "|")
	}
	return p
}

func colorOn(w io.Writer, color string) bool {
	return color == "always" || color != "never" && os.Getenv("NO_COLOR") == "" && !dumb() && terminalOf(w) != nil
}

// Color tells whether the call's standard output takes colours.
func (c *Call) Color() bool { return colorOn(c.Stdout, c.shell.cfg.Color) }

// style is styleFor the call's standard output.
func (c *Call) style() style { return styleFor(c.Stdout, c.shell.cfg.Color) }

// dumb reports whether the terminal knows no escape sequences.
func dumb() bool { return os.Getenv("TERM") == "dumb" }
