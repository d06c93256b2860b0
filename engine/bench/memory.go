package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"kxsh/engine"
	"kxsh/xen"
)

// resident is how many pVMs have the library, and how much each may weigh beside what it would without, KiB.
const (
	resident     = 100
	memoryTarget = 64
)

// librarySizes are those of both builds.
var librarySizes = [2]string{"20 KiB", "2 MiB"}

// memory measures what a library of 2 MiB costs each of many pVMs.
func (b *Bench) memory(ctx context.Context) error {
	hv, info, err := b.host()
	if err != nil {
		return err
	}
	defer hv.Close()
	r := &Report{Bench: "memory", Time: time.Now(), Machine: machine(&info)}
	small, err := b.program("libbench.so")
	if err != nil {
		return err
	}
	large, err := b.program("large/libbench.so")
	if err != nil {
		return err
	}
	n := resident
	if b.Quick {
		n /= 2
	}
	var weights [2]float64
	for i, library := range []string{small, large} {
		next := b.begin(n+1, "resident pVMs with a library of %s", librarySizes[i])
		if weights[i], err = b.weigh(ctx, hv, n, filepath.Dir(library), next); err != nil {
			return err
		}
	}
	r.Values = []Value{
		{fmt.Sprintf("memory of one of %d pVMs with a library of %s", n, librarySizes[0]), weights[0], "KiB", 0},
		{fmt.Sprintf("memory of one of %d pVMs with a library of %s", n, librarySizes[1]), weights[1], "KiB", 0},
		{"what 2 MiB of a library add to each pVM but the first", weights[1] - weights[0], "KiB", memoryTarget},
	}
	weighed := bars{title: "Memory of one of many pVMs, beside the first", show: func(v float64) string { return fmt.Sprintf("%g KiB", v) }}
	for _, v := range r.Values {
		weighed.rows = append(weighed.rows, bar{name: v.Name, figure: fmt.Sprintf("%.1f KiB", v.Value), value: v.Value, target: v.Target})
	}
	r.plots = []plot{weighed}
	return b.print(r)
}

// weigh is what each of n pVMs takes of the host's memory, beside the first, KiB. next is called before each.
func (b *Bench) weigh(ctx context.Context, hv xen.Hypervisor, n int, libraries string, next func()) (kib float64, err error) {
	image, err := b.program("update.kx")
	if err != nil {
		return 0, err
	}
	e, err := b.engine("weigh", 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stop(e)) }()
	var before int64
	for i := range n + 1 {
		next()
		p, err := e.Run(ctx, engine.RunRequest{Image: image, LibPath: []string{libraries}, Stdin: true})
		if err != nil {
			return 0, fmt.Errorf("pVM %d of %d: %w", i+1, n, err)
		}
		if err := untilIdle(ctx, e, p.PID); err != nil {
			return 0, err
		}
		if i == 0 {
			if before, err = available(hv); err != nil {
				return 0, err
			}
		}
	}
	after, err := available(hv)
	return float64(before-after) / float64(n) / 1024, err
}
