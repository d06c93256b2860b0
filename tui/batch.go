package tui

import (
	"context"
	"fmt"
	"strings"
	"time"

	"kxsh/engine"
)

// batch prints frames one after the other, for logs and scripts. The first frame has rates over
// each pVM's life, the later ones over the interval.
func batch(ctx context.Context, api engine.API, o Options) error {
	var v view
	for n := 0; o.Frames == 0 || n < o.Frames; n++ {
		if n > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(o.Interval):
			}
			fmt.Fprintln(o.Out)
		}
		s, err := api.Snapshot(ctx, false)
		if err != nil {
			return err
		}
		v.update(s)
		lines := append(v.header(), title(0))
		for i := range v.rows {
			lines = append(lines, v.line(i, 0))
		}
		if _, err := fmt.Fprintln(o.Out, strings.Join(lines, "\n")); err != nil {
			return err
		}
	}
	return nil
}
