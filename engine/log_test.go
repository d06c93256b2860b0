package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kxsh/ipc"
)

func readAll(t *testing.T, r *logReader) []byte {
	t.Helper()
	defer r.close()
	var all []byte
	for {
		c, err := r.next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c.Data...)
	}
}

func TestLogKeepsFromByteZero(t *testing.T) {
	l := newConsoleLog(filepath.Join(t.TempDir(), "log"))
	var want []byte
	for i := range 1000 {
		line := fmt.Appendf(nil, "line %d\n", i)
		want = append(want, line...)
		if err := l.append(1+i%3, time.Now(), line); err != nil {
			t.Fatal(err)
		}
	}
	l.finish()
	if got := readAll(t, l.reader(true, false)); !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, wrote %d", len(got), len(want))
	}
	if err := l.append(1, time.Now(), []byte("late")); !errors.Is(err, errLogClosed) {
		t.Fatalf("append to a complete log: %v", err)
	}
}

func TestLogIsBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := newConsoleLog(dir)
	rec := bytes.Repeat([]byte("x"), 64<<10)
	slow := l.reader(true, false) // starts at 0 and is overtaken
	for written := 0; written < 2*LogMax; written += len(rec) {
		if err := l.append(Stdout, time.Now(), rec); err != nil {
			t.Fatal(err)
		}
	}
	var disk int64
	ents, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range ents {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		disk += fi.Size()
	}
	if disk > LogMax+2*logSegment {
		t.Errorf("%d bytes on disk, bound is %d", disk, LogMax)
	}
	kept, lost := l.size()
	if kept+lost < 2*LogMax || lost == 0 {
		t.Errorf("kept %d, lost %d of %d", kept, lost, 2*LogMax)
	}
	l.finish()
	got := readAll(t, slow)
	if slow.lost == 0 || int64(len(got)) > kept {
		t.Errorf("an overtaken reader read %d of %d kept bytes and missed %d", len(got), kept, slow.lost)
	}
}

func TestLogReopenDropsHalfRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	l := newConsoleLog(dir)
	for _, s := range []string{"one\n", "two\n", "three\n"} {
		if err := l.keep(time.Now(), ipc.Chunk{Stream: Stdout, Data: []byte(s), End: uint32(len(s))}); err != nil {
			t.Fatal(err)
		}
	}
	l.append(Kernel, time.Now(), []byte("three\n"))
	whole := l.end
	l.finish()
	name := l.segName(0)
	image, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := whole - 1; cut > whole-int64(logHeader+len("three\n")); cut-- {
		if err := os.Truncate(name, cut); err != nil {
			t.Fatal(err)
		}
		again, err := openConsoleLog(dir)
		if err != nil {
			t.Fatal(err)
		}
		if again.ring != 6 {
			t.Fatalf("cut at %d: the ring is kept up to %d", cut, again.ring)
		}
		if err := again.append(Stdout, time.Now(), []byte("3\n")); err != nil {
			t.Fatal(err)
		}
		again.finish()
		if got := string(readAll(t, again.reader(false, false))); got != "one\ntwo\nthree\n3\n" {
			t.Fatalf("cut at %d: %q", cut, got)
		}
		if err := os.WriteFile(name, image, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHeldLogWaitsForItsReader(t *testing.T) {
	l := newConsoleLog(filepath.Join(t.TempDir(), "log"))
	r := l.reader(true, true)
	rec := bytes.Repeat([]byte("y"), 16<<10)
	const total = 4 * logHold
	done := make(chan int64)
	go func() {
		most := int64(0)
		for written := 0; written < total; written += len(rec) {
			l.append(Stdout, time.Now(), rec)
			l.mu.Lock()
			most = max(most, l.end-r.off)
			l.mu.Unlock()
			l.waitHolds(nil)
		}
		l.finish()
		done <- most
	}()
	got := readAll(t, r)
	if most := <-done; most > logHold+2*int64(len(rec)) {
		t.Errorf("the writer ran %d bytes ahead of a held reader", most)
	}
	if len(got) != total {
		t.Errorf("read %d of %d bytes", len(got), total)
	}
}

func TestHeldReaderThatLeavesFreesTheWriter(t *testing.T) {
	l := newConsoleLog(filepath.Join(t.TempDir(), "log"))
	r := l.reader(true, true)
	for range logHold/(1<<20) + 1 {
		l.append(Stdout, time.Now(), make([]byte, 1<<20))
	}
	free := make(chan struct{})
	go func() {
		l.waitHolds(nil)
		close(free)
	}()
	r.close()
	<-free
}

func TestStopEndsAFollowingRead(t *testing.T) {
	l := newConsoleLog(filepath.Join(t.TempDir(), "log"))
	r := l.reader(true, false)
	res := make(chan error)
	go func() {
		_, err := r.next()
		res <- err
	}()
	r.stop()
	if err := <-res; err == nil {
		t.Error("next returned data that nobody wrote")
	}
}

func TestTail(t *testing.T) {
	for _, c := range []struct {
		writes []string
		n      int
		want   string
	}{
		{[]string{"a\nb\nc\n"}, 2, "b\nc\n"},
		{[]string{"a\n", "b\n", "c\n"}, 2, "b\nc\n"},
		{[]string{"a\nb", "b\nc"}, 2, "bb\nc"},
		{[]string{"a\nb\n", "no newline"}, 1, "no newline"},
		{[]string{"a\nb\n"}, 0, ""},
		{[]string{"a\nb\n"}, 9, "a\nb\n"},
		{[]string{"\n\n\n"}, 2, "\n\n"},
		{[]string{"long ", "line ", "in ", "parts\n", "x\n"}, 2, "long line in parts\nx\n"},
		{nil, 3, ""},
	} {
		l := newConsoleLog(filepath.Join(t.TempDir(), "log"))
		for _, w := range c.writes {
			l.append(Stdout, time.Now(), []byte(w))
		}
		l.finish()
		k := &keptLog{r: l.reader(false, false)}
		if err := k.tail(c.n); err != nil {
			t.Fatal(err)
		}
		var got []byte
		for {
			ch, err := k.Recv()
			if err != nil {
				break
			}
			got = append(got, ch.Data...)
		}
		if string(got) != c.want {
			t.Errorf("last %d lines of %q: %q, want %q", c.n, c.writes, got, c.want)
		}
	}
}
