package shell

import (
	"strings"
	"testing"
)

// Only consoles next to each other, with nothing redirected, know of each other.
func TestNeighbours(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`console 3 | console 9`, `_kxsh_console from 3 | _kxsh_console to 9`},
		{`console 3 | console -r 9 | console 'w*'`, `_kxsh_console from 3 | _kxsh_console from,to -r 9 | _kxsh_console to 'w*'`},
		{`console w* | console 9`, `_kxsh_console from w\* | _kxsh_console to 9`},
		{`ps | console 3 | console 9 | cat`, `ps | _kxsh_console from 3 | _kxsh_console to 9 | cat`},
		{`console 3 | cat | console 9`, `console 3 | cat | console 9`},
		{`console 3 |& console 9`, `console 3 |& console 9`},
		{`console 3 2>&1 | console 9`, `console 3 2>&1 | console 9`},
		{`console 3 | console 9 </dev/null`, `console 3 | console 9 </dev/null`},
		{`A=1 console 3 | console 9`, `A=1 console 3 | console 9`},
		{`logs -f 3 | console 9`, `logs -f 3 | console 9`},
		{`{ console 3; } | console 9`, `{ console 3; } | console 9`},
		{`console() { :; }; console 3 | console 9`, `console() { :; }; console 3 | console 9`},
	} {
		s := New(Config{})
		got, err := s.rewriteText(c.text)
		if err != nil {
			t.Fatal(err)
		}
		if trimmed := strings.TrimSpace(got); trimmed != c.want {
			t.Errorf("%s: %s, want %s", c.text, trimmed, c.want)
		}
	}
}
