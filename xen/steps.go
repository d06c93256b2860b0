package xen

import (
	"context"
	"fmt"
	"time"
)

// Step is one named step of building a domain.
type Step struct {
	Name string
	Do   func() error
}

// Steps builds a domain step by step. It remembers how what was done is undone, so that a failure leaves
// nothing behind. The zero value is ready.
type Steps struct{ undo []func() }

// Run does the steps in their order; told, if not nil, hears how long each took. When one fails, or
// ctx has ended before it, everything since the first Run is undone, last first.
func (s *Steps) Run(ctx context.Context, told func(name string, took time.Duration), list ...Step) error {
	for _, step := range list {
		begin := time.Now()
		err := ctx.Err()
		if err == nil {
			err = step.Do()
		}
		if err != nil {
			s.unwind()
			return fmt.Errorf("create domain: %s: %w", step.Name, err)
		}
		if told != nil {
			told(step.Name, time.Since(begin))
		}
	}
	return nil
}

// OnFailure has f called if a later step fails.
func (s *Steps) OnFailure(f func()) { s.undo = append(s.undo, f) }

// Instead has f alone called if a later step fails: it undoes all that was done so far.
func (s *Steps) Instead(f func()) { s.undo = []func(){f} }

// Born is the step from which on the child of a fork is a domain like others.
func (s *Steps) Born(f *Fork, child Domain) error {
	if f.Ready == nil {
		s.Instead(func() { End(child) })
		return nil
	}
	s.Instead(func() {
		child.Destroy()
		<-child.Gone()
	})
	return f.Ready(child)
}

func (s *Steps) unwind() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	s.undo = nil
}
