package e2e

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"testing"
)

// dialogue is a shell without a terminal that goes on from command to command, in the home's folder.
type dialogue struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *output // with what is said about it
}

func (h *home) dialogue(t *testing.T, shell string, args ...string) *dialogue {
	t.Helper()
	cmd := exec.Command(shell, args...)
	cmd.Env, cmd.Dir = append(slices.Clone(h.env), "TMPDIR="+h.dir), h.dir
	d := &dialogue{t: t, cmd: cmd, out: newOutput()}
	cmd.Stdout, cmd.Stderr = d.out, d.out
	var err error
	if d.in, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	return d
}

// say has a command run, and returns what it printed and its exit status, which is the next one's $?.
func (d *dialogue) say(command string) (string, int) {
	d.t.Helper()
	d.out.seen = len(d.out.String())
	fmt.Fprintf(d.in, "{ %s\n} </dev/null; __s=$?; printf '\\036%%d\\036' $__s; (exit $__s)\n", command)
	m := d.out.expect(d.t, `(?s)^(.*)\x1e(\d+)\x1e`)
	status, _ := strconv.Atoi(m[2])
	return m[1], status
}

func (d *dialogue) close() {
	d.in.Close()
	d.cmd.Wait()
}
