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
