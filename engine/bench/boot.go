package bench

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/engine"
)

// stampC prints CLOCK_MONOTONIC at the first instruction of main and is padded to 1 MiB; idleC
// waits for ever; spawnC posix_spawns a program for every line it reads and prints the time just
// before.
var (
	//go:embed testdata/stamp.c
	stampC string
	//go:embed testdata/idle.c
	idleC string
	//go:embed testdata/spawn.c
	spawnC string
)

const resident = 1000 // pVMs of the density part

// boot measures from run reaching the engine to the first instruction of main, beside posix_spawn
// of the same source as a static Linux program; then how a thousand resident pVMs behave.
func (b *Bench) boot(ctx context.Context) error {
	image, native, err := b.compile("stamp", stampC)
	if err != nil {
		return err
	}
	spawner, err := b.spawner(native)
	if err != nil {
		return err
	}
	defer spawner.close()
	pooledE, err := b.engine("pooled", 8)
	if err != nil {
		return err
	}
	defer stop(pooledE)
	bareE, err := b.engine("unpooled", 0)
	if err != nil {
		return err
	}
	defer stop(bareE)

	spawn := &Series{Name: "posix_spawn, static"}
	pooled := &Series{Name: "pVM, pooled"}
	bare := &Series{Name: "pVM, unpooled"}
	n := b.rounds(200)
	b.say("boot to main, %d rounds of posix_spawn, pooled, unpooled", n)
	const warm = 5
	for i := range n + warm {
		s, err := spawner.once()
		if err != nil {
			return err
		}
		if err := waitPool(ctx, pooledE); err != nil {
			return err
		}
		p, err := bootOnce(ctx, pooledE, image)
		if err != nil {
			return err
		}
		u, err := bootOnce(ctx, bareE, image)
		if err != nil {
			return err
		}
		if i >= warm {
			spawn.add(s)
			pooled.add(p)
			bare.add(u)
		}
	}
	spawn.sum(nil, 0)
	pooled.sum(spawn, 0.5)
	bare.sum(spawn, 1.2)
	r := &Report{Bench: "boot", Time: time.Now(), Machine: machine(), Series: []*Series{spawn, pooled, bare}}
	if err := b.density(ctx, r); err != nil {
		return err
	}
	return b.print(r)
}

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err)
	}
	return ts.Nano()
}

// bootOnce runs the stamp image once.
func bootOnce(ctx context.Context, e *engine.Engine, image string) (time.Duration, error) {
	start := monotonic()
	p, err := e.Run(ctx, engine.RunRequest{Image: image})
	if err != nil {
		return 0, err
	}
	x, err := e.Wait(ctx, p.PID)
	if err != nil {
		return 0, err
	}
	if x.Code != 0 {
		return 0, fmt.Errorf("stamp: exit status %d: %s", x.Code, x.Reason)
	}
	lr, err := e.Logs(ctx, p.PID, engine.LogOptions{Lines: -1})
	if err != nil {
		return 0, err
	}
	defer lr.Close()
	c, err := lr.Recv()
	if err != nil {
		return 0, fmt.Errorf("stamp: printed nothing: %w", err)
	}
	at, err := strconv.ParseInt(strings.TrimSpace(string(c.Data)), 10, 64)
	if err != nil {
		return 0, err
	}
	return time.Duration(at - start), nil
}

// waitPool waits until a blank domain is ready.
func waitPool(ctx context.Context, e *engine.Engine) error {
	for {
		p, err := e.Pool(ctx)
		if err != nil {
			return err
		}
		if p.Ready > 0 {
			return nil
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// spawner is the native peer: a small C program, so that Go's own fork path is not measured.
type spawner struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (b *Bench) spawner(program string) (*spawner, error) {
	src, bin := filepath.Join(b.dir, "spawn.c"), filepath.Join(b.dir, "spawn")
	if err := os.WriteFile(src, []byte(spawnC), 0o600); err != nil {
		return nil, err
	}
	if out, err := exec.Command("gcc", "-O2", "-static", "-o", bin, src).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("gcc: %v: %s", err, out)
	}
	s := &spawner{cmd: exec.Command(bin, program)}
	s.cmd.Stderr = b.Stderr
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	return s, s.cmd.Start()
}

func (s *spawner) once() (time.Duration, error) {
	if _, err := io.WriteString(s.in, "\n"); err != nil {
		return 0, err
	}
	var before, at int64
	if _, err := fmt.Fscanln(s.out, &before, &at); err != nil {
		return 0, fmt.Errorf("posix_spawn: %w", err)
	}
	return time.Duration(at - before), nil
}

func (s *spawner) close() error { return errors.Join(s.in.Close(), s.cmd.Wait()) }

// density keeps a thousand pVMs resident: what the last ones cost, what an idle one weighs, how
// long ps takes.
func (b *Bench) density(ctx context.Context, r *Report) (err error) {
	image, _, err := b.compile("idle", idleC)
	if err != nil {
		return err
	}
	e, err := b.engine("many", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(e)) }()
	ln, err := engine.Listen(filepath.Join(b.dir, "many.sock"))
	if err != nil {
		return err
	}
	srv := engine.NewServer(e, ln)
	go srv.Serve()
	defer srv.Close()

	b.say("%d resident pVMs", resident)
	first, last := &Series{Name: "create, first 100"}, &Series{Name: "create, last 100"}
	warm, err := e.Run(ctx, engine.RunRequest{Image: image}) // the image is read and prepared once
	if err != nil {
		return err
	}
	if err := untilIdle(ctx, e, warm.PID); err != nil {
		return err
	}
	before, err := available()
	if err != nil {
		return err
	}
	for i := range resident {
		start := time.Now()
		p, err := e.Run(ctx, engine.RunRequest{Image: image})
		if err != nil {
			return fmt.Errorf("pVM %d of %d: %w", i+1, resident, err)
		}
		took := time.Since(start)
		if err := untilIdle(ctx, e, p.PID); err != nil {
			return err
		}
		switch {
		case i < 100:
			first.add(took)
		case i >= resident-100:
			last.add(took)
		}
	}
	after, err := available()
	if err != nil {
		return err
	}
	first.sum(nil, 0)
	last.sum(first, 1.3)
	ps := &Series{Name: "ps of 1000, whole command"}
	for range b.rounds(30) {
		cmd := exec.CommandContext(ctx, b.Self, "--socket", filepath.Join(b.dir, "many.sock"), "ps")
		start := time.Now()
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("ps: %w", err)
		}
		ps.add(time.Since(start))
		if n := strings.Count(string(out), "\n"); n < resident {
			return fmt.Errorf("ps: %d lines of %d pVMs", n, resident)
		}
	}
	ps.sum(nil, 0)
	r.Series = append(r.Series, first, last, ps)
	r.Values = append(r.Values,
		Value{"memory of an idle pVM, all in", float64(before-after) / resident / 1024, "KiB", 150},
		Value{"ps of 1000, whole command", float64(ps.Median) / 1e6, "ms", 20})
	return nil
}

// untilIdle waits until a pVM has reached main and sleeps.
func untilIdle(ctx context.Context, e *engine.Engine, pid int) error {
	for range 10000 {
		d, err := e.Inspect(ctx, pid)
		if err != nil {
			return err
		}
		if d.MainAfter != 0 && d.Stat == "S" {
			return nil
		}
		time.Sleep(50 * time.Microsecond)
	}
	return fmt.Errorf("pVM %d does not come to rest", pid)
}

// available is the host's MemAvailable in bytes.
func available() (int64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, errors.New("/proc/meminfo: no MemAvailable")
}
