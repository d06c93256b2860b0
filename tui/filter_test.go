package tui

import (
	"strings"
	"testing"
	"time"

	"kxsh/engine"
)

func filtered(t *testing.T, text string, tree bool) *view {
	t.Helper()
	v := newView()
	v.tree, v.sort = tree, byPID
	var err error
	if v.filter, err = parseFilter(text); err != nil {
		t.Fatal(err)
	}
	s := families()
	s.Processes[0].Libs, s.Processes[1].Libs = []string{"libm.so"}, []string{"libcrypt.so.1", "libm.so"}
	s.Processes[4].Args, s.Processes[4].Image = []string{"lone", "hello"}, "/bin/lone.kx"
	v.update(s)
	return &v
}

func TestFilterOfTheList(t *testing.T) {
	for text, pids := range map[string]string{
		"":           "3 4 5 6 7 8 9 12",
		"work":       "4 5",
		"LUA":        "9",
		"^l":         "7 9",
		"7":          "7",
		"%3":         "3 4 5 6",
		"%3 !worker": "3 6",
		"!%3 !lone":  "8 9 12",
		"%0":         "", // domains of others have no family
		"e b":        "3 12",
		"!.":         "",
		// regular expressions with what elsewhere is an operator
		"w(eb|orker)": "3 4 5", "web|cgi": "3 6", "web|cgi !6": "3", "[(|]": "", `\|`: "", "!web|cgi !%0": "4 5 7 8 9 12",
		// and, or, not, parentheses
		"%3 & work": "4 5", "%3&work": "4 5", "web | cgi": "3 6", "7 | %8 lua": "7 9", "(7 | %8) l": "7 8 9", "!(%3 | %8)": "7 12",
		"!(%3 cpu>20)": "3 6 7 8 9 12", "!!web": "3", "!(!web)": "3", "( web )": "3", "( %3 & ( 4|5 ) )": "", "(4 | 5) %3": "4 5",
		"web|cpu>=40": "3 7", "(!%3) !%8": "7 12",
		// numbers
		"cpu>25": "4 7", "cpu>=25": "4 5 7", "%CPU<2%": "3 8", "cpu=9.0": "12", "cpu!=0&cpu<=2": "3 6", "mem>=3M": "3 7 9 12", "mem=2048k": "4 5 8", "mem<1.5MiB": "6",
		"mem>0.25G": "12", "shr>1b mem<4M": "4 5 6 7 8", "priv=4M": "9", "time>=30s": "4 7", "time>0:25": "4 7", "time<1.5s": "3 8", "time=5": "9", "pid<=4": "3 4", "fam=8": "8 9", "ppid=3": "4 5",
		// words
		"name=web": "3", "NAME=Web": "", "name~^w": "3 4 5", "name!~[aeiou]": "", "stat=R": "4 5 7", "stat!=S stat!=R": "9 12", "stat=Sx": "12", `name="two words" | name="web"`: "3",
		"lib=libm": "3 4", "lib=libm.so": "3 4", "lib=lib": "", "lib!=libm": "5 6 7 8 9 12", "lib~crypt": "4", "lib!~.": "5 6 7 8 9 12", "name~w(eb|x)|cgi": "3 6", "name~web|stat=T": "3 9",
		"args~hello": "7", "image~lone.kx$": "7",
	} {
		v := filtered(t, text, false)
		var got []string
		for _, l := range strings.Split(shown(v), "\n") {
			got = append(got, strings.SplitN(l, " ", 2)[0])
		}
		if s := strings.Join(got, " "); s != pids {
			t.Errorf("%q leaves %s, want %s", text, s, pids)
		}
	}
}

