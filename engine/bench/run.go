package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// section is one benchmark of a run: what it has measured, if anything, what it had to leave out, and why it has failed, if it has.
type section struct {
	kind   kind
	report *Report
	notes  []string
	took   time.Duration
	err    error
}

// run is what is known in the end of all that were asked for.
type run struct {
	begun            time.Time
	took             time.Duration
	version, command string
	facts            []fact
	sections         []section
}

// reports are those of benchmarks that have measured something.
func (r *run) reports() (list []*Report) {
	for _, s := range r.sections {
		if s.report != nil {
			list = append(list, s.report)
		}
	}
	return list
}

// Run runs the benchmarks with these names, in the order of Names. Of several a failure is said and the others go on; the error names those that have failed, and the files have what
// was measured. Nothing is left of a run in which nothing was, or which ctx has ended.
func (b *Bench) Run(ctx context.Context, names ...string) (err error) {
	list, err := choose(names)
	if err != nil {
		return err
	}
	if b.root, err = os.MkdirTemp("", "kxb"); err != nil {
		return err
	}
	defer os.RemoveAll(b.root)
	files, err := b.open()
	defer files.drop()
	if err != nil {
		return err
	}
	b.command = b.again(list)
	r := &run{begun: time.Now(), version: b.Version, command: b.command}
	if r.facts, err = b.facts(); err != nil {
		return err
	}
	var failed []string
	for i, k := range list {
		if len(list) > 1 {
			b.say("%d of %d: %s: %s", i+1, len(list), k.name, k.short)
		}
		s := b.measure(ctx, k, patience)
		if s.err == nil {
			s.err = ctx.Err() // it came when nothing was left to do
		}
		if s.err != nil && (len(list) == 1 || ctx.Err() != nil) {
			return s.err
		}
		if s.err != nil {
			b.say("%s: %v", k.name, s.err)
			failed = append(failed, k.name)
		}
		r.sections = append(r.sections, s)
	}
	r.took = time.Since(r.begun)
	if len(failed) < len(list) {
		err = files.write(r)
	}
	if len(list) > 1 {
		b.say("%d benchmarks in %v", len(list), r.took.Round(time.Second))
	}
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("%d of %d benchmarks failed: %s", len(failed), len(list), strings.Join(failed, ", "))
	}
	return err
}

// facts are those of the machine, before anything is measured.
func (b *Bench) facts() ([]fact, error) {
	b.dir = b.root
	hv, info, err := b.host()
	if err != nil {
		return nil, err
	}
	return facts(&info), hv.Close()
}

// measure runs one, in a folder of its own, until it is over or has finished nothing for as long as limit.
func (b *Bench) measure(ctx context.Context, k kind, limit time.Duration) section {
	s := section{kind: k}
	b.dir, b.paper, b.report, b.notes = filepath.Join(b.root, k.name), k.paper, nil, nil
	begun := time.Now()
	if s.err = os.Mkdir(b.dir, 0o700); s.err == nil {
		var watched context.Context
		watched, b.dog = watch(ctx, limit)
		s.err = k.run(b, watched)
		if s.err != nil && watched.Err() != nil && ctx.Err() == nil {
			s.err = context.Cause(watched)
		}
		b.dog.stop()
		b.dog = nil
		os.RemoveAll(b.dir) // of what it needs as disk the next one needs some, too
	}
	s.took, s.report, s.notes = time.Since(begun), b.report, b.notes
	return s
}

// say prints progress, which is said about the data and so goes to standard error.
func (b *Bench) say(format string, args ...any) {
	b.dog.progress()
	fmt.Fprintf(b.Stderr, "bench: "+format+"\n", args...)
}

// without says what is left out, also in the report.
func (b *Bench) without(format string, args ...any) {
	note := "without " + fmt.Sprintf(format, args...)
	b.say("%s", note)
	b.notes = append(b.notes, note)
}

// newsEvery is how often a long measurement says how far it has come.
const newsEvery = 10 * time.Second

// begin says what is measured, and returns what is to be called at the beginning of each round.
func (b *Bench) begin(n int, format string, args ...any) (next func()) {
	what := fmt.Sprintf(format, args...)
	b.say("%s, %d rounds", what, n)
	round, said := 0, time.Now()
	return func() {
		b.dog.progress()
		round++
		if time.Since(said) >= newsEvery {
			said = time.Now()
			b.say("%s, round %d of %d", what, round, n)
		}
	}
}
