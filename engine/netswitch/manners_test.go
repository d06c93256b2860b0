package netswitch

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestManners holds that a thread is patient while it has many lines, and not for one line's many frames, nor after a silence; and that it stays as nice as it is.
func TestManners(t *testing.T) {
	policy := func() (uint32, int32) {
		t.Helper()
		attr, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return attr.Policy, attr.Nice
	}
	done := make(chan struct{})
	go func() { // with a thread that ends
		defer close(done)
		m := newManners()
		before, nice := policy()
		now := time.Duration(0)
		for _, c := range []struct {
			why     string
			lines   int
			after   time.Duration
			patient bool
		}{
			{"none", 0, mannersWindow, false},
			{"one", 1, mannersWindow, false},
			{"one too few", manyLines - 1, mannersWindow, false},
			{"many", manyLines, mannersWindow, true},
			{"again", manyLines, mannersWindow, true},
			{"in the midst", 0, mannersWindow / 2, true},
			{"few", manyLines - 1, mannersWindow / 2, false},
			{"many, long ago", manyLines, time.Second, false},
		} {
			seen := make([]uint32, c.lines)
			for range 100 {
				for i := range seen {
					m.meet(&seen[i])
				}
			}
			now += c.after
			m.look(now)
			want := before
			if c.patient && before == unix.SCHED_NORMAL {
				want = unix.SCHED_BATCH
			}
			if is, n := policy(); is != want || n != nice {
				t.Errorf("%s: policy %d, nice %d, not %d and %d", c.why, is, n, want, nice)
			}
		}
	}()
	<-done
}
