package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"kxsh/engine"
	"kxsh/xen"
)

// How many are started on either hypervisor, and by xl, which takes a tenth of a second and a domain's whole memory for each.
const (
	manyHosted = 1000
	manyXen    = 200
	manyXL     = 10
)

// What must be left of the host's memory, of Xen's, and on Xen of dom0's, which pVMs hardly take any of, bytes.
const (
	spare     = 512 << 20
	spareDom0 = 128 << 20
)

// many measures the start of one after another that all stay, to the first instruction of main, without a pool, beside posix_spawn of the same source and on Xen xl create: the
// paper's figure 5. The nth is a sample of the series that has n in its name.
func (b *Bench) many(ctx context.Context) (err error) {
	hv, info, err := b.host()
	if err != nil {
		return err
	}
	defer hv.Close()
	image, err := b.program("stay.kx")
	if err != nil {
		return err
	}
	x, err := b.newXL(ctx, hv, image, engine.DefaultMemory)
	if err != nil {
		return err
	}
	spawner, err := b.spawner(ctx, "spawn-many", "stay")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spawner.close()) }()
	e, err := b.engine("many", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(e)) }()

	spawned, pvms, created := &Series{Name: "posix_spawn", peer: 1}, &Series{Name: "pVM"}, &Series{Name: "xl create", peer: 3}
	clock := startClock()
	if x != nil {
		if err := b.domains(ctx, hv, &info, x, created); err != nil {
			return err
		}
	}
	n := manyHosted
	if info.Name == "xen" {
		n = manyXen
	}
	warm, err := e.Run(ctx, engine.RunRequest{Image: image}) // the image is read and prepared once
	if err != nil {
		return err
	}
	if err := untilIdle(ctx, e, warm.PID); err != nil {
		return err
	}
	next := b.begin(n, "one pVM after another")
	for i := range n {
		next()
		if short, err := memoryShort(hv); err != nil {
			return err
		} else if short {
			b.without("pVMs beyond %d: %s", i, shortOf(&info))
			break
		}
		if err := spawned.once(spawner.once); err != nil {
			return err
		}
		if err := pvms.once(func() (time.Duration, error) { return stayOnce(ctx, e, image) }); err != nil {
			return fmt.Errorf("pVM %d of %d: %w", i+1, n, err)
		}
	}
	if len(pvms.All) == 0 {
		return errors.New(shortOf(&info))
	}
	clock.scale(spawned, pvms, created)
	r := &Report{Bench: "boot-many", Time: time.Now(), Machine: machine(&info)}
	r.plots = []plot{inAll(spawned, pvms, created), dots{"Time for one, logarithmic", []*Series{spawned, pvms, created}}}
	for _, s := range []*Series{spawned, pvms, created} {
		s.sum(nil, 0)
	}
	for _, part := range decades(len(pvms.All)) {
		peer := part.of("posix_spawn", spawned)
		peer.sum(nil, 0)
		ours := part.of("pVM", pvms)
		ours.sum(peer, 0)
		r.Series = append(r.Series, peer, ours)
		r.Values = append(r.Values, part.total("posix_spawn", spawned), part.total("pVM", pvms))
		if part.to <= len(created.All) {
			xl := part.of("xl create", created)
			xl.sum(peer, 0)
			r.Series = append(r.Series, xl)
			r.Values = append(r.Values, part.total("xl create", created))
		}
	}
	return b.print(r)
}

// domains has xl create some, one after another, and destroys them: pVMs will want their memory.
func (b *Bench) domains(ctx context.Context, hv xen.Hypervisor, info *xen.Info, x *xl, created *Series) (err error) {
	defer func() {
		for i := range created.All {
			err = errors.Join(err, x.destroy(manyName(i)))
		}
	}()
	next := b.begin(manyXL, "one domain by xl after another")
	for i := range manyXL {
		next()
		short, err := memoryShort(hv)
		if err != nil {
			return err
		}
		if short {
			b.without("domains by xl beyond %d: %s", i, shortOf(info))
			return nil
		}
		if err := created.once(func() (time.Duration, error) { return x.create(ctx, manyName(i)) }); err != nil {
			return err
		}
	}
	return nil
}

