package engine

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
)

// A pipe is made if the reader says that it has it, whatever came of the rest; else the reader is asked to take its offer back.
func TestPipeSteps(t *testing.T) {
	const silent = -1 << 40 // fetches the task, and says nothing more
	for _, c := range []struct {
		name                 string
		offer, take, settled int64
		want                 string // of the error; "": it is made
	}{
		{"made", 5, 0, 1, ""},
		{"lost but made", 5, silent, 1, ""},
		{"refused", 5, -int64(unix.EINVAL), 0, "the offer of a pipe has run out"},
		{"old writer", 5, -int64(unix.ENOSYS), 0, "older than pipes"},
		{"silent writer", 5, silent, 0, "has begun with it"},
		{"reader denies", 5, 0, 0, "taken its offer back"},
		{"reader forgets", 5, 0, -int64(unix.EINVAL), "run out"},
		{"old reader", -int64(unix.ENOSYS), 0, 0, "older than pipes"},
		{"busy", -int64(unix.EBUSY), 0, 0, "another pipe"},
		{"full", -int64(unix.ENOSPC), 0, 0, "no room"},
		{"silent reader", silent, 0, 0, "has begun with it"},
		{"no page", 0, 0, 0, "of a number that is none: 0"},
		{"no such page", abi.FamilyPages, 0, 0, "of a number that is none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var secrets [3]atomic.Uint64
			e, _ := familyEngine(t, map[string]func(body){"family": func(b body) {
				do := func(b body) {
					b.tasks(func(t *ipc.Task) int64 {
						step := t.Op - abi.TaskOffer
						secrets[step].Store(t.A[0])
						result := [3]int64{c.offer, c.take, c.settled}[step]
						if result == silent {
							b.sleep()
						}
						return result
					})
				}
				b.printf("child %d\n", b.fork(do))
				do(b)
			}})
			if slices.Contains([]int64{c.offer, c.take, c.settled}, silent) {
				e.patience = shortPatience
			}
			reader := launch(t, e, "family")
			writer := saidNumber(t, e, reader, "child ")
			r, err := e.IPC(context.Background(), writer, IPCRequest{Op: IPCPipe, To: reader})
			switch {
			case c.want == "" && (err != nil || r.ID != 5):
				t.Errorf("%+v, %v", r, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || codeOf(err) == ""):
				t.Errorf("%v, want %q", err, c.want)
			}
			offered, took, settled := secrets[0].Load(), secrets[1].Load(), secrets[2].Load()
			if offered == 0 || c.offer == 5 && (took != offered || settled != offered) || c.offer != 5 && took != 0 {
				t.Errorf("secrets: offered %d, took %d, settled %d", offered, took, settled)
			}
		})
	}
}
