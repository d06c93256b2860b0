package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"kxsh/engine"
)

// forker is a program that does what it is told to, line by line, as a Linux process or as a pVM: testdata/forks.c, ipc.c.
type forker struct {
	in  io.Writer
	out *bufio.Reader
	end func() error
}

// split is what one fork took, in ticks: from before it to the child's first instruction, and to the parent's next one;
// and, where all memory was touched, for that.
type split struct {
	child, parent           time.Duration
	childTouch, parentTouch time.Duration
}

// native starts forks as a Linux process.
func (b *Bench) native(ctx context.Context, mib int) (*forker, error) {
	return b.process(ctx, "forks", fmt.Sprint(mib))
}

// pvm starts it as a pVM.
func (b *Bench) pvm(ctx context.Context, e *engine.Engine, mib int) (*forker, error) {
	return b.domain(ctx, e, uint64(mib+mib/16+16)<<20, "forks", fmt.Sprint(mib))
}

// process starts a program as a Linux process.
func (b *Bench) process(ctx context.Context, name string, args ...string) (*forker, error) {
	bin, err := b.program(name)
	if err != nil {
		return nil, err
	}
	cmd, in, out, err := command(ctx, append([]string{bin}, args...)...)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = b.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f := &forker{in, bufio.NewReader(out), func() error { return errors.Join(in.Close(), cmd.Wait()) }}
	return f, f.expect("p")
}

// domain starts it as a pVM with so many bytes of memory.
func (b *Bench) domain(ctx context.Context, e *engine.Engine, memory uint64, name string, args ...string) (*forker, error) {
	image, err := b.program(name + ".kx")
	if err != nil {
		return nil, err
	}
	p, err := e.Run(ctx, engine.RunRequest{
		Image: image, Args: append([]string{name}, args...), Memory: memory, Stdin: true, Hold: true,
	})
	if err != nil {
		return nil, err
	}
	c, err := e.Attach(ctx, p.PID, engine.AttachOptions{Stdin: true, FromStart: true})
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	f := &forker{consoleWriter{c}, bufio.NewReader(&consoleReader{c: c}), func() error {
		defer stop()
		err := c.CloseSend()
		x, e := e.Wait(ctx, p.PID)
		if e == nil && x.Code != 0 {
			e = fmt.Errorf("%s: exit status %d: %s", name, x.Code, x.Reason)
		}
		return errors.Join(err, e, c.Close())
	}}
	return f, f.expect("p")
}

type consoleWriter struct{ c engine.Console }

func (w consoleWriter) Write(p []byte) (int, error) {
	if err := w.c.Send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

type consoleReader struct {
	c    engine.Console
	left bytes.Buffer
}

func (r *consoleReader) Read(p []byte) (int, error) {
	for r.left.Len() == 0 {
		c, err := r.c.Recv()
		if err != nil {
			return 0, err
		}
		r.left.Write(c.Data)
	}
	return r.left.Read(p)
}

// tell sends a command and waits for the parent's answer.
func (f *forker) tell(command string) error {
	if _, err := io.WriteString(f.in, command+"\n"); err != nil {
		return err
	}
	return f.expect("p")
}

func (f *forker) expect(want string) error {
	line, err := f.out.ReadString('\n')
	if err == nil && strings.TrimSpace(line) != want {
		err = fmt.Errorf("the program says %q", line)
	}
	return err
}

// fork forks once; with touch, both sides then write to every page.
func (f *forker) fork(touch bool) (s split, err error) {
	command := "f\n"
	if touch {
		command = "t\n"
	}
	if _, err := io.WriteString(f.in, command); err != nil {
		return s, err
	}
	var at, before, after, childTouch, parentTouch uint64
	for range 2 {
		line, err := f.out.ReadString('\n')
		if err != nil {
			return s, fmt.Errorf("forks: %w", err)
		}
		n := 0
		if strings.HasPrefix(line, "c") {
			n, err = fmt.Sscanf(line, "c %d %d", &at, &childTouch)
			n++
		} else {
			n, err = fmt.Sscanf(line, "p %d %d %d", &before, &after, &parentTouch)
		}
		if err != nil || n != 3 {
			return s, fmt.Errorf("forks says %q", line)
		}
	}
	return split{time.Duration(at - before), time.Duration(after - before), time.Duration(childTouch), time.Duration(parentTouch)}, nil
}
