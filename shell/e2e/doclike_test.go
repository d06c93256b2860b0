package e2e

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// likeness tells whether what is seen is what a page shows. Words must be the same; numbers, addresses, sizes, times and the home of
// a page's reader differ from run to run. Blank lines and the width of columns do not count; a line … stands for any lines, and … at
// the end of a line for its rest.
type likeness struct {
	exact  bool              // numbers that are lines must be the same, too: they are exit statuses
	stands map[string]string // PIDs, which begin a line, and addresses of the page, and what they are here
}

// match compares lines, in any order if they are not in that of the page: who runs side by side prints as it comes.
func (l *likeness) match(want, seen []string) bool {
	want, seen = words(want), words(seen)
	if l.ordered(want, seen) {
		return true
	}
	if len(want) != len(seen) || slices.Contains(want, "…") {
		return false
	}
	left := slices.Clone(seen)
	for _, w := range want {
		i := slices.IndexFunc(left, func(s string) bool { return l.line(w, s) })
		if i < 0 {
			return false
		}
		left = slices.Delete(left, i, i+1)
	}
	return true
}

// words is lines with one blank between words, without blank ones.
func words(lines []string) (out []string) {
	for _, line := range lines {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			out = append(out, line)
		}
	}
	return out
}

func (l *likeness) ordered(want, seen []string) bool {
	for i, w := range want {
		if w == "…" {
			for skip := 0; skip <= len(seen)-i; skip++ {
				if l.ordered(want[i+1:], seen[i+skip:]) {
					return true
				}
			}
			return false
		}
		if i >= len(seen) || !l.line(w, seen[i]) {
			return false
		}
	}
	return len(seen) == len(want)
}

func (l *likeness) line(want, seen string) bool {
	w, s := strings.Fields(want), strings.Fields(seen)
	if n := len(w) - 1; w[n] == "…" && n > 0 && n <= len(s) {
		w, s = w[:n], s[:n]
	}
	if len(w) != len(s) {
		return false
	}
	if l.exact && len(w) == 1 && isNumber(w[0]) && w[0] != s[0] {
		return false
	}
	for i := range w {
		if w[i] != s[i] && !pattern(w[i]).MatchString(s[i]) {
			return false
		}
	}
	if isNumber(w[0]) && isNumber(s[0]) && !l.exact {
		l.stands[w[0]] = s[0]
	}
	for i := range w {
		if a, b := address.FindString(w[i]), address.FindString(s[i]); a != "" && b != "" {
			l.stands[a] = b
		}
	}
	return true
}

var address = regexp.MustCompile(`0x[0-9a-f]+`)

func isNumber(s string) bool { _, err := strconv.Atoi(s); return err == nil }

const months = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"

// varies finds what differs from run to run in a word that has no meta-characters of regular expressions left.
var varies = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile("^" + months + "$"), months},
	{regexp.MustCompile(`0x[0-9a-f]+`), "\x00x"},
	{regexp.MustCompile(`\b[0-9a-f]{16,}\b`), "\x00x"},
	{regexp.MustCompile(`[0-9]+(?:(?:\\\.|[:,])[0-9]+)*[KMGT]?`), "\x00n"},
	{regexp.MustCompile("\x00n(ns|µs|ms|s)\\b"), "\x00n(ns|µs|ms|s)"},
	{regexp.MustCompile("…"), ".*"},
	{regexp.MustCompile("\x00n"), `[0-9][0-9.:,]*[KMGT]?`},
	{regexp.MustCompile("\x00x"), `(0x)?[0-9a-f]+`},
}

var homeFolder = regexp.MustCompile(`/home/[a-z]+`)

func pattern(word string) *regexp.Regexp {
	word = regexp.QuoteMeta(word)
	if in := homeFolder.ReplaceAllLiteralString(word, `(/[^/:]+)+`); in != word {
		return regexp.MustCompile("^" + in + "$")
	}
	for _, v := range varies {
		word = v.re.ReplaceAllString(word, v.by)
	}
	return regexp.MustCompile("^" + word + "$")
}

func TestLikeness(t *testing.T) {
	for _, c := range []struct {
		want, seen string
		exact, ok  bool
	}{
		{"1 0 S 12.5 240K", "17  3 S 0.0 1.1M", false, true},
		{"1 0 S", "1 0 R", false, false},
		{"137", "137", true, true},
		{"137", "0", true, false},
		{"Hello, I am process 1", "Hello, I am process 12", true, true},
		{"host …", "host vm, 2 CPUs", false, true},
		{"host …", "engine x", false, false},
		{"a\n…\nz", "a\nb\nc\nz", false, true},
		{"a\n…\nz", "a\nz", false, true},
		{"a\n…\nz", "a\nb", false, false},
		{"a\nb", "b\na", false, true},
		{"a\nb", "a\na", false, false},
		{"a", "a\nb", false, false},
		{"at last+0x1e [0x40207e], thread 8", "at last+0x2 [0x4000], thread 1", false, true},
		{"rip 000000000040207e", "rip 00000000deadbeef", false, true},
		{"/home/you/list.c:5", "/tmp/x/list.c:5", false, true},
		{"took 38µs", "took 1.2ms", false, true},
		{"took 38µs", "took 1.2", false, false},
		{"30 Nov 2026", "1 Dec 2026", false, true},
		{"30 Nov 2026", "1 now 2026", false, false},
	} {
		l := likeness{exact: c.exact, stands: map[string]string{}}
		if got := l.match(strings.Split(c.want, "\n"), strings.Split(c.seen, "\n")); got != c.ok {
			t.Errorf("%q like %q: %v", c.seen, c.want, got)
		}
	}
}
