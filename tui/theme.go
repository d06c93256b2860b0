package tui

import (
	"fmt"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
)

// theme is how the parts of a screen look. The zero one leaves text as it is.
type theme struct {
	name   string
	title  lipgloss.Style // above the table
	sorted lipgloss.Style // in it, what rows are sorted by
	picked lipgloss.Style // under the cursor
	marked lipgloss.Style
	dead   lipgloss.Style // Z, T
	bar    lipgloss.Style // the last line
	meter  lipgloss.Style // what is used of something
	graph  lipgloss.Style
	head   lipgloss.Style // titles of panes and menus
	wrong  lipgloss.Style // an error in a line being typed
}

// themes is all of them, the default first. Monochrome, without any colour, is what terminals without colours get.
var themes = []theme{
	{
		name: "default", title: color("0").Background(lipgloss.Color("2")), sorted: color("0").Background(lipgloss.Color("6")),
		picked: color("0").Background(lipgloss.Color("6")), marked: color("3").Bold(true), dead: lipgloss.NewStyle().Faint(true),
		bar: lipgloss.NewStyle().Faint(true), meter: color("2"), graph: color("6"), head: lipgloss.NewStyle().Bold(true), wrong: color("1"),
	},
	{
		name: "monochrome", title: lipgloss.NewStyle().Reverse(true), sorted: lipgloss.NewStyle().Bold(true).Underline(true),
		picked: lipgloss.NewStyle().Bold(true).Reverse(true), marked: lipgloss.NewStyle().Bold(true), dead: lipgloss.NewStyle().Faint(true),
		bar: lipgloss.NewStyle().Faint(true), meter: lipgloss.NewStyle().Bold(true), head: lipgloss.NewStyle().Bold(true),
		wrong: lipgloss.NewStyle().Bold(true),
	},
	{
		name: "high-contrast", title: color("15").Background(lipgloss.Color("4")).Bold(true), sorted: color("0").Background(lipgloss.Color("11")).Bold(true),
		picked: color("0").Background(lipgloss.Color("15")).Bold(true), marked: color("11").Bold(true), dead: color("13"),
		bar: color("15").Bold(true), meter: color("10").Bold(true), graph: color("14").Bold(true), head: color("15").Bold(true).Underline(true),
		wrong: color("15").Background(lipgloss.Color("1")).Bold(true),
	},
}

const monochrome = 1 // of themes

func color(foreground string) lipgloss.Style {
	return lipgloss.NewStyle().Foreground(lipgloss.Color(foreground))
}

// Themes is the names of the themes.
func Themes() []string {
	var names []string
	for i := range themes {
		names = append(names, themes[i].name)
	}
	return names
}

// CheckTheme tells what is wrong with the name of a theme; "" is the user's own choice.
func CheckTheme(name string) error {
	if name == "" || slices.Contains(Themes(), name) {
		return nil
	}
	return fmt.Errorf("%s: one of %s", name, strings.Join(Themes(), ", "))
}

// themeOf is the theme of this name, the default if there is none.
func themeOf(name string) theme { return themes[max(0, slices.Index(Themes(), name))] }

// nextTheme is the one after t.
func nextTheme(t theme) theme { return themes[(slices.Index(Themes(), t.name)+1)%len(themes)] }
