package engine

import (
	"context"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
)

// An attached console is lent a pipe, which is taken back from all that say that they have it; where it cannot be, the console is attached all the same.
func TestLoan(t *testing.T) {
	for _, c := range []struct {
		name         string
		lend, borrow int64
		lent         bool
	}{
		{"lent", 5, 0, true},
		{"reader has no console", -int64(unix.ENOTTY), 0, false},
		{"writer has no console", 5, -int64(unix.ENOTTY), false},
		{"an old image", -int64(unix.ENOSYS), 0, false},
		{"lent already", -int64(unix.EBUSY), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var has [2]atomic.Uint32 // what reader and writer have
			var returned atomic.Int32
			e, _ := familyEngine(t, map[string]func(body){"family": func(b body) {
				do := func(b body, side int) {
					b.tasks(func(task *ipc.Task) int64 {
						result := c.borrow
						switch task.Op {
						case abi.TaskLend:
							return c.lend
						case abi.TaskSettle:
							if has[1].Load() == 0 {
								return 0
							}
							result = 1
						case abi.TaskReturn:
							returned.Add(1)
							atomic.StoreUint32(&b.k.Control.Lent[side], 0)
							has[side].Store(0)
							return 0
						}
						if result >= 0 {
							has[side].Store(uint32(task.A[0]))
							atomic.StoreUint32(&b.k.Control.Lent[side], uint32(task.A[0]))
						}
						return result
					})
				}
				b.printf("child %d\n", b.fork(func(b body) { do(b, 1) }))
				do(b, 0)
			}})
			reader := launch(t, e, "family")
			writer := saidNumber(t, e, reader, "child ")
			con, err := e.Attach(context.Background(), reader, AttachOptions{From: writer})
			if err != nil {
				t.Fatal(err)
			}
			if lent := has[0].Load() != 0; lent != c.lent || has[0].Load() != has[1].Load() {
				t.Errorf("reader has %d, writer %d", has[0].Load(), has[1].Load())
			}
			con.Close()
			eventually(t, "reader and writer have nothing", func() bool { return has[0].Load() == 0 && has[1].Load() == 0 })
			if !c.lent && returned.Load() > 0 {
				t.Errorf("%d were asked for what they never had", returned.Load())
			}
		})
	}
}
