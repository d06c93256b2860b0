package e2e

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// SQLite's shell, unmodified from Debian's source, says in a pVM what it says natively: of queries, transactions with each
// journal, a write-ahead log, and a database of some MiB.
func TestSQLiteLikeNative(t *testing.T) {
	h := newHome(t)
	for _, script := range scripts(t, "sqlite", ".sql") {
		t.Run(filepath.Base(script), func(t *testing.T) {
			code, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			args := []string{"-batch", "t.db"}
			if filepath.Base(script) == "wal.sql" { // the log's index is not in a mapped file then
				args = []string{"-batch", "-vfs", "unix-excl", "t.db"}
			}
			portOf("sqlite", "sqlite3").likeNative(t, h, nil, string(code), args...)
		})
	}
}

// A log that other processes could read needs a mapped file that is written through: the LibOS says that it has none.
func TestSQLiteSharedLog(t *testing.T) {
	h := newHome(t)
	out, errs, code := h.run(t, "run", portOf("sqlite", "sqlite3").image, "-batch", "t.db", "pragma journal_mode = wal; create table t(a)")
	if code != 10 || out != "wal\n" || !strings.Contains(errs, "kx: a shared mapping of a file that may be written is not supported: the program gets ENODEV\n") ||
		!strings.Contains(errs, "disk I/O error") {
		t.Errorf("status %d: %q %q", code, out, errs)
	}
}

// SQLite's own load test: rows, indexes, joins, triggers and updates give the hash that they give natively.
func TestSQLiteSpeedtest(t *testing.T) {
	h := newHome(t)
	p := portOf("sqlite", "speedtest1")
	size := strconv.Itoa(max(20/slowness, 3))
	took := regexp.MustCompile(` +[0-9.]+s$`)
	untimed := func(s string) string {
		lines := strings.Split(s, "\n")
		for i := range lines {
			lines[i] = took.ReplaceAllString(lines[i], "")
		}
		return strings.Join(lines, "\n")
	}
	for _, kind := range [][]string{{"speed.db"}, {"--memdb"}, {"--journal", "truncate", "--pagesize", "1024", "--cachesize", "100", "speed.db"}} {
		args := append([]string{"--verify", "--size", size}, kind...)
		want := p.natively(t, t.TempDir(), "", args...)
		got, errs, code := h.run(t, append([]string{"run", "-m", "128M", p.image}, args...)...)
		if code != 0 || want.code != 0 || errs != "" || !strings.Contains(got, "Verification Hash: ") {
			t.Fatalf("%q: status %d, natively %d: %s", kind, code, want.code, errs)
		}
		compare(t, untimed(got), untimed(want.out))
	}
}

// A database that was made natively is read in a pVM, and the other way round.
func TestSQLiteFile(t *testing.T) {
	h := newHome(t)
	p := portOf("sqlite", "sqlite3")
	const made = `create table t(id integer primary key, a text, b blob); create index t_a on t(a);
		with recursive n(i) as (select 1 union all select i + 1 from n where i < 5000) insert into t select i, printf('%x', i * 7919 % 65537), zeroblob(i % 300) from n;`
	const asked = "pragma integrity_check; select count(*), sum(length(b)), min(a), max(a) from t; select id from t where a = '1eef';"

	dir := t.TempDir()
	if r := p.natively(t, dir, "", "there.db", made); r.code != 0 {
		t.Fatal(r.errs)
	}
	want := p.natively(t, dir, "", "there.db", asked)
	got, errs, code := h.run(t, "run", "--root", dir, p.image, "/there.db", asked)
	if code != 0 || errs != "" {
		t.Fatalf("status %d: %s", code, errs)
	}
	compare(t, got, want.out)

	got, errs, code = h.run(t, "run", "-m", "64M", p.image, "here.db", made+"select hex(readfile('here.db'));")
	file, err := hex.DecodeString(strings.TrimSpace(got))
	if code != 0 || errs != "" || err != nil {
		t.Fatalf("status %d, %v: %s", code, err, errs)
	}
	if err := os.WriteFile(filepath.Join(dir, "here.db"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := p.natively(t, dir, "", "here.db", asked); r.out != want.out {
		t.Errorf("a pVM's database, read natively: %q %s, want %q", r.out, r.errs, want.out)
	}
}

// Forked from outside in the middle of a query on a database in memory, parent and child both finish it, each with its own.
func TestSQLiteFork(t *testing.T) {
	h := newHome(t)
	p := portOf("sqlite", "sqlite3")
	query := func(rows int) string {
		return fmt.Sprintf(`create table t as with recursive n(i) as (select 1 union all select i + 1 from n where i < %d) select i, i * i %% 1009 as q from n;
			select 'begun'; begin; update t set q = q + 1;
			select count(*), sum(a.q * b.q %% 7) from t a, t b where a.i <= %d; update t set i = -i; select sum(i), sum(q) from t; commit; pragma integrity_check;`, max(rows, 3000), rows)
	}
	var want ran
	var parent, code int
	var child, errs string
	for rows := max(3000/slowness, 1000); child == ""; rows *= 2 { // until it is forked in the middle of this
		if rows > 1<<14 {
			t.Fatal("each query is over before it is forked")
		}
		parent = h.launch(t, p.image, ":memory:", query(rows))
		h.awaitLog(t, strconv.Itoa(parent), "begun")
		if child, errs, code = h.run(t, "fork", strconv.Itoa(parent)); code != 0 && !strings.Contains(errs, "no such pVM") {
			t.Fatal(errs)
		}
		want = p.natively(t, t.TempDir(), "", ":memory:", query(rows))
	}
	child = strings.TrimSpace(child)
	h.output(t, "wait", strconv.Itoa(parent), child)
	_, answers, _ := strings.Cut(want.out, "\n")
	compare(t, h.output(t, "logs", child), answers)
	// A child's output goes to the root of its family, too, while that is there: what was said twice counts once.
	lines := func(s string) []string { return slices.Compact(slices.Sorted(strings.SplitSeq(s, "\n"))) }
	if got := lines(h.output(t, "logs", strconv.Itoa(parent))); !slices.Equal(got, lines(want.out)) {
		t.Errorf("the parent, and perhaps its child: %q, want %q", got, lines(want.out))
	}
}
