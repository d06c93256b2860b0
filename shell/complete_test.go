package shell

import (
	"slices"
	"testing"
)

// Of a command that takes one choice no second one is offered, of one that takes several there is.
func TestChoices(t *testing.T) {
	words := []string{"a", "b"}
	s := New(Config{Extra: []Command{{Name: "one", Args: Choice, Choices: words}, {Name: "some", Args: Choice, Choices: words, Several: true}}})
	for _, c := range []struct{ args, want []string }{
		{[]string{"one"}, []string{"a ", "b "}}, {[]string{"one", "a"}, nil}, {[]string{"some", "a"}, []string{"a ", "b "}},
	} {
		if got := s.Candidates(c.args, ""); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
}

// fg and bg are offered jobs, kill and wait those too.
func TestCompleteJobs(t *testing.T) {
	s := New(Config{})
	first := s.startJob(s.main, "sleep 8", false)
	s.startJob(s.main, "sleep 9", false)
	first.finish(0)
	for _, args := range [][]string{{"fg"}, {"bg"}, {"kill", "-9"}, {"wait"}} {
		if got := s.Candidates(args, "%"); !slices.Equal(got, []string{"%2 "}) {
			t.Errorf("%q: %q", args, got)
		}
	}
	if got := s.Candidates([]string{"limit"}, "%"); len(got) != 0 {
		t.Errorf("limit: %q", got)
	}
}
