package tui

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// layout is what is remembered of a screen from one top to the next.
type layout struct {
	Columns []string `json:"columns"`
	Sort    string   `json:"sort"`
	Back    bool     `json:"back"` // sorted the other way round
	Tree    bool     `json:"tree"`
	Theme   string   `json:"theme,omitempty"` // "": none was chosen
}

// layoutMax is how large the file of a layout may be.
const layoutMax = 1 << 16

// readLayout reads a layout; without a file it is that of the first time. What is not known is left out.
func readLayout(path string) (layout, error) {
	v := newView()
	l := v.layout()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, layoutMax))
	if err != nil {
		return l, err
	}
	read := layout{}
	if err := json.Unmarshal(b, &read); err != nil {
		return l, fmt.Errorf("%s: %w", path, err)
	}
	known := []string{}
	for _, key := range read.Columns {
		if c := columnOf(key); c != nil && c != nameColumn && !slices.Contains(known, key) {
			known = append(known, key)
		}
	}
	if read.Columns = known; len(known) == 0 {
		read.Columns = l.Columns
	}
	if columnOf(read.Sort) == nil {
		read.Sort, read.Back = l.Sort, false
	}
	if CheckTheme(read.Theme) != nil {
		read.Theme = ""
	}
	return read, nil
}

// write keeps a layout: all of it or nothing.
func (l layout) write(path string) error {
	b, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".top-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

func (l layout) equal(o layout) bool {
	return slices.Equal(l.Columns, o.Columns) && l.Sort == o.Sort && l.Back == o.Back && l.Tree == o.Tree && l.Theme == o.Theme
}

// layout is how the view is laid out, without a theme.
func (v *view) layout() layout {
	l := layout{Sort: v.sort.by.key, Back: v.sort.back, Tree: v.tree}
	for _, c := range v.columns {
		l.Columns = append(l.Columns, c.key)
	}
	return l
}

// lay lays the view out.
func (v *view) lay(l layout) {
	v.columns = nil
	for _, key := range l.Columns {
		v.columns = append(v.columns, columnOf(key))
	}
	v.sort, v.tree = order{columnOf(l.Sort), l.Back}, l.Tree
}

// remember lays a top out as it was left, with the theme that the user wants now before the one that was chosen then.
func (m model) remember() model {
	l, err := readLayout(m.o.Layout)
	if err != nil {
		m.note = err.Error()
	}
	m.remembered = l
	m.view.lay(l)
	if m.o.Theme == "" && m.o.Color {
		m.theme = themeOf(l.Theme)
	}
	return m
}

// keep writes down how the top is left, if that is not how it began.
func (m model) keep() error {
	l := m.view.layout()
	if l.Theme = m.remembered.Theme; m.chosen {
		l.Theme = m.theme.name
	}
	if l.equal(m.remembered) {
		return nil
	}
	if err := l.write(m.o.Layout); err != nil {
		return fmt.Errorf("the layout is not remembered: %w", err)
	}
	return nil
}
