package engine

import "time"

// steps runs an operation as a list of named, timed steps, each with its undo. When a step fails,
// unwind runs the undos of those that succeeded, last first, so that a failure leaves nothing
// behind.
type steps struct {
	done []Step
	undo []func()
}

// do runs one step. undo may be nil; it is remembered only if run succeeds.
func (s *steps) do(name string, run func() error, undo func()) error {
	start := time.Now()
	if err := run(); err != nil {
		return err
	}
	s.took(name, time.Since(start))
	if undo != nil {
		s.undo = append(s.undo, undo)
	}
	return nil
}

// took records a step that was timed elsewhere, such as one inside the hypervisor.
func (s *steps) took(name string, d time.Duration) {
	s.done = append(s.done, Step{Name: name, Took: d})
}

func (s *steps) unwind() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	s.undo = nil
}
