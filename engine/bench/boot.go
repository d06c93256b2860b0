package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"kxsh/engine"
	"kxsh/xen"
)

// boot measures from run reaching the engine to the first instruction of main, beside posix_spawn
// of the same source as a static Linux program, alone and where there is crun in a container, and on Xen beside xl create of the same image; then
// how many resident pVMs behave.
func (b *Bench) boot(ctx context.Context) error {
	hv, info, err := b.host()
	if err != nil {
		return err
	}
	defer hv.Close()
	image, err := b.program("stamp.kx")
	if err != nil {
		return err
	}
	x, err := b.newXL(ctx, hv, image, engine.DefaultMemory)
	if err != nil {
		return err
	}
	spawn, contained, created := &Series{Name: "posix_spawn, static", peer: 1}, &Series{Name: "crun run", peer: 2}, &Series{Name: "xl create", peer: 3}
	pooled, bare := &Series{Name: "pVM, pooled"}, &Series{Name: "pVM, unpooled"}
	if err := b.starts(ctx, hv, image, x, spawn, contained, created, pooled, bare); err != nil {
		return err
	}
	r := &Report{Bench: "boot", Time: time.Now(), Machine: machine(&info), Series: []*Series{spawn, pooled, bare}}
	spawn.sum(nil, 0)
	c := crowdHosted
	switch {
	case x != nil:
		c = crowdXen
		created.sum(nil, 0)
		pooled.sum(created, 1./60)
		bare.sum(created, 1./15)
		r.Series = []*Series{spawn, created, pooled, bare}
	case info.Name == "xen":
		c = crowdXen
		pooled.sum(spawn, 0)
		bare.sum(spawn, 0)
	default:
		pooled.sum(spawn, 0.5)
		bare.sum(spawn, 1.2)
	}
	if len(contained.All) > 0 {
		contained.sum(nil, 0)
		r.Series = slices.Insert(r.Series, 1, contained)
		r.Values = append(r.Values, Value{Name: "crun run, to a pVM, pooled", Value: float64(contained.Median) / float64(pooled.Median), Unit: "times"})
	}
	starts := r.Series
	if err := b.density(ctx, r, c, hv, x); err != nil {
		return err
	}
	r.plots = []plot{dots{"From run to the first instruction of main, logarithmic", starts}, dots{"Where many are resident, logarithmic", r.Series[len(starts):]}}
	return b.print(r)
}

// starts measures each way to start a program in turn, each on a machine at rest.
func (b *Bench) starts(ctx context.Context, hv xen.Hypervisor, image string, x *xl, spawn, contained, created, pooled, bare *Series) (err error) {
	spawner, err := b.spawner(ctx, "spawn", "stamp")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spawner.close()) }()
	stamp, err := b.program("stamp")
	if err != nil {
		return err
	}
	containers, err := b.crun(ctx, stamp)
	if err != nil {
		return err
	}
	if containers != nil {
		defer func() { err = errors.Join(err, containers.close()) }()
	}
	e, err := b.engines(ctx, hv)
	if err != nil {
		return err
	}
	defer e.stop()
	const warm = 5
	n := b.rounds(200)
	next := b.begin(n+warm, "boot to main")
	clock := startClock()
	for i := range n + warm {
		next()
		for _, m := range []struct {
			s    *Series
			once func() (time.Duration, error)
		}{
			{spawn, spawner.once},
			{contained, containers.once},
			{created, func() (time.Duration, error) { return x.once(ctx) }},
			{pooled, func() (time.Duration, error) { return bootOnce(ctx, e.pooled, engine.RunRequest{Image: image}) }},
			{bare, func() (time.Duration, error) { return bootOnce(ctx, e.bare, engine.RunRequest{Image: image}) }},
		} {
			if m.s == created && (x == nil || i%5 != 0) || m.s == contained && (containers == nil || i%5 != 0) {
				continue // ten and a hundred times as long as the others
			}
			if err := e.quiet.wait(ctx); err != nil {
				return err
			}
			took, err := m.once()
			if err != nil {
				return err
			}
			if i >= warm {
				m.s.add(took)
			}
		}
	}
	clock.scale(spawn, contained, created, pooled, bare)
	return nil
}

// bootOnce runs the stamp program once; the result is in ticks.
func bootOnce(ctx context.Context, e *engine.Engine, r engine.RunRequest) (time.Duration, error) {
	start := rdtsc()
	p, err := e.Run(ctx, r)
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
	at, err := strconv.ParseUint(strings.TrimSpace(string(c.Data)), 10, 64)
	if err != nil {
		return 0, err
	}
	return time.Duration(at - start), nil
}

// settler waits until a blank waits, and on Xen, where dom0 may have one CPU for all that is left to do,
// until what was measured before has left no work: its domain is gone, the pool is full again, and
// Xen has scrubbed what was given back, for which there is no sign but time.
type settler struct {
	hv     xen.Hypervisor
	pooled *engine.Engine
	// placeholders tells that they are waited for, too.
	placeholders bool
	rest         int // domains that Xen has when nothing goes on that is not meant to
}

func (s *settler) wait(ctx context.Context) error {
	for range 10000 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p, err := s.pooled.Pool(ctx)
		if err != nil {
			return err
		}
		list, err := s.hv.List() // empty on the hosted hypervisor
		if err != nil {
			return err
		}
		switch {
		case s.placeholders && p.Placeholders.Ready < p.Placeholders.Want:
		case len(list) == 0 && p.Ready > 0:
			return nil
		case slices.ContainsFunc(list, func(l xen.Listed) bool { return l.Status.State == xen.StateDying }):
		case len(list) > 0 && p.Ready == p.Want && len(list) <= s.rest:
			time.Sleep(100 * time.Millisecond) // Xen erases what was given back
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return errors.New("the machine does not come to rest: other pVMs start and end on it")
}

// begin waits for the pool and counts the domains at rest.
func (s *settler) begin(ctx context.Context) error {
	s.rest = math.MaxInt
	if err := s.wait(ctx); err != nil {
		return err
	}
	time.Sleep(time.Second)
	list, err := s.hv.List()
	s.rest = len(list)
	if s.placeholders { // used domains rest, as many as should wait
		s.rest *= 2
	}
	return err
}

// spawner is the native peer: a small C program, so that Go's own fork path is not measured.
type spawner struct {
	what string // it does, for errors
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

// spawner starts a build of spawn.c that starts a build of stamp.c.
func (b *Bench) spawner(ctx context.Context, name, spawned string) (*spawner, error) {
	bin, err := b.program(name)
	if err != nil {
		return nil, err
	}
	child, err := b.program(spawned)
	if err != nil {
		return nil, err
	}
	return b.spawning(ctx, "posix_spawn", []string{bin, child})
}

// spawning starts a command that becomes a build of spawn.c.
func (b *Bench) spawning(ctx context.Context, what string, argv []string) (s *spawner, err error) {
	s = &spawner{what: what}
	var out io.Reader
	if s.cmd, s.in, out, err = command(ctx, argv...); err != nil {
		return nil, err
	}
	s.cmd.Stderr, s.out = b.Stderr, bufio.NewReader(out)
	return s, s.cmd.Start()
}

// once is in ticks.
func (s *spawner) once() (time.Duration, error) {
	if _, err := io.WriteString(s.in, "\n"); err != nil {
		return 0, err
	}
	var before, at uint64
	if _, err := fmt.Fscanln(s.out, &before, &at); err != nil {
		return 0, fmt.Errorf("%s: %w", s.what, err)
	}
	return time.Duration(at - before), nil
}

func (s *spawner) close() error { return errors.Join(s.in.Close(), s.cmd.Wait()) }
