package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a benchmark may go on without a sign of progress. An emulated machine takes minutes for the longest round.
const patience = 10 * time.Minute

// watchdog ends a benchmark that makes no progress.
type watchdog struct {
	limit time.Duration
	timer *time.Timer
	end   context.CancelCauseFunc
}

// watch is ended, with a cause that says so, when nothing has progressed for so long. The caller calls stop.
func watch(ctx context.Context, limit time.Duration) (context.Context, *watchdog) {
	ctx, end := context.WithCancelCause(ctx)
	return ctx, &watchdog{limit, time.AfterFunc(limit, func() {
		end(fmt.Errorf("given up: nothing was finished in %v", limit))
	}), end}
}

// progress is said at the beginning of each round. A nil watchdog waits for nobody.
func (w *watchdog) progress() {
	if w != nil {
		w.timer.Reset(w.limit)
	}
}

func (w *watchdog) stop() {
	w.timer.Stop()
	w.end(nil)
}

// waited is one that is only waited for: with ctx it ends, and its caller goes on, also if something that it has started keeps its output.
func waited(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	return cmd
}

// command is one that is told what to do, and answers: with ctx it ends, and all that it has started, and whoever reads its answers goes on. It stays in our process group, which
// Ctrl-Z stops as a whole.
func command(ctx context.Context, argv ...string) (cmd *exec.Cmd, in io.WriteCloser, out io.ReadCloser, err error) {
	cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	if in, err = cmd.StdinPipe(); err != nil {
		return nil, nil, nil, err
	}
	if out, err = cmd.StdoutPipe(); err != nil {
		return nil, nil, nil, err
	}
	cmd.Cancel = func() error {
		out.Close() // an orphan may hold the other end
		return killTree(cmd.Process.Pid)
	}
	return cmd, in, out, nil
}

// killTree kills a process and its descendants. Each is stopped first, so that it neither forks nor reaps while its children are looked for.
func killTree(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return os.ErrProcessDone
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list) // the thread may have ended
		for _, child := range strings.Fields(string(children)) {
			if child, err := strconv.Atoi(child); err == nil {
				killTree(child)
			}
		}
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}
