package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kxsh/engine"
)

// reach is a family of testdata/fork/matrix.c, and what there is of it to reach.
type reach struct {
	line                string
	pids                [2]int
	queue, set, segment string
}

// columns are the calls of matrix.c, and what they make of a member of one's own family and of another one. Whom one may wait for is
// not a matter of families alone.
var columns = [][3]string{
	{"kill 0", "ok", "ESRCH"}, {"kill", "ok", "ESRCH"}, {"kill group", "ok", "ESRCH"}, {"waitpid", "", "ECHILD"},
	{"msgget", "ok", "ENOENT"}, {"msgsnd", "ok", "EINVAL"}, {"msgrcv", "ok", "EINVAL"}, {"msgctl", "ok", "EINVAL"},
	{"shmget", "ok", "ENOENT"}, {"shmat", "ok", "EINVAL"}, {"shmctl", "ok", "EINVAL"},
	{"semget", "ok", "ENOENT"}, {"semop", "ok", "EINVAL"}, {"semctl", "ok", "EINVAL"},
	{"pipe", "ok", "EBADF"}, {"socket", "ok", "EBADF"}, {"its address", "ok", "other"}, {"futex", "ok", "none"},
}

const order, answer = 100000, 200000 // of matrix.c

// tell gives every member an order, one after the other, and returns their answers.
func (h *home) tell(t *testing.T, families []reach, what string) []string {
	t.Helper()
	const script = `for member in "$@"; do set -- $member; msgsnd -F $1 $2 $3 "$0" && msgrcv -F $1 -t $4 $2; echo --; done`
	args := []string{"-c", script, what}
	for _, r := range families {
		for _, pid := range r.pids {
			args = append(args, fmt.Sprint(pid, " ", r.queue, " ", order+pid, " ", answer+pid))
		}
	}
	return strings.Split(strings.TrimSuffix(h.output(t, args...), "--\n"), "--\n")
}

// Every member of three families tries every call on every member of all: it reaches its own family by all of them, and of another one
// nothing; nor does the shell, which names an object by its family.
func TestFamilyMatrix(t *testing.T) {
	h := newHome(t)
	image := h.compileFork(t, "matrix")
	// The first of all does nothing: -PID of a family's root must not be -1, everybody.
	roots := strings.Fields(h.output(t, "-c", `run $APPS/hello.kx >/dev/null; for i in 0 1 2; do run -d -m 16M $0 $i; done`, image))
	var families [3]reach
	var all strings.Builder
	for i := range families {
		r := &families[i]
		await(t, "what there is of a family", func() (bool, string) {
			r.line = h.output(t, "logs", roots[i])
			var index int
			n, _ := fmt.Sscan(r.line, &index, &r.pids[0], &r.pids[1], &r.queue, &r.set, &r.segment)
			return n == 6, r.line
		})
		all.WriteString(r.line)
	}
	if a, b, c := families[0], families[1], families[2]; a.queue == b.queue || b.queue == c.queue || a.segment == b.segment || b.segment == c.segment {
		t.Fatalf("families have the same numbers, which tells nothing:\n%s", all.String())
	}

	for i, answer := range h.tell(t, families[:], all.String()) {
		rows := strings.Split(strings.TrimSpace(answer), "\n")
		if len(rows) != 6 {
			t.Fatalf("%d: %q", i, rows)
		}
		for j, row := range rows {
			words := strings.Fields(row)
			if len(words) != len(columns) {
				t.Fatalf("%d: %q", i, row)
			}
			for c, column := range columns {
				want := column[1]
				switch {
				case i/2 != j/2:
					want = column[2]
				case want == "" && i%2 == 0 && j%2 == 1: // its child
					want = "ok"
				case want == "":
					want = "ECHILD"
				}
				if words[c] != want {
					t.Errorf("member %d of family %d: %s, member %d of family %d: %s, want %s", i%2, i/2, column[0], j%2, j/2, words[c], want)
				}
			}
		}
	}
	var want []string
	for i := range 6 {
		want = append(want, fmt.Sprintf("senders %#x messages 0 operations 4 woken 2 common own\n", 3<<(i/2*2)))
	}
	await(t, fmt.Sprintf("what has come: %q", want), func() (bool, string) {
		got := h.tell(t, families[:], "")
		return slices.Equal(got, want), fmt.Sprintf("%q", got)
	})
	h.refusedKills(t, families[:])
	h.apart(t, families[:])
	h.matrixFromShell(t, families[:])
}

