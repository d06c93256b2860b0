package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// exchange is one kind of what goes between two processes of a family: an order of testdata/ipc.c, and the series that it prints.
type exchange struct {
	order  string
	rounds int
	series []way
}

// way is one of its series; target: at most this ratio to Linux's, 0: none.
type way struct {
	name, title string
	target      float64
}

const ipcTarget = 1

var exchanges = []exchange{
	{"pipe-made", 1000, []way{{"pipe-made", "pipe: make, write, read", ipcTarget}}},
	{"pipe", 1000, []way{{"pipe", "pipe, round trip", ipcTarget}}},
	{"pipe-oneway", 300, []way{{"pipe-oneway", "pipe, one way to a sleeper", ipcTarget}}},
	{"pipe-4k", 100, []way{{"pipe-4k", "pipe, a write of 4 KiB", ipcTarget}}},
	{"pipe-64k", 100, []way{{"pipe-64k", "pipe, a write of 64 KiB", ipcTarget}}},
	{"queue", 1000, []way{{"queue", "message queue, round trip", ipcTarget}}},
	{"kill", 1000, []way{{"kill", "kill, round trip", ipcTarget}}},
	{"wait", 100, []way{{"wait", "exit to wait", ipcTarget}}},
	{"shm-futex", 1000, []way{{"shm-futex", "shared memory, futex round trip", ipcTarget}}},
	{"shm-spin", 1000, []way{{"shm-spin", "shared memory, spinning round trip", 0}}},
	{"lineal", 50, []way{{"lineal-first", "lineal pair, first contact", 0}, {"lineal-after", "lineal pair, after", 0}}},
	{"siblings", 50, []way{{"siblings-first", "siblings, first contact", 0}, {"siblings-after", "siblings, after", 0}}},
}

// ipcTurns is in how many turns native processes and pVMs share the rounds of an exchange, at most.
const ipcTurns = 10

// nonLineal is what the first contact of siblings may be, of that of a lineal pair.
const nonLineal = 2

// ipc measures what goes between members of a family, beside the same source as Linux processes.
func (b *Bench) ipc(ctx context.Context) (err error) {
	hv, info, err := b.host()
	if err != nil {
		return err
	}
	defer hv.Close()
	e, err := b.engines(ctx, hv)
	if err != nil {
		return err
	}
	defer e.stop()
	native, err := b.process(ctx, "ipc")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, native.end()) }()
	pvm, err := b.domain(ctx, e.pooled, 0, "ipc")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pvm.end()) }()
	if err := pvm.exchange("pipe", 1, map[string]*Series{"pipe": {}}); err != nil { // from now on there is all that a family needs
		return err
	}
	if err := e.quiet.begin(ctx); err != nil {
		return err
	}
	r := &Report{Bench: "ipc", Time: time.Now(), Machine: machine(&info)}
	clock := startClock()
	first := map[string]*Series{}
	for _, x := range exchanges {
		b.say("%s", x.order)
		linux, ours := map[string]*Series{}, map[string]*Series{}
		for _, w := range x.series {
			linux[w.name], ours[w.name] = &Series{Name: w.title + ": Linux", peer: 1}, &Series{Name: w.title + ": pVM"}
		}
		turns := ipcTurns
		if b.Quick {
			turns = 2
		}
		for range turns {
			n := b.rounds(x.rounds) / turns
			for _, side := range []struct {
				program *forker
				series  map[string]*Series
			}{{native, linux}, {pvm, ours}} {
				if err := e.quiet.wait(ctx); err != nil {
					return err
				}
				if err := side.program.exchange(x.order, max(n, 1), side.series); err != nil {
					return fmt.Errorf("%s: %w", x.order, err)
				}
			}
		}
		for _, w := range x.series {
			r.Series = append(r.Series, linux[w.name], ours[w.name])
			clock.scale(linux[w.name], ours[w.name])
			linux[w.name].sum(nil, 0)
			ours[w.name].sum(linux[w.name], w.target)
			first[w.name] = ours[w.name]
		}
	}
	r.Values = append(r.Values, Value{
		"first contact: siblings to a lineal pair", float64(first["siblings-first"].Median) / float64(first["lineal-first"].Median), "times", nonLineal,
	})
	return b.print(r)
}

// exchange has the program do so many rounds, and adds the ticks that they took to the series that it names.
func (f *forker) exchange(order string, n int, series map[string]*Series) error {
	if _, err := fmt.Fprintln(f.in, order, n); err != nil {
		return err
	}
	for range series {
		name, ticks, err := readTicks(f.out)
		switch {
		case err != nil:
			return err
		case series[name] == nil || len(ticks) != n:
			return fmt.Errorf("the program says %d of %q", len(ticks), name)
		}
		for _, t := range ticks {
			series[name].add(t)
		}
	}
	return f.expect("p")
}

// readTicks reads a name and numbers.
func readTicks(r *bufio.Reader) (name string, ticks []time.Duration, err error) {
	line, err := r.ReadString('\n')
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return "", nil, err
	}
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", nil, fmt.Errorf("the program says %q", line)
	}
	for _, w := range words[1:] {
		t, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			return "", nil, fmt.Errorf("the program says %q", line)
		}
		ticks = append(ticks, time.Duration(t))
	}
	return words[0], ticks, nil
}
