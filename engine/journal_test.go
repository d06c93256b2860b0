package engine

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

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

// An engine that is killed loses no event: what it has not put into the store is in the journal, also if it was killed in the middle of writing either.
func TestEventsOfAKilledEngine(t *testing.T) {
	dir, want := t.TempDir(), []string(nil)
	for life := range 4 {
		st, _, err := openStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		e, err := newEvents(st, dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.texts(); !slices.Equal(got, want) {
			t.Fatalf("life %d begins with %q, want %q", life, got, want)
		}
		for i := range 300 {
			want = append(want, fmt.Sprintf("%d.%d", life, i))
			e.addf("exited", nil, "%s", want[len(want)-1])
			if i == 100*life || life == 2 && i == 299 {
				e.flush()
			}
		}
		st.db.Close() // nothing comes into the store any more: it is dead
		e.close()
		if life == 2 { // in the middle of a line
			f, err := os.OpenFile(filepath.Join(dir, "events.journal"), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(f, `{"seq":99999,"type":"exi`)
			f.Close()
		}
	}
}

// What an event costs its cause.
func BenchmarkEvent(b *testing.B) {
	dir := b.TempDir()
	st, _, err := openStore(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer st.db.Close()
	e, err := newEvents(st, dir)
	if err != nil {
		b.Fatal(err)
	}
	defer e.close()
	for b.Loop() {
		e.addf("exited", nil, "")
	}
}
