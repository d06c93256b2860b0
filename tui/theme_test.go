package tui

import (
	"context"
	"regexp"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// colours is an escape sequence that sets one.
var colours = regexp.MustCompile(`\x1b\[([0-9;]*;)?([349][0-7]|10[0-7])[;m]`)

// coloured is a top with colours, with something of everything that has a style.
func coloured(o Options) model {
	m := newModel(context.Background(), &recorder{snap: families()}, o)
	m = m.after(tea.WindowSizeMsg{Width: 120, Height: 40}, snapMsg{snap: families()})
	return m.press("p", "space", "down", "enter")
}

func TestThemes(t *testing.T) {
	looks := map[string]string{}
	for _, name := range Themes() {
		text := coloured(Options{Color: true, Theme: name}).screen()
		if colours.MatchString(text) != (name != "monochrome") {
			t.Errorf("%s: %q", name, text)
		}
		if other, ok := looks[text]; ok {
			t.Errorf("%s looks like %s", name, other)
		}
		looks[text] = name
		if text := coloured(Options{Theme: name}).screen(); colours.MatchString(text) {
			t.Errorf("%s has colours on a terminal without: %q", name, text)
		}
	}
}

func TestThemesAreChosen(t *testing.T) {
	if err := CheckTheme("dark"); err == nil || err.Error() != "dark: one of default, monochrome, high-contrast" {
		t.Errorf("%v", err)
	}
	if CheckTheme("") != nil || CheckTheme("high-contrast") != nil {
		t.Error("a theme is refused")
	}
	m := coloured(Options{Color: true, Theme: "monochrome"})
	ctrlT := tea.KeyPressMsg{Code: 't', Mod: tea.ModCtrl}
	for _, want := range []string{"high-contrast", "default", "monochrome"} {
		if m = m.after(ctrlT); m.theme.name != want || m.note != "theme: "+want {
			t.Errorf("%s, want %s: %s", m.theme.name, want, m.note)
		}
	}
	if m = coloured(Options{Theme: "default"}).after(ctrlT); m.theme.name != "monochrome" {
		t.Errorf("without colours: %s", m.theme.name)
	}
}

// Styles take no place.
func TestStyledLinesAreAsWide(t *testing.T) {
	for _, name := range Themes() {
		m := coloured(Options{Color: true, Theme: name})
		for _, keys := range [][]string{nil, {"x"}, {"esc", "?"}} {
			m = m.press(keys...)
			for _, line := range strings.Split(m.screen(), "\n") {
				if lipgloss.Width(line) > 120 {
					t.Errorf("%s: %q", name, line)
				}
			}
		}
	}
}