func TestFilterOfTheTree(t *testing.T) {
	want(t, filtered(t, "web", true), "3 web", "4 ├─worker", "6 │ └─cgi", "5 └─worker")
	want(t, filtered(t, "worker", true), "4 worker", "6 └─cgi", "5 worker")
	want(t, filtered(t, "!^worker !debian", true), "3 web", "7 lone", "8 shell", "9 └─Lua")
	want(t, filtered(t, "web !5", true), "3 web", "4 └─worker", "6   └─cgi")

	v := filtered(t, "web !5", true)
	v.fold(3)
	want(t, v, "3 web [+2]")
	if v.rows[0].cpu != 33 {
		t.Errorf("%.0f%%: sums are of what the filter leaves", v.rows[0].cpu)
	}
	if head := v.header()[2]; head != "filter: web !5   3 of 8" {
		t.Errorf("%q", head)
	}
}

func TestFilterErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a( b": "a(: not a regular expression", "%x": "%x: a family is a number", "web !": "!: all but what?",
		"cpu>": "cpu>: than what?", "cpu>x": "cpu>x: not per cent of a CPU, as 40", "mem>10Q": "mem>10Q: not bytes, as 10M or 1.5G", "time<1h:2": "time<1h:2: not a time, as 90s, 2m or 1:30",
		"pid=1e3": "pid=1e3: not a number", "pid=-1": "pid=-1: not a number", "cpu>inf": "cpu>inf: not per cent of a CPU, as 40",
		"colour=red": "colour: no such column: pid ppid fam stat cpu mem shr time priv cow max age vcpus uid ip rx tx lib image args name",
		"name<b":     "name<: it is a word: = != ~ !~", "cpu~4": "cpu~: it is a number: = != < > <= >=", "name~(": "(: not a regular expression", `name="a`: `name="a: the " is not closed`,
		"web |": "something is missing at the end", "| web": "something is missing before |", "a & & b": "something is missing before &", "(": "something is missing at the end",
		"()": "something is missing before )", "(web": "(: there is no ) for it", "web )": "): there is no ( for it", "a &": "something is missing at the end", "! | b": "!: all but what?",
		strings.Repeat("(", 2000): "longer than 1000 bytes",
	} {
		if _, err := parseFilter(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m1s", 3*time.Hour + 5*time.Minute: "3h5m", 50 * time.Hour: "2d2h"} {
		if got := ageText(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	f, err := parseFilter("age<1h age>=10s")
	if err != nil {
		t.Fatal(err)
	}
	for ago, want := range map[time.Duration]bool{time.Second: false, time.Minute: true, 2 * time.Hour: false} {
		if f.keeps(&engine.Process{Started: time.Now().Add(-ago)}) != want {
			t.Errorf("started %v ago", ago)
		}
	}
	if f.keeps(&engine.Process{}) {
		t.Error("nobody knows its age")
	}
}

// Comparisons in the tree keep what is below, as words do.
func TestComparisonsInTheTree(t *testing.T) {
	want(t, filtered(t, "lib=libm cpu>20", true), "4 worker", "6 └─cgi")
	want(t, filtered(t, "%3 & !cpu>=30", true), "3 web", "5 └─worker")
}

// What was typed is understood or refused, and a filter in parentheses, or twice denied, is the same.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"web !5", "(7 | %8) l", `name="a b" & !(mem>=1.5G | lib~x)`, "a|b c", `\`, "[", "time<1:30"} {
		f.Add(seed)
	}
	ps := families().Processes
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseFilter(text)
		if err != nil || a.empty() {
			return
		}
		for _, same := range []string{"(" + a.text + ")", "!(!(" + a.text + "))"} {
			if len(same) > filterMax || strings.ContainsAny(a.text, "()[]\"\\") { // a bracket of an expression may take the one behind
				continue
			}
			b, err := parseFilter(same)
			if err != nil {
				t.Fatalf("%q is understood, %q is not: %v", text, same, err)
			}
			for i := range ps {
				if a.keeps(&ps[i]) != b.keeps(&ps[i]) {
					t.Fatalf("%q and %q differ on %d", text, same, ps[i].PID)
				}
			}
		}
	})
}
