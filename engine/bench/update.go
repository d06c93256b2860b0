package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kxsh/engine"
)

// What an update of 111 functions and as many variables may take, µs: all of it (5 ms in the paper), and of that the pVM's pause. A call that is
// made first, and a later one, beside the same in a Linux process.
const (
	updateTarget  = 1000
	pauseTarget   = 200
	firstTarget   = 20
	laterTarget   = 1.1
	updatePatient = 10 * time.Second
	loopFor       = 20 * time.Millisecond // of calls, with an update in the middle
)

// update measures what the first and later calls of a library's functions take, and the update of a library of a running pVM.
func (b *Bench) update(ctx context.Context) (err error) {
	hv, info, err := b.host()
	if err != nil {
		return err
	}
	defer hv.Close()
	e, err := b.engine("update", 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(e)) }()
	r := &Report{Bench: "update", Time: time.Now(), Machine: machine(&info)}
	clock := startClock()
	if err := b.calls(ctx, e, r, clock); err != nil {
		return err
	}
	if err := b.updates(ctx, e, r, clock); err != nil {
		return err
	}
	return b.print(r)
}

// calls has some pVMs make each call first, and then again, and as many Linux processes with the same library.
func (b *Bench) calls(ctx context.Context, e *engine.Engine, r *Report, clock clock) error {
	pvm := map[string]*Series{"first": {Name: "call of a function, the first"}, "later": {Name: "1000 calls of a function, later"}}
	linux := map[string]*Series{"first": {Name: "Linux: call of a function, the first", peer: 1}, "later": {Name: "Linux: 1000 calls of a function, later", peer: 1}}
	peer, n := true, b.rounds(20)
	next := b.begin(n, "calls")
	for range n {
		next()
		f, err := b.domain(ctx, e, 0, "update")
		if err != nil {
			return err
		}
		err = f.says("first", pvm)
		if err := errors.Join(err, f.end()); err != nil {
			return err
		}
		if f, err = b.process(ctx, "update"); err != nil && peer {
			b.without("a Linux process to compare calls with: %v", err)
			peer = false
		}
		if !peer {
			continue
		}
		err = f.says("first", linux)
		if err := errors.Join(err, f.end()); err != nil {
			return err
		}
	}
	order := []string{"first", "later"}
	for _, name := range order {
		clock.scale(pvm[name], linux[name])
		if peer {
			linux[name].sum(nil, 0)
			r.Series = append(r.Series, linux[name])
		}
	}
	pvm["first"].sum(nil, 0)
	if peer {
		pvm["later"].sum(linux["later"], laterTarget)
	} else {
		pvm["later"].sum(nil, 0)
	}
	r.Series = append(r.Series, pvm["first"], pvm["later"])
	r.plots = append(r.plots, dots{"Calls, logarithmic", slices.Clone(r.Series)})
	r.Values = append(r.Values, Value{pvm["first"].Name, micros(pvm["first"].Median), "µs", firstTarget})
	return nil
}

// updates replaces a library of a pVM by another build of it, and back, again and again.
func (b *Bench) updates(ctx context.Context, e *engine.Engine, r *Report, clock clock) (err error) {
	file, err := b.program("libbench2.so")
	if err != nil {
		return err
	}
	f, err := b.domain(ctx, e, 0, "update")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.end()) }()
	list, err := e.Snapshot(ctx, false)
	if err != nil || len(list.Processes) != 1 {
		return fmt.Errorf("%d pVMs: %w", len(list.Processes), err)
	}
	pid := list.Processes[0].PID
	if err := f.says("first", nil); err != nil { // all of them are bound
		return err
	}
	ticks := uint64(float64(loopFor) * float64(rdtsc()-clock.ticks) / float64(time.Since(clock.at)))
	total, pause := &Series{Name: "update, all of it"}, &Series{Name: "update, the pVM's pause"}
	deferred := &Series{Name: "until another one can begin, after it"}
	stages, order := map[string]*Series{}, []string(nil)
	with, without := &Series{Name: "loop of calls: longest gap, with an update"}, &Series{Name: "loop of calls: longest gap, without"}
	var last *engine.UpdateResult
	n := 2 * b.rounds(50)
	next := b.begin(n, "updates")
	for i := range n {
		next()
		if err := f.says(fmt.Sprintf("loop %d", ticks), map[string]*Series{"gap": without}); err != nil {
			return err
		}
		done := make(chan error, 1)
		go func() { done <- f.says(fmt.Sprintf("loop %d", ticks), map[string]*Series{"gap": with}) }()
		time.Sleep(loopFor / 4)
		request := engine.UpdateRequest{Old: "libbench.so", New: file, Timeout: updatePatient}
		if i%2 == 1 {
			request.New, request.Rollback = "", true
		}
		begin := time.Now()
		last, err = e.Update(ctx, pid, request, nil)
		took := time.Since(begin)
		if err == nil { // what it has already is no update, but waits for the end of one
			_, err = e.Update(ctx, pid, engine.UpdateRequest{Old: "libbench.so", New: last.New.Path}, nil)
		}
		rest := time.Since(begin) - took
		if err := errors.Join(err, <-done); err != nil {
			return err
		}
		if i < 2 { // the files are read, compared and kept
			continue
		}
		total.add(took)
		pause.add(last.Pause)
		deferred.add(rest)
		for _, s := range last.Steps {
			if stages[s.Name] == nil {
				stages[s.Name] = &Series{Name: "update: " + s.Name}
				order = append(order, s.Name)
			}
			stages[s.Name].add(s.Took)
		}
	}
	clock.scale(with, without)
	total.sum(nil, 0)
	pause.sum(nil, 0)
	deferred.sum(nil, 0)
	called := len(r.Series)
	r.Series = append(r.Series, total, pause, deferred)
	for _, name := range order {
		stages[name].sum(nil, 0)
		r.Series = append(r.Series, stages[name])
	}
	without.sum(nil, 0)
	with.sum(nil, 0)
	r.plots = append(r.plots, dots{"Updates, and their stages, logarithmic", slices.Clone(r.Series[called:])}, dots{"A loop of calls, logarithmic", []*Series{without, with}})
	r.Series = append(r.Series, without, with)
	r.Values = append(r.Values, Value{total.Name, micros(total.Median), "µs", updateTarget}, Value{pause.Name, micros(pause.Median), "µs", pauseTarget},
		Value{"memory that was looked through", float64(last.Scanned) / 1024, "KiB", 0}, Value{"variables that were copied", float64(last.Variables), "", 0},
		Value{"pointers to functions that were changed", float64(last.Functions), "", 0})
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// says gives the program an order, and adds what it says of it, up to the p at the end, to the series that it names, if there is one.
func (f *forker) says(order string, series map[string]*Series) error {
	if _, err := fmt.Fprintln(f.in, order); err != nil {
		return err
	}
	for {
		name, ticks, err := readTicks(f.out)
		if err != nil || name == "p" {
			return err
		}
		for _, t := range ticks {
			if s := series[name]; s != nil {
				s.add(t)
			}
		}
	}
}
