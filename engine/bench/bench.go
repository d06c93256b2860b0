// Package bench measures what kxsh claims, against what the machine itself offers, interleaved in
// one run so that the ratios hold on a noisy machine. It reports medians with the 10th, 90th and 99th
// percentile and decides nothing.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"kxsh/engine"
	"kxsh/xen"
)

// Bench is what the benchmarks need of the program around them.
type Bench struct {
	Stdout, Stderr io.Writer
	JSON           bool
	Quick          bool // a tenth of the rounds, and few servers, for a first look
	// Open opens a hypervisor for an engine of the benchmark's own.
	Open func(key string, first xen.DomID) (xen.Hypervisor, error)
	CC   CC
	// Libraries are those that are part of kxsh.
	Libraries fs.FS
	// Programs is a folder that Prepare has filled; empty: they are built as needed.
	Programs string
	// Self is the kxsh binary, for what is measured from outside.
	Self    string
	Version string
	// CSV and HTML are files for every sample, and for a report with plots; empty: none.
	CSV, HTML string

	root    string   // of the run, removed at its end
	dir     string   // in it, of one benchmark
	command string   // that measures the same again
	report  *Report  // of that benchmark, when it is there
	notes   []string // what that had to leave out
	paper   paper    // what the paper has of it
	printed bool     // something before it
	dog     *watchdog
}

func (b *Bench) rounds(n int) int {
	if b.Quick {
		return max(n/10, 10)
	}
	return n
}

// Series is one measured quantity: a time, or a rate, of which a sample is the time for one.
type Series struct {
	Name   string          `json:"name"`
	N      int             `json:"n"`
	Median time.Duration   `json:"median_ns"`
	P10    time.Duration   `json:"p10_ns"`
	P90    time.Duration   `json:"p90_ns"`
	P99    time.Duration   `json:"p99_ns"`
	Ratio  float64         `json:"ratio,omitempty"`    // to the peer's median; of a rate to the peer's rate
	Target float64         `json:"target,omitempty"`   // at most this ratio, of a rate at least
	Paper  time.Duration   `json:"paper_ns,omitempty"` // what the paper has of the nearest, on another machine
	All    []time.Duration `json:"-"`

	peer int // who is measured: 0 a pVM, else one of those that it is measured beside, of which 1 is the first

	Rate      bool    `json:"rate,omitempty"`
	PerSecond float64 `json:"per_second,omitempty"` // of a rate, the median
}

// newRate is a series to which addRate adds.
func newRate(name string, peer int) *Series { return &Series{Name: name, Rate: true, peer: peer} }

func (s *Series) addRate(perSecond float64) { s.add(time.Duration(1e9 / perSecond)) }

func (s *Series) add(d time.Duration) { s.All = append(s.All, d) }

func (s *Series) sum(peer *Series, target float64) {
	s.N = len(s.All)
	s.Median, s.P10, s.P90, s.P99 = quantile(s.All, 0.5), quantile(s.All, 0.1), quantile(s.All, 0.9), quantile(s.All, 0.99)
	a, b := s.Median, time.Duration(0)
	if peer != nil {
		b = peer.Median
	}
	if s.Rate && s.Median > 0 {
		s.PerSecond = 1e9 / float64(s.Median)
		a, b = b, a
	}
	if a > 0 && b > 0 {
		s.Ratio, s.Target = float64(a)/float64(b), target
	}
}

// figures are a series for people: median, 10th, 90th and 99th percentile; the latter not of a rate, of which there are few samples.
func (s *Series) figures() []string {
	if s.Rate {
		return []string{perSecond(s.Median), perSecond(s.P90), perSecond(s.P10), ""}
	}
	list := make([]string, 4)
	for i, d := range []time.Duration{s.Median, s.P10, s.P90, s.P99} {
		list[i] = round(d).String()
	}
	return list
}

// perSecond is how often something can be done in a second that takes so long.
func perSecond(each time.Duration) string {
	if each <= 0 {
		return "0/s"
	}
	return rateText(1e9 / float64(each))
}

// rateText is a rate for people.
func rateText(rate float64) string {
	if rate < 1000 {
		return fmt.Sprintf("%.3g/s", rate)
	}
	return fmt.Sprintf("%.1fk/s", rate/1000)
}

// sign is how a ratio is to be to its target.
func (s *Series) sign() string {
	if s.Rate {
		return "≥ "
	}
	return "≤ "
}

func quantile(ds []time.Duration, q float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	s := slices.Clone(ds)
	slices.Sort(s)
	return s[int(q*float64(len(s)-1)+0.5)]
}

// Value is one measured number that is not a series of times.
type Value struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Target float64 `json:"target,omitempty"` // at most this
}

// number is a value for people: four digits of it at least, and all before the point.
func number(v float64) string {
	if math.Abs(v) >= 1e4 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return fmt.Sprintf("%.4g", v)
}