// refusedKills finds an event of each family that tells of a signal to another one.
func (h *home) refusedKills(t *testing.T, families []reach) {
	t.Helper()
	family := func(pid int) int {
		return slices.IndexFunc(families, func(r reach) bool { return slices.Contains(r.pids[:], pid) })
	}
	told := map[int]bool{}
	for line := range strings.Lines(h.output(t, "events", "--json")) {
		var e engine.Event
		unmarshal(t, line, &e)
		if e.Type != "refused" {
			continue
		}
		m := regexp.MustCompile(`^kill: (\d+) is of another family$`).FindStringSubmatch(e.Text)
		if m == nil || family(e.PID) < 0 || family(number(t, m[1])) < 0 || family(number(t, m[1])) == family(e.PID) {
			t.Errorf("event %s", line)
		}
		told[family(e.PID)] = true
	}
	if len(told) != len(families) {
		t.Errorf("events tell of refused signals of families %v", told)
	}
}

// apart finds each family's members, and nobody else, in what it shares; on the hosted hypervisor, in what their processes have mapped.
func (h *home) apart(t *testing.T, families []reach) {
	t.Helper()
	areas := map[string]int{}
	for f, r := range families {
		var list []engine.SharedObject
		unmarshal(t, h.output(t, "ipcs", "-F", strconv.Itoa(r.pids[0]), "--json"), &list)
		for _, o := range list {
			for _, pid := range slices.Concat(o.Readers, o.Writers, []int{o.Sender, o.Receiver, o.Maker, o.Last}) {
				if pid != 0 && !slices.Contains(r.pids[:], pid) {
					t.Errorf("family %d shares with %d: %+v", f, pid, o)
				}
			}
		}
		if where != "hosted" {
			continue
		}
		for _, p := range h.awaitMembers(t, r.pids[0], 2) {
			maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.HostPID))
			if err != nil {
				t.Fatal(err)
			}
			found := regexp.MustCompile(`(?m)^\S+ \S+ \S+ \S+ (\d+) +/memfd:kx-family`).FindAllStringSubmatch(string(maps), -1)
			if len(found) == 0 {
				t.Errorf("%d has no area of its family:\n%s", p.PID, maps)
			}
			for _, m := range found {
				if other, ok := areas[m[1]]; ok && other != f {
					t.Errorf("families %d and %d have one area", f, other)
				}
				areas[m[1]] = f
			}
		}
	}
	if where == "hosted" && len(areas) != len(families) {
		t.Errorf("%d areas of %d families", len(areas), len(families))
	}
}

// matrixFromShell names objects of one family as those of another; in the end each family's are removed as its own.
func (h *home) matrixFromShell(t *testing.T, families []reach) {
	t.Helper()
	const tries = `
		try() { name=$1; shift; if "$@" >/dev/null 2>&1; then printf " $name"; fi; }
		for each in "$@"; do
			set -- $each
			try msgsnd msgsnd -n -F $1 $2 7 x
			try msgrcv msgrcv -n -F $1 -t 7 $2
			try shmread shmread -F $1 $4 0 1
			try shmwrite shmwrite -F $1 $4 0 x
			[ $5 = own ] || { try queue ipcrm -F $1 -q $2; try set ipcrm -F $1 -s $3; try segment ipcrm -F $1 -m $4; }
			echo
		done`
	args := []string{"-c", tries, "matrix"}
	var want strings.Builder
	for f := range families {
		for g, r := range families {
			whose := "another's"
			if g == f {
				whose = "own"
				want.WriteString(" msgsnd msgrcv shmread shmwrite")
			}
			want.WriteString("\n")
			args = append(args, fmt.Sprint(families[f].pids[1], " ", r.queue, " ", r.set, " ", r.segment, " ", whose))
		}
	}
	if got := h.output(t, args...); got != want.String() {
		t.Errorf("from the shell, each family with the numbers of each:\n%s", got)
	}
	var script strings.Builder
	for _, r := range families { // without the queue they end
		fmt.Fprintf(&script, "ipcrm -F %d %s %s %s; ", r.pids[0], r.set, r.segment, r.queue)
	}
	h.output(t, "-c", script.String())
}
