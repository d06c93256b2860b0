package tui

import (
	"strings"
	"testing"
)

func filtered(t *testing.T, text string, tree bool) *view {
	t.Helper()
	v := &view{tree: tree, sort: byPID}
	var err error
	if v.filter, err = parseFilter(text); err != nil {
		t.Fatal(err)
	}
	v.update(families())
	return v
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
	for text, want := range map[string]string{"a( b": "a(: not a regular expression", "%x": "%x: a family is a number", "web !": "!: all but what?"} {
		if _, err := parseFilter(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
