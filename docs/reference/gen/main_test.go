package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The reference and the manual pages say what the commands say, and there are no others.
func TestCurrent(t *testing.T) {
	files, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got, err := os.ReadFile(filepath.Join("..", name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not current (%v): run go generate ./docs/...", name, err)
		}
	}
	pages, err := filepath.Glob("../../man/*")
	if err != nil || len(pages) != len(files)-1 {
		t.Errorf("docs/man has %d pages, of %d: %v", len(pages), len(files)-1, err)
	}
}

// A manual page is what help says, with nothing that roff takes for itself.
func TestCommandPage(t *testing.T) {
	help := "do a thing\n\nusage: thing [-n N] WHAT\n\n.First, it's \\done.\n\nThen more.\n\nflags:\n  -n, --number N   how many\n                   of them\n      --all        all\n\nexamples:\n  thing 'a-b'\n"
	want := `.\" Generated from the command table: go generate ./docs/...
.TH KXSH\-THING 1 "" kxsh "kxsh manual"
.SH NAME
kxsh\-thing \- do a thing
.SH SYNOPSIS
.B kxsh thing
[\-n N] WHAT
.SH DESCRIPTION
\&.First, it\(aqs \edone.
.PP
Then more.
.SH FLAGS
.TP
.B \-n, \-\-number N
how many
of them
.TP
.B \-\-all
all
.SH EXAMPLES
.EX
  thing \(aqa\-b\(aq
.EE
.SH "SEE ALSO"
.BR kxsh (1)
`
	if got := string(commandPage("thing", help)); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// Where there is a roff it takes all pages without a word.
func TestPagesFormat(t *testing.T) {
	roff, err := exec.LookPath("groff")
	if err != nil {
		return
	}
	pages, _ := filepath.Glob("../../man/*.1")
	for _, page := range pages {
		var errs strings.Builder
		cmd := exec.Command(roff, "-man", "-ww", "-Kutf8", "-Tutf8", page)
		cmd.Stderr = &errs
		if out, err := cmd.Output(); err != nil || errs.Len() > 0 || len(out) == 0 {
			t.Errorf("%s: %v: %s", page, err, errs.String())
		}
	}
}
