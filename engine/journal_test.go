package engine

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// fail makes the store one that takes nothing more.
func (s *store) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.close()
}

// texts are those of all events, in their order.
func (e *events) texts() (list []string) {
	for r := e.reader(0, false); ; {
		ev, err := r.Recv()
		if err != nil {
			return list
		}
		list = append(list, ev.Text)
	}
}

func mustOpen(tb testing.TB, dir string) (*store, *events) {
	tb.Helper()
	s, _, err := openStore(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	e, err := newEvents(s)
	if err != nil {
		tb.Fatal(err)
	}
	return s, e
}

// An engine that is killed loses nothing: at any moment, file and journal together say what a model does, also when the journal is as before they were
// brought together and the file as after that, and when what was written last is not whole.
func TestStoreOfAKilledEngine(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	s, e := mustOpen(t, dir)
	names, texts := map[int]string{}, []string(nil)

	// copied has files as they are while nothing is being brought from one to another.
	copied := func(to, pattern string) string {
		s.flushing.Lock()
		defer s.flushing.Unlock()
		files, _ := filepath.Glob(filepath.Join(dir, pattern))
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return to
	}
	same := func(at, when string) {
		t.Helper()
		s, e := mustOpen(t, at)
		defer s.close()
		recs, bad, err := s.all()
		if err != nil || len(bad) > 0 {
			t.Fatal(err, bad)
		}
		got := map[int]string{}
		for _, r := range recs {
			got[r.PID] = r.Name
		}
		if !maps.Equal(got, names) {
			t.Fatalf("%s: records %v, want %v", when, got, names)
		}
		if got := e.texts(); !slices.Equal(got, texts) {
			t.Fatalf("%s: events %q, want %q", when, got, texts)
		}
	}
	for i := range 400 {
		if random.IntN(3) == 0 {
			texts = append(texts, fmt.Sprint("event ", i))
			e.addf("exited", nil, "%s", texts[len(texts)-1])
		} else {
			var put []record
			var drop []int
			for range 1 + random.IntN(3) {
				if pid := 1 + random.IntN(9); random.IntN(3) == 0 && names[pid] != "" {
					drop = append(drop, pid)
					delete(names, pid)
				} else if !slices.Contains(drop, pid) {
					names[pid] = fmt.Sprintf(`"%d" of %d`, pid, i)
					put = append(put, record{Process: Process{PID: pid, Name: names[pid]}})
				}
			}
			put = slices.DeleteFunc(put, func(r record) bool { return names[r.PID] != r.Name })
			if err := s.change(put, drop); err != nil {
				t.Fatal(err)
			}
		}
		switch random.IntN(12) {
		case 0:
			same(copied(t.TempDir(), "*"), "at a moment")
		case 1:
			at := copied(t.TempDir(), "*")
			f, err := os.OpenFile(filepath.Join(at, "journal.0"), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(f, `{"n":99999,"drop":[1,2,3`)
			f.Close()
			same(at, "in a line")
		case 2:
			at := copied(t.TempDir(), "journal.*")
			if err := s.flush(); err != nil {
				t.Fatal(err)
			}
			same(copied(at, "engine.db"), "before the journal is cleared")
		case 3:
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
			same(dir, "after its end")
			s, e = mustOpen(t, dir)
		}
	}
	s.close()
}

// A disk without room for a line fails the change, and nothing of it is there later; what is brought into the file later makes up for a failure of that.
func TestStoreWithoutRoom(t *testing.T) {
	dir := smallDisk(t, "1m")
	s, _ := mustOpen(t, dir)
	name := func(pid int) string { return fmt.Sprintf("%d%0800d", pid, 0) }
	put := func(pid int) error {
		return s.change([]record{{Process: Process{PID: pid, Name: name(pid)}}}, nil)
	}
	if err := put(1); err != nil {
		t.Fatal(err)
	}
	free := fillUp(t, dir)
	pid := 2
	for put(pid) == nil {
		if pid++; pid > 10000 {
			t.Fatal("the disk is never full")
		}
	}
	free()
	pid++ // that one failed
	if err := put(pid); err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	s, _ = mustOpen(t, dir)
	defer s.close()
	recs, bad, err := s.all()
	if err != nil || len(bad) > 0 {
		t.Fatal(err, bad)
	}
	if len(recs) != pid-1 || slices.ContainsFunc(recs, func(r *record) bool { return r.PID == pid-1 || r.Name != name(r.PID) }) {
		t.Errorf("%d records of %d", len(recs), pid-1)
	}
}

// What an event costs its cause.
func BenchmarkEvent(b *testing.B) {
	s, e := mustOpen(b, b.TempDir())
	defer s.close()
	for b.Loop() {
		e.addf("exited", nil, "")
	}
}

// What a record costs its cause.
func BenchmarkRecord(b *testing.B) {
	s, _ := mustOpen(b, b.TempDir())
	defer s.close()
	pid := 0
	for b.Loop() {
		pid = pid%200 + 1
		r := record{Process: Process{PID: pid, Name: "some", Image: "/usr/lib/kxsh/some.kx", Args: []string{"a", "b"}}, Request: RunRequest{Env: []string{"HOME=/", "PATH=/bin"}}, Token: make([]byte, 200)}
		if err := s.change([]record{r}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
