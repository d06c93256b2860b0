package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"kxsh/engine"
)

// recycledTarget is what the start of a recycled pVM may take of that of an image.
const recycledTarget = 0.5

// recycle measures from run reaching the engine to the first instruction of main, of an application that a placeholder waits for, beside the same
// source as an image, with a blank domain waiting, both small and of 1 MiB; of an application that nobody has run under that name, so that none is prepared
// for it; the steps of the former; and what is done with their domains later.
func (b *Bench) recycle(ctx context.Context) (err error) {
	hv, info, err := b.host()
	if err != nil {
		return err
	}
	defer hv.Close()
	var ways []engine.RunRequest
	var starts []*Series
	for _, p := range []struct{ name, size string }{{"small", ""}, {"stamp", ", 1 MiB"}} {
		for _, suffix := range []string{".kx", ".so"} {
			path, err := b.program(p.name + suffix)
			if err != nil {
				return err
			}
			r, s := engine.RunRequest{Image: path, Recycle: suffix == ".so"}, &Series{Name: "pVM, pooled" + p.size}
			if r.Recycle {
				s.Name = "pVM, recycled" + p.size
			}
			ways, starts = append(ways, r), append(starts, s)
		}
	}
	e, err := b.engine("recycle", 4)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(e)) }()
	quiet := &settler{hv: hv, pooled: e, placeholders: true}
	if _, err := bootOnce(ctx, e, ways[1]); err != nil { // from now on there are placeholders
		return err
	}
	if err := quiet.begin(ctx); err != nil {
		return err
	}
	const warm = 5
	n := b.rounds(200)
	next := b.begin(n+warm, "starts")
	clock := startClock()
	for i := range n + warm {
		next()
		for k, way := range ways {
			if err := quiet.wait(ctx); err != nil {
				return err
			}
			took, err := bootOnce(ctx, e, way)
			if err != nil {
				return err
			}
			if i >= warm {
				starts[k].add(took)
			}
		}
	}
	steps, err := stepsOf(ctx, e)
	if err != nil {
		return err
	}
	first := &Series{Name: "pVM, recycled, of another name each time"}
	for i := range n / 4 {
		name := filepath.Join(b.root, fmt.Sprintf("small%d.so", i))
		if err := os.Symlink(ways[1].Image, name); err != nil {
			return err
		}
		if err := quiet.wait(ctx); err != nil {
			return err
		}
		took, err := bootOnce(ctx, e, engine.RunRequest{Image: name, Recycle: true})
		if err != nil {
			return err
		}
		first.add(took)
	}
	clock.scale(append(starts, first)...)
	for i := 0; i < len(starts); i += 2 {
		starts[i].sum(nil, 0)
		starts[i+1].sum(starts[i], recycledTarget)
	}
	first.sum(starts[0], 0)
	starts = append(starts, first)
	r := &Report{Bench: "recycle", Time: time.Now(), Machine: machine(&info), Series: starts}
	r.Series = append(r.Series, steps...)
	r.plots = []plot{dots{"From run to the first instruction of main, logarithmic", starts}, dots{"Steps of the starts of applications, and what is done later, logarithmic", steps}}
	return b.print(r)
}

// stepsOf are the steps of starts, and of what is done with their domains in the end, by the engine's events.
func stepsOf(ctx context.Context, e *engine.Engine) (list []*Series, err error) {
	events, err := e.Events(ctx, 0, false)
	if err != nil {
		return nil, err
	}
	defer events.Close()
	byName := map[string]*Series{}
	add := func(name string, took time.Duration) {
		s := byName[name]
		if s == nil {
			s = &Series{Name: name}
			byName[name] = s
			list = append(list, s)
		}
		s.add(took)
	}
	for {
		ev, err := events.Recv()
		if err != nil {
			break // the last one was read
		}
		all := time.Duration(0)
		for _, s := range ev.Steps {
			all += s.Took
		}
		switch ev.Type {
		case "started":
			for _, s := range ev.Steps {
				if ev.Steps[1].Name == "application" {
					add("recycled: "+s.Name, s.Took)
				}
			}
		case "recycled":
			add("later: made blank and booted again", all)
		}
	}
	for _, s := range list {
		s.sum(nil, 0)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("the engine tells of no steps")
	}
	return list, nil
}
