package hosted

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// When the host, or the control group, has no memory for a page that a domain writes to, the kernel ends a process: one
// of ours is to be a domain's.

// oomScore is added to a stub's badness, in thousandths of the memory there is: proc(5), oom_score_adj. With it a domain
// that has copied a few pages goes before an engine that has been there for long.
const oomScore = 500

// volunteer has the kernel end a process, and what it makes, before the engine. Where that cannot be said the kernel chooses by
// size alone.
func volunteer(pid int) {
	own, _ := os.ReadFile("/proc/self/oom_score_adj")
	n, _ := strconv.Atoi(string(bytes.TrimSpace(own)))
	os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(min(n+oomScore, 1000))), 0)
}

// oomKiller tells whether the kernel has just ended processes for lack of memory. It does not say which, but to those who
// may read its log.
type oomKiller struct {
	mu    sync.Mutex
	kills int // since the host's start
	at    time.Time
}

// oomAftermath is how long after the kernel was seen to end processes another one's end may be for the same reason.
const oomAftermath = 10 * time.Second

func (o *oomKiller) struck() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := oomKills(); n != o.kills {
		o.kills, o.at = n, time.Now()
	}
	return !o.at.IsZero() && time.Since(o.at) < oomAftermath
}

// oomKills is oom_kill of /proc/vmstat, which counts before the signal is sent; 0 before Linux 4.13.
func oomKills() (n int) {
	b, _ := os.ReadFile("/proc/vmstat")
	if _, rest, ok := bytes.Cut(b, []byte("\noom_kill ")); ok {
		fmt.Sscan(string(rest), &n)
	}
	return n
}
