package tui

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kxsh/engine"
)

func treeOf(s *engine.Snapshot) *view {
	v := newView()
	v.tree = true
	v.update(s)
	return &v
}

// shown is the rows as the NAME column has them, with PIDs.
func shown(v *view) string {
	var out []string
	for i := range v.rows {
		out = append(out, fmt.Sprint(v.rows[i].PID, " ", v.name(i)))
	}
	return strings.Join(out, "\n")
}

func want(t *testing.T, v *view, lines ...string) {
	t.Helper()
	if got, want := shown(v), strings.Join(lines, "\n"); got != want {
		t.Errorf("\n%s\nwant\n%s", got, want)
	}
}

func TestTreeSortsBySubtrees(t *testing.T) {
	v := treeOf(families())
	want(t, v, "3 web", "4 ├─worker", "6 │ └─cgi", "5 └─worker", "7 lone", "12 debian", "8 shell", "9 └─Lua")
	v.sort = byPID
	v.arrange()
	want(t, v, "3 web", "4 ├─worker", "6 │ └─cgi", "5 └─worker", "7 lone", "8 shell", "9 └─Lua", "12 debian")
}

func TestFoldedRowHasTheSum(t *testing.T) {
	v := treeOf(families())
	v.fold(3)
	want(t, v, "3 web [+3]", "7 lone", "12 debian", "8 shell", "9 └─Lua")
	if r := v.rows[0]; r.cpu != 58 || r.memory != 9<<20 || r.time != 58*time.Second {
		t.Errorf("%+v", r.load)
	}
	if v.rows[4].cpu != 5 || v.rows[3].cpu != 0 {
		t.Error("rows that are not folded have their own")
	}
	v.fold(3)
	v.fold(7) // nothing to fold
	if len(v.rows) != 8 || v.rows[0].cpu != 1 {
		t.Errorf("unfolded: %s", shown(v))
	}
}

func TestFoldAll(t *testing.T) {
	v := treeOf(families())
	v.fold(4)
	v.foldAll()
	want(t, v, "3 web [+3]", "7 lone", "12 debian", "8 shell [+1]")
	v.fold(3)
	want(t, v, "3 web", "4 ├─worker [+1]", "5 └─worker", "7 lone", "12 debian", "8 shell [+1]")
	v.foldAll()
	v.foldAll()
	if len(v.rows) != 8 {
		t.Errorf("unfolded: %s", shown(v))
	}
}

// A pVM whose parent has ended is the host's child, and the root of what is below it.
func TestOrphansAreRoots(t *testing.T) {
	v := treeOf(snapshot(time.Unix(0, 0), engine.Process{PID: 1, Name: "a"}, engine.Process{PID: 5, PPID: 3, Family: 1, Name: "b"}, engine.Process{PID: 6, PPID: 5, Family: 1, Name: "c"}))
	want(t, v, "1 a", "5 b", "6 └─c")
}
