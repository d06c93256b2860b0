package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kxsh/engine"
	"kxsh/xen"
)

// crowd is how many pVMs are resident, and what is asked of them; 0: nothing.
type crowd struct {
	pvms   int
	part   int     // the first and the last so many are compared
	slower float64 // of the last to the first, at most
	weight float64 // of one that is idle, KiB
	ps     float64 // the whole command, ms
}

var (
	crowdHosted = crowd{pvms: 1000, part: 100, slower: 1.3, weight: 150, ps: 20}
	crowdXen    = crowd{pvms: 200, part: 20, slower: 1.2}
)

// of is the crowd that there is where it is smaller than was wanted. What it is asked for is for all of it.
func (c crowd) of(n int) crowd {
	if n < c.pvms {
		c = crowd{pvms: n, part: min(c.part, (n+1)/2), slower: c.slower, weight: c.weight}
	}
	return c
}

// perSession is how many ps a session makes to time one of them.
const perSession = 10

// density keeps many pVMs resident: what the last ones cost, what an idle one weighs, how long ps
// takes, beside xl list where there is one.
func (b *Bench) density(ctx context.Context, r *Report, c crowd, hv xen.Hypervisor, x *xl) (err error) {
	info, err := hv.Info()
	if err != nil {
		return err
	}
	image, err := b.program("idle.kx")
	if err != nil {
		return err
	}
	e, err := b.engine("many", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(e)) }()
	socket := filepath.Join(b.dir, "many.sock")
	ln, err := engine.Listen(socket)
	if err != nil {
		return err
	}
	srv := engine.NewServer(e, ln)
	go srv.Serve()
	defer srv.Close()

	next := b.begin(c.pvms, "resident pVMs")
	warm, err := e.Run(ctx, engine.RunRequest{Image: image}) // the image is read and prepared once
	if err != nil {
		return err
	}
	if err := untilIdle(ctx, e, warm.PID); err != nil {
		return err
	}
	before, err := available(hv)
	if err != nil {
		return err
	}
	var took []time.Duration
	for i := range c.pvms {
		next()
		if short, err := memoryShort(hv); err != nil {
			return err
		} else if short {
			b.without("resident pVMs beyond %d: %s", i, shortOf(&info))
			break
		}
		start := time.Now()
		p, err := e.Run(ctx, engine.RunRequest{Image: image})
		if err != nil {
			return fmt.Errorf("pVM %d of %d: %w", i+1, c.pvms, err)
		}
		took = append(took, time.Since(start))
		if err := untilIdle(ctx, e, p.PID); err != nil {
			return err
		}
	}
	c = c.of(len(took))
	if c.pvms == 0 {
		return errors.New(shortOf(&info))
	}
	first := &Series{Name: fmt.Sprintf("create, first %d", c.part), All: took[:c.part]}
	last := &Series{Name: fmt.Sprintf("create, last %d", c.part), All: took[c.pvms-c.part:]}
	after, err := available(hv)
	if err != nil {
		return err
	}
	first.sum(nil, 0)
	last.sum(first, c.slower)
	r.Series = append(r.Series, first, last)
	weight := float64(before-after) / float64(c.pvms) / 1024
	r.Values = append(r.Values, Value{"memory of an idle pVM, all in", weight, "KiB", c.weight})

	ask := &Series{Name: fmt.Sprintf("ps of %d, the engine's part", c.pvms)}
	typed := &Series{Name: fmt.Sprintf("ps of %d, typed in a session", c.pvms)}
	ps := &Series{Name: fmt.Sprintf("ps of %d, whole command", c.pvms)}
	list := &Series{Name: "xl list, whole command", peer: 3}
	n := b.rounds(30)
	next = b.begin(n, "ps")
	for range n {
		next()
		start := time.Now()
		if _, err := e.Snapshot(ctx, false); err != nil {
			return err
		}
		ask.add(time.Since(start))
		whole, err := lines(ctx, c.pvms, b.Self, "--socket", socket, "ps")
		if err != nil {
			return err
		}
		ps.add(whole)
		// A session's own start and end are in both.
		one, err := lines(ctx, c.pvms, b.Self, "--socket", socket, "-c", "ps")
		if err != nil {
			return err
		}
		more, err := lines(ctx, (1+perSession)*c.pvms, b.Self, "--socket", socket, "-c", "ps"+strings.Repeat("; ps", perSession))
		if err != nil {
			return err
		}
		typed.add((more - one) / perSession)
		if x != nil {
			whole, err := lines(ctx, c.pvms, "xl", "list")
			if err != nil {
				return err
			}
			list.add(whole)
		}
	}
	if x != nil {
		list.sum(nil, 0)
		ask.sum(list, 0)
		typed.sum(list, 1./5)
		ps.sum(list, 1./5)
		r.Series = append(r.Series, list)
	} else {
		ask.sum(nil, 0)
		typed.sum(nil, 0)
		ps.sum(nil, 0)
	}
	r.Series = append(r.Series, ask, typed, ps)
	r.Values = append(r.Values, Value{ps.Name, float64(ps.Median) / 1e6, "ms", c.ps})
	return nil
}

// lines returns how long a whole command took, from exec to exit, that must print at least n lines.
func lines(ctx context.Context, n int, name string, args ...string) (time.Duration, error) {
	cmd := waited(ctx, append([]string{name}, args...)...)
	start := time.Now()
	out, err := cmd.Output()
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", cmd, err)
	}
	if got := strings.Count(string(out), "\n"); got < n {
		return 0, fmt.Errorf("%s: %d lines, want %d", cmd, got, n)
	}
	return took, nil
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

// available is the memory that the host can give to domains, in bytes: Linux's MemAvailable, and what Xen
// has beside.
func available(hv xen.Hypervisor) (int64, error) {
	info, err := hv.Info()
	if err != nil {
		return 0, err
	}
	free, err := memAvailable()
	if info.Name == "xen" {
		free += int64(info.FreeMemory)
	}
	return free, err
}

// memAvailable is Linux's MemAvailable, in bytes.
func memAvailable() (int64, error) {
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
