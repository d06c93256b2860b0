package bench

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// files are what is written beside what is printed. They appear when they are whole.
type files struct{ csv, html *pendingFile }

// pendingFile is a file that gets its name at the end. nil: there is none.
type pendingFile struct {
	*os.File
	name string
}

// open makes sure, before minutes of measuring, that the files can be written.
func (b *Bench) open() (f files, err error) {
	if f.csv, err = pending(b.CSV); err == nil {
		f.html, err = pending(b.HTML)
	}
	return f, err
}

func pending(name string) (*pendingFile, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".bench-")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &pendingFile{f, name}, nil
}

// write writes both.
func (f *files) write(r *run) error {
	return errors.Join(f.csv.fill(func(w io.Writer) error { return writeCSV(w, r) }), f.html.fill(func(w io.Writer) error { return writePage(w, r) }))
}

func (p *pendingFile) fill(write func(io.Writer) error) error {
	if p == nil {
		return nil
	}
	if err := errors.Join(write(p), p.Chmod(0o644), p.Close()); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return os.Rename(p.File.Name(), p.name)
}

// drop removes what was not filled.
func (f *files) drop() {
	for _, p := range []*pendingFile{f.csv, f.html} {
		if p != nil {
			p.Close()
			os.Remove(p.File.Name()) // not there any more if it was filled
		}
	}
}

// again is what measures the same once more: what was typed, but for the places of files.
func (b *Bench) again(list []kind) string {
	words := []string{"kxsh bench"}
	if b.Quick {
		words = append(words, "--quick")
	}
	if b.CSV != "" {
		words = append(words, "--csv", filepath.Base(b.CSV))
	}
	if b.HTML != "" {
		words = append(words, "--html", filepath.Base(b.HTML))
	}
	if len(list) == len(kinds) {
		return strings.Join(append(words, All), " ")
	}
	for _, k := range list {
		words = append(words, k.name)
	}
	return strings.Join(words, " ")
}

// writeCSV writes every sample: a line each, in the order in which they were taken within a series; of a rate the time for one.
func writeCSV(w io.Writer, r *run) error {
	c := csv.NewWriter(w)
	c.Write([]string{"bench", "series", "sample", "ns"})
	for _, r := range r.reports() {
		for _, s := range r.Series {
			for i, d := range s.All {
				c.Write([]string{r.Bench, s.Name, strconv.Itoa(i + 1), strconv.FormatInt(int64(d), 10)})
			}
		}
	}
	c.Flush()
	return c.Error()
}