// inAll are curves of what it took to start so many, as the paper's figure 5; with logarithmic axes where one takes more than ten times as long as another.
func inAll(list ...*Series) curves {
	p := curves{title: "Time to start so many in all", xName: "started, one after another", show: timeTick, end: timeText}
	least, most := time.Duration(math.MaxInt64), time.Duration(0)
	for _, s := range list {
		c, sum := curve{name: s.Name, peer: s.peer}, time.Duration(0)
		every := max(len(s.All)/100, 1) // is as smooth as all of them
		for i, took := range s.All {
			if sum += took; (i+1)%every == 0 {
				c.x, c.y = append(c.x, float64(i+1)), append(c.y, float64(sum))
			}
		}
		p.list = append(p.list, c)
		if n := len(s.All); n > 0 {
			least, most = min(least, sum/time.Duration(n)), max(most, sum/time.Duration(n))
		}
	}
	if most/10 > least {
		p.title, p.log = p.title+"; both axes logarithmic", true
	}
	return p
}

func manyName(i int) string { return fmt.Sprintf("%s-%d", xlName, i) }

// memoryShort tells that another one should not be started.
func memoryShort(hv xen.Hypervisor) (bool, error) {
	info, err := hv.Info()
	if err != nil {
		return false, err
	}
	free, err := memAvailable()
	if err == nil && info.Name == "xen" {
		return info.FreeMemory < spare || free < spareDom0, nil
	}
	return free < spare, err
}

// shortOf says why another one is not started.
func shortOf(info *xen.Info) string {
	if info.Name == "xen" {
		return fmt.Sprintf("Xen has less than %d MiB left, or dom0 less than %d", spare>>20, spareDom0>>20)
	}
	return fmt.Sprintf("the host has less than %d MiB left", spare>>20)
}

// once adds what it measures.
func (s *Series) once(measure func() (time.Duration, error)) error {
	took, err := measure()
	if err == nil {
		s.add(took)
	}
	return err
}

// stayOnce starts a pVM that tells when it has come to main, and stays; the result is in ticks.
func stayOnce(ctx context.Context, e *engine.Engine, image string) (time.Duration, error) {
	start := rdtsc()
	p, err := e.Run(ctx, engine.RunRequest{Image: image})
	if err != nil {
		return 0, err
	}
	lr, err := e.Logs(ctx, p.PID, engine.LogOptions{Lines: -1, Follow: true})
	if err != nil {
		return 0, err
	}
	defer lr.Close()
	defer context.AfterFunc(ctx, func() { lr.Close() })()
	c, err := lr.Recv()
	if err != nil {
		return 0, fmt.Errorf("stay: printed nothing: %w", err)
	}
	at, err := strconv.ParseUint(strings.TrimSpace(string(c.Data)), 10, 64)
	if err != nil {
		return 0, err
	}
	return time.Duration(at - start), nil
}

// decade is a part of those that were started: the first is 1.
type decade struct{ from, to int }

// decades are 1 to 10, 11 to 100, and so on, up to n.
func decades(n int) (list []decade) {
	for from, to := 1, 10; from <= n; from, to = to+1, 10*to {
		list = append(list, decade{from, min(to, n)})
	}
	return list
}

// of is its part of all.
func (d decade) of(kind string, all *Series) *Series {
	return &Series{Name: fmt.Sprintf("%d to %d: %s", d.from, d.to, kind), All: all.All[d.from-1 : d.to], peer: all.peer}
}

// total is what it took to start all up to its last.
func (d decade) total(kind string, all *Series) Value {
	sum := time.Duration(0)
	for _, took := range all.All[:d.to] {
		sum += took
	}
	return Value{Name: fmt.Sprintf("time to start %d: %s", d.to, kind), Value: float64(sum) / 1e6, Unit: "ms"}
}
