package tui

import (
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"

	"kxsh/engine"
)

// BenchmarkFrame is the screen after a new snapshot of 10,000 pVMs: the time of a frame, and the CPU time of all threads for it as a part of one
// CPU when a frame is due every two seconds, as it is unless -d says otherwise. It does not have the engine's share.
func BenchmarkFrame(b *testing.B) {
	for _, c := range []struct {
		name string
		keys []string
	}{
		{"list", nil}, {"name", []string{"s", "s", "s", "s"}}, {"tree", []string{"t"}}, {"folded", []string{"t", "*"}},
		{"filter", []string{"f", "c", "p", "u", ">", "4", "0", " ", "|", " ", "9", "enter"}}, {"marks", []string{"space", "space", "x"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			m, next := crowd(c.keys)
			var frame, used time.Duration
			for b.Loop() {
				s := next()
				begin, cpu := time.Now(), processTime(b)
				m = m.after(snapMsg{snap: s})
				m.screen()
				frame += time.Since(begin)
				used += processTime(b) - cpu
			}
			b.ReportMetric(frame.Seconds()*1000/float64(b.N), "ms/frame")
			b.ReportMetric(used.Seconds()/2*100/float64(b.N), "%cpu-at-2s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkKey is what comes on the screen after the cursor has gone a row further among 10,000 pVMs.
func BenchmarkKey(b *testing.B) {
	m, _ := crowd([]string{"t"})
	b.ResetTimer()
	for b.Loop() {
		m = m.press("down")
		m.screen()
	}
}

// crowd is a top with 10,000 pVMs, and snapshots of which each is two seconds later and has used more than the one before.
func crowd(keys []string) (model, func() *engine.Snapshot) {
	s := many(10000)
	m := screenOf(200, 60, s).after(tea.WindowSizeMsg{Width: 200, Height: 60}).press(keys...)
	snaps := []*engine.Snapshot{many(10000), many(10000)}
	i := 0
	return m, func() *engine.Snapshot {
		i++
		next := snaps[i%2]
		next.Time = s.Time.Add(time.Duration(i) * 2 * time.Second)
		for j := range next.Processes {
			p := &next.Processes[j]
			p.Time = time.Duration(i) * time.Duration(p.PID*7919%101) * 10 * time.Millisecond
		}
		return next
	}
}

// processTime is the CPU time of all threads.
func processTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
