package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// sections of the table: the cases that the hypervisors share. A case is a test of the end-to-end package or,
// in any package, of the conformance suite.
var sections = []struct {
	title string
	takes func(n name) bool
}{
	{"END TO END", func(n name) bool { return strings.HasSuffix(n.pkg, "/shell/e2e") }},
	{"CONFORMANCE", func(n name) bool { return strings.HasPrefix(n.test, "TestConformance/") }},
}

// A result is how a case ended: "pass", "fail", or "not run" with the reason.
type result struct{ word, why string }

// table prints which case ran where, from the results of runs.
func table(columns []string, out io.Writer) error {
	var heads []string
	var results []map[name]result
	for _, c := range columns {
		head, file, ok := strings.Cut(c, "=")
		if !ok {
			return errors.New(usage)
		}
		r, err := read(file)
		if err != nil {
			return err
		}
		if r == nil {
			head += " (not run)"
		}
		heads, results = append(heads, head), append(results, r)
	}
	for _, s := range sections {
		cases := map[string][]result{}
		for i, column := range results {
			for n, r := range column {
				if !s.takes(n) {
					continue
				}
				if cases[n.test] == nil {
					cases[n.test] = make([]result, len(results))
				}
				cases[n.test][i] = r
			}
		}
		print(out, s.title, heads, cases)
	}
	return nil
}

func print(out io.Writer, title string, heads []string, cases map[string][]result) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\t%s\n", title, strings.Join(heads, "\t"))
	sums := make([]map[string]int, len(heads))
	for i := range sums {
		sums[i] = map[string]int{}
	}
	for _, test := range slices.Sorted(maps.Keys(cases)) {
		line, why := test, ""
		for i, r := range cases[test] {
			if r.word == "" {
				r.word = "not run"
			}
			sums[i][r.word]++
			line += "\t" + r.word
			if r.why != "" {
				why = "\t" + r.why
			}
		}
		fmt.Fprintf(w, "%s%s\n", line, why)
	}
	w.Flush()
	for i, sum := range sums {
		fmt.Fprintf(out, "%s: %d pass, %d fail, %d not run\n", heads[i], sum["pass"], sum["fail"], sum["not run"])
	}
	fmt.Fprintln(out)
}

// read reads the results of a run, of tests that have no tests inside. One that began and did not end has failed.
// A file that is missing is a run that did not take place.
func read(file string) (map[name]result, error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	results, output, parents := map[name]result{}, map[name]string{}, map[name]bool{}
	lines := bufio.NewReader(f)
	for {
		line, readErr := lines.ReadString('\n')
		var e event
		if json.Unmarshal([]byte(line), &e) == nil && e.Test != "" {
			n := name{e.Package, e.Test}
			switch {
			case e.Action == "run":
				results[n] = result{word: "fail", why: "did not end"}
				if at := strings.LastIndex(e.Test, "/"); at >= 0 {
					parents[name{e.Package, e.Test[:at]}] = true
				}
			case e.Action == "output":
				output[n] += e.Output
			case e.Action == "skip":
				results[n] = result{"not run", reason(output[n])}
			case e.ends():
				results[n] = result{word: e.Action}
			}
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			return nil, readErr
		}
	}
	for n := range parents {
		if results[n].word != "fail" {
			delete(results, n)
		}
	}
	return results, nil
}
