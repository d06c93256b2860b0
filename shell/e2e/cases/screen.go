package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// An event is a line of go test -json (go doc test2json).
type event struct {
	Action      string
	Package     string
	Test        string
	Elapsed     float64 // s
	Output      string
	FailedBuild string
}

func (e *event) ends() bool { return e.Action == "pass" || e.Action == "fail" || e.Action == "skip" }

// name of a test, or the package itself.
type name struct{ pkg, test string }

// A screen shows people what matters of a stream of events: the output of what failed, and how each
// package, and where wanted each case, ended.
type screen struct {
	out     io.Writer
	verbose bool
	output  map[name][]string // of those that run
	failed  bool
}

func newScreen(out io.Writer, verbose bool) *screen {
	return &screen{out: out, verbose: verbose, output: map[name][]string{}}
}

// show takes a line of the stream. What is no event is passed on.
func (s *screen) show(line string) {
	var e event
	if err := json.Unmarshal([]byte(line), &e); err != nil || e.Action == "" {
		fmt.Fprint(s.out, line)
		return
	}
	n := name{e.Package, e.Test}
	switch {
	case e.Action == "build-output":
		fmt.Fprint(s.out, e.Output)
	case e.Action == "start", e.Action == "run":
		s.output[n] = []string{}
	case e.Action == "output":
		s.output[n] = append(s.output[n], e.Output)
	case e.ends():
		s.end(&e, n)
	}
}

// word is how an end is told.
var word = map[string]string{"pass": "ok  ", "fail": "FAIL", "skip": "skip"}

func (s *screen) end(e *event, n name) {
	output := strings.Join(s.output[n], "")
	delete(s.output, n)
	if e.Action == "fail" {
		s.failed = true
		fmt.Fprint(s.out, output)
	}
	switch {
	case e.Test == "" && e.Action != "skip":
		fmt.Fprintf(s.out, "%s\t%s\t%.1fs\n", word[e.Action], e.Package, e.Elapsed)
	case e.Test != "" && (s.verbose || e.Action == "fail"):
		why := ""
		if e.Action == "skip" {
			why = "  " + reason(output)
		}
		fmt.Fprintf(s.out, "  %s  %s (%.1fs)%s\n", word[e.Action], e.Test, e.Elapsed, why)
	}
}

// finish shows what did not come to its end, and tells whether there is such.
func (s *screen) finish() (unfinished bool) {
	for n, output := range s.output {
		unfinished = true
		fmt.Fprintf(s.out, "%s%s\t%s %s: did not end\n", strings.Join(output, ""), word["fail"], n.pkg, n.test)
	}
	return unfinished
}

// reason finds why a test was skipped in its output: testing prints "file:line: why", testscript's skip the
// why alone.
func reason(output string) string {
	_, why, found := strings.Cut(output, "only on ")
	if !found {
		why, _, _ = strings.Cut(strings.TrimSpace(output[strings.LastIndex(output, ".go:")+1:]), "\n")
		return why
	}
	why, _, _ = strings.Cut(why, "\n")
	return "only on " + strings.TrimSpace(why)
}