// Report is what a benchmark prints.
type Report struct {
	Bench   string    `json:"bench"`
	Time    time.Time `json:"time"`
	Machine string    `json:"machine"`
	Version string    `json:"version"` // of kxsh
	Command string    `json:"command"` // that measures the same again
	Series  []*Series `json:"series"`
	Values  []Value   `json:"values"`
	Notes   []string  `json:"notes,omitempty"` // what was left out

	plots []plot // beside one of the series, or instead of it
}

// print prints a report and keeps it for the files.
func (b *Bench) print(r *Report) error {
	r.Version, r.Command, r.Notes = b.Version, b.command, b.notes
	if r.Series == nil {
		r.Series = []*Series{}
	}
	for _, s := range r.Series {
		s.Paper = b.paper.figures[s.Name]
	}
	again := b.printed
	b.report, b.printed = r, true
	if b.JSON {
		enc := json.NewEncoder(b.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	if again {
		fmt.Fprintln(b.Stdout)
	}
	fmt.Fprintf(b.Stdout, "%s, %s\n\n", r.Bench, r.Machine)
	w := tabwriter.NewWriter(b.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	if len(r.Series) > 0 {
		fmt.Fprintln(w, "\tmedian\tp10\tp90\tp99\tn\tratio\ttarget\t")
	}
	for _, s := range r.Series {
		ratio, target := share(s.Ratio), share(s.Target)
		if target != "" {
			target = s.sign() + target
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t\n", s.Name, strings.Join(s.figures(), "\t"), s.N, ratio, target)
	}
	w.Flush()
	if len(r.Series) > 0 && len(r.Values) > 0 {
		fmt.Fprintln(b.Stdout)
	}
	for _, v := range r.Values {
		target := ""
		if v.Target > 0 {
			target = fmt.Sprintf("≤ %g", v.Target)
		}
		fmt.Fprintf(w, "%s\t%s %s\t%s\t\n", v.Name, number(v.Value), v.Unit, target)
	}
	return w.Flush()
}

// share is a ratio for people; "" if there is none.
func share(r float64) string {
	switch {
	case r <= 0:
		return ""
	case r < 0.3:
		return fmt.Sprintf("1/%.3g", 1/r)
	case r >= 100:
		return fmt.Sprintf("%.0f", r)
	}
	return fmt.Sprintf("%.2f", r)
}

func round(d time.Duration) time.Duration {
	switch {
	case d > 100*time.Millisecond:
		return d.Round(time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}

// engine starts an engine of the benchmark's own, in this process.
func (b *Bench) engine(name string, pool int) (*engine.Engine, error) {
	state := filepath.Join(b.dir, name)
	e, err := engine.New(engine.Options{
		Open:    func(first xen.DomID) (xen.Hypervisor, error) { return b.Open(state, first) },
		State:   state,
		Socket:  filepath.Join(b.dir, name+".sock"),
		Version: "bench",
		Self:    []string{b.Self},

		Libraries: b.Libraries,
	})
	if err != nil {
		return nil, err
	}
	if err := e.PoolResize(context.Background(), engine.PoolBlank, pool); err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	return e, nil
}

// stop ends an engine and every pVM in it, also when the benchmark has ended.
func stop(e *engine.Engine) error {
	ctx, cancel := context.WithTimeout(context.Background(), loadTime)
	defer cancel()
	return errors.Join(e.Shutdown(ctx, true), e.Stop())
}

// engines are one with a pool of blanks and one without, and what waits until both rest.
type engines struct {
	pooled, bare *engine.Engine
	quiet        *settler
}

// engines starts both. The caller must call stop.
func (b *Bench) engines(ctx context.Context, hv xen.Hypervisor) (e *engines, err error) {
	e = &engines{}
	if e.pooled, err = b.engine("pooled", 4); err != nil {
		return nil, err
	}
	if e.bare, err = b.engine("unpooled", 0); err != nil {
		return nil, errors.Join(err, stop(e.pooled))
	}
	e.quiet = &settler{hv: hv, pooled: e.pooled}
	if err := e.quiet.begin(ctx); err != nil {
		return nil, errors.Join(err, e.stop())
	}
	return e, nil
}

func (e *engines) stop() error { return errors.Join(stop(e.pooled), stop(e.bare)) }

// host is the hypervisor, without a pool, and what it is; the caller closes it.
func (b *Bench) host() (hv xen.Hypervisor, info xen.Info, err error) {
	if hv, err = b.Open(b.dir, 0); err != nil {
		return nil, info, err
	}
	if err = hv.SetPool(0); err == nil {
		info, err = hv.Info()
	}
	if err != nil {
		hv.Close()
		return nil, info, err
	}
	return hv, info, nil
}
