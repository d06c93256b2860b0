package engine

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestConsole(t *testing.T) {
	both(t, func(t *testing.T, api API) {
		ctx := context.Background()
		pid := launch(t, api, "cat", func(r *RunRequest) { r.Stdin = true })
		con, err := api.Attach(ctx, pid, AttachOptions{Stdin: true, FromStart: true})
		if err != nil {
			t.Fatal(err)
		}
		defer con.Close()
		sent := strings.Repeat("0123456789abcdef", 4096) // far more than the input ring holds
		go func() {
			con.Send([]byte(sent))
			con.CloseSend()
		}()
		if got := output(t, con.Recv); got[Stdout] != sent {
			t.Errorf("cat of %d bytes gave %d", len(sent), len(got[Stdout]))
		}
		if x := wait(t, api, pid); x.Code != 0 {
			t.Errorf("exit %+v", x)
		}
		if _, err := api.Attach(ctx, pid, AttachOptions{}); err == nil {
			t.Error("attached to an ended pVM")
		}
	})
}

// A reader that was promised loses nothing, however late and slow it is.
func TestForegroundLosesNothing(t *testing.T) {
	both(t, func(t *testing.T, api API) {
		pid := launch(t, api, "flood", func(r *RunRequest) { r.Hold = true })
		time.Sleep(50 * time.Millisecond)
		con, err := api.Attach(context.Background(), pid, AttachOptions{FromStart: true})
		if err != nil {
			t.Fatal(err)
		}
		defer con.Close()
		if n := len(output(t, con.Recv)[Stdout]); n != 8<<20 {
			t.Errorf("%d of %d bytes", n, 8<<20)
		}
	})
}

// A pVM can be killed while output waits for a reader that has stopped reading.
func TestKillDespiteAStuckReader(t *testing.T) {
	e, _ := testEngine(t)
	pid := launch(t, e, "flood", func(r *RunRequest) { r.Hold = true })
	con, err := e.Attach(context.Background(), pid, AttachOptions{FromStart: true})
	if err != nil {
		t.Fatal(err)
	}
	defer con.Close()
	time.Sleep(50 * time.Millisecond)
	if err := e.Signal(context.Background(), pid, int(syscall.SIGKILL)); err != nil {
		t.Fatal(err)
	}
	if x := wait(t, e, pid); x.Code != 137 {
		t.Errorf("exit %+v", x)
	}
}
