package tui

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"kxsh/engine"
)

// batch prints frames one after the other, for logs and scripts, busiest pVM first. The first frame has rates
// over each pVM's life, the later ones over the interval.
func batch(ctx context.Context, api engine.API, o Options) error {
	write := (*view).text
	if o.JSON {
		write = (*view).json
	}
	v := newView()
	for n := 0; o.Frames == 0 || n < o.Frames; n++ {
		if n > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(o.Interval):
			}
		}
		s, err := api.Snapshot(ctx, false)
		if err != nil {
			return err
		}
		v.update(s)
		if err := write(&v, &o, n); err != nil {
			return err
		}
	}
	return nil
}

// text writes frame n, from 0, as on a screen without end, an empty line before each but the first.
func (v *view) text(o *Options, n int) error {
	var lines []string
	if n > 0 {
		lines = append(lines, "")
	}
	lines = append(lines, v.header()...)
	columns := v.fitting(0)
	lines = append(lines, title(columns, 0))
	for i := range v.rows {
		lines = append(lines, v.line(columns, i, 0))
	}
	text := strings.Join(lines, "\n")
	if o.ASCII {
		text = ascii(text)
	}
	_, err := fmt.Fprintln(o.Out, text)
	return err
}

// json writes a frame as one line: a JSON object with the fields of engine.Snapshot.
func (v *view) json(o *Options, _ int) error {
	s := *v.snap
	s.Processes = make([]engine.Process, 0, len(v.rows))
	for i := range v.rows {
		s.Processes = append(s.Processes, *v.rows[i].Process)
	}
	return json.NewEncoder(o.Out).Encode(s)
}
