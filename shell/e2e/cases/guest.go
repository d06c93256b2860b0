package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// guest prints how the cases in a list ended, from what runs of the guest test program printed. The status is 1 if one
// failed anywhere.
func guest(list string, columns []string, out io.Writer) (status int, err error) {
	wanted, err := readList(list)
	if err != nil {
		return 2, err
	}
	var heads []string
	cases := map[string][]result{}
	for _, c := range columns {
		head, file, ok := strings.Cut(c, "=")
		if !ok {
			return 2, errors.New(usage)
		}
		ended, err := readGuest(file)
		if err != nil {
			return 2, err
		}
		heads = append(heads, head)
		for _, w := range wanted {
			r := w.result(ended)
			if r.word == "fail" {
				status = 1
			}
			cases[w.name] = append(cases[w.name], r)
		}
	}
	print(out, strings.ToUpper(filepath.Base(list)), heads, cases)
	return status, nil
}

// A guestCase is a line of the list: the tests that are a case, or why there is none.
type guestCase struct {
	name  string
	tests []string
	why   string
}

// result is the worst of a case's tests. One that is not there has not come to its end.
func (c guestCase) result(ended map[string]result) result {
	if c.tests == nil {
		return result{"not run", c.why}
	}
	for _, t := range c.tests {
		r, ok := ended[t]
		if !ok {
			r = result{"fail", "did not end"}
		}
		if r.word == "fail" {
			return result{"fail", t + ": " + r.why}
		}
	}
	return result{word: "pass"}
}

// readList reads lines of "CASE TEST..." and "CASE - REASON"; # begins a comment.
func readList(file string) ([]guestCase, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var cases []guestCase
	for i, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		c := guestCase{name: words[0], tests: words[1:]}
		if len(words) > 2 && words[1] == "-" {
			c.tests, c.why = nil, strings.Join(words[2:], " ")
		} else if len(words) < 2 {
			return nil, fmt.Errorf("%s:%d: no test and no reason", file, i+1)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

// readGuest reads lines of "ok TEST" and "FAIL TEST: WHY"; everything else is what tests printed.
func readGuest(file string) (map[string]result, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	ended := map[string]result{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if test, ok := strings.CutPrefix(line, "ok "); ok {
			ended[test] = result{word: "pass"}
		} else if rest, ok := strings.CutPrefix(line, "FAIL "); ok {
			test, why, _ := strings.Cut(rest, ": ")
			ended[test] = result{"fail", why}
		}
	}
	return ended, nil
}
