package tui

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	tea "charm.land/bubbletea/v2"
)

func topWith(o Options) model {
	return newModel(context.Background(), &recorder{snap: families()}, o).after(tea.WindowSizeMsg{Width: 80, Height: 24}, snapMsg{snap: families()})
}

func TestLayoutIsRemembered(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "top.json")
	o := Options{Layout: file, Color: true}
	m := topWith(o)
	if err := m.keep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("nothing was changed, but there is a file")
	}
	m = m.press("M", "I", "t", "C", "+", "down", "space", "esc").after(tea.KeyPressMsg{Code: 't', Mod: tea.ModCtrl})
	if err := m.keep(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		again := topWith(o)
		if again.view.layout().Columns[0] != "ppid" || again.view.sort.String() != "MEM, backwards" || !again.view.tree || again.theme.name != "monochrome" ||
			len(again.view.columns) != len(m.view.columns) || again.note != "" {
			t.Errorf("%+v, theme %s, %s", again.view.layout(), again.theme.name, again.note)
		}
		if err := again.keep(); err != nil {
			t.Fatal(err)
		}
	}
	// What is asked for this once does not change what is remembered.
	asked := topWith(Options{Layout: file, Color: true, Theme: "high-contrast"}).press("t")
	if asked.theme.name != "high-contrast" {
		t.Errorf("theme %s", asked.theme.name)
	}
	if err := asked.keep(); err != nil {
		t.Fatal(err)
	}
	if again := topWith(o); again.view.tree || again.theme.name != "monochrome" {
		t.Errorf("tree %v, theme %s", again.view.tree, again.theme.name)
	}
	if list, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); err != nil || len(list) != 1 {
		t.Errorf("left are %q", list)
	}
}

// A file that is not ours changes nothing but what it says rightly.
func TestStrangeLayouts(t *testing.T) {
	v := newView()
	first := v.layout()
	for text, want := range map[string]func(*layout){
		"":                                       nil,
		"[]":                                     nil,
		`{"sort":`:                               nil,
		`{"columns":["name","name"],"sort":"x"}`: func(*layout) {},
		`{"columns":["mem","?","pid","mem"]}`:    func(l *layout) { l.Columns = []string{"mem", "pid"} },
		`{"tree":true,"theme":"dark","back":true}`: func(l *layout) { l.Tree = true },
		`{"sort":"name","back":true,"more":1}`:     func(l *layout) { l.Sort, l.Back = "name", true },
	} {
		file := filepath.Join(t.TempDir(), "top.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := first
		if want != nil {
			want(&l)
		}
		m := newModel(context.Background(), nil, Options{Layout: file, Color: true})
		if got := m.view.layout(); !got.equal(l) || (m.note != "") != (want == nil) || m.theme.name != "default" {
			t.Errorf("%q: %+v, note %q", text, got, m.note)
		}
	}
}
