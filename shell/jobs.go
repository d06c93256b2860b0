package shell

import (
	"context"
	"fmt"
	"io"
	"slices"
	"syscall"

	"kxsh/engine"
)

// startJob makes the record of a job started in parent.
func (s *Shell) startJob(parent *job, text string, simple bool) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextJob++
	j := newJob(s.nextJob, parent.id, text, simple)
	parent.mu.Lock()
	for name, text := range parent.traps { // an ignored signal stays ignored
		if text == "" {
			j.traps[name] = ""
		}
	}
	parent.mu.Unlock()
	s.jobs[j.id] = j
	return j
}

// jobByID returns a job, or nil.
func (s *Shell) jobByID(id int) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == 0 {
		return nil
	}
	return s.jobs[id]
}

// jobByNumber returns the newest job with that $!, or nil.
func (s *Shell) jobByNumber(n int) *job {
	list := s.jobList()
	for _, j := range slices.Backward(list) {
		if j.pid() == n {
			return j
		}
	}
	return nil
}

// jobList returns the jobs by id, without the shell itself and subshells.
func (s *Shell) jobList() []*job {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*job
	for id, j := range s.jobs {
		if id != 0 && j.text != "" {
			list = append(list, j)
		}
	}
	slices.SortFunc(list, func(a, b *job) int { return a.id - b.id })
	return list
}

// countStop counts the stops of all jobs.
func (s *Shell) countStop() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextStop++
	return s.nextStop
}

// anyStopped reports whether there is a job that leaving would leave stopped.
func (s *Shell) anyStopped() bool {
	return slices.ContainsFunc(s.jobList(), func(j *job) bool { return j.stoppedAs() != 0 })
}

// disown takes a job off the list; it goes on.
func (s *Shell) disown(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.text = ""
}

// jobLine is a job as jobs and the notice at the prompt show it.
func (s *Shell) jobLine(j *job, mark byte, long, stopped bool) string {
	state, and := "Running", " &"
	if stopped {
		state, and = "Stopped", ""
	}
	if !j.alive() {
		switch {
		case j.status == 0:
			state = "Done"
		case j.status > 128 && j.status <= 128+maxSignal:
			state = signalName(syscall.Signal(j.status - 128))
		default:
			state = fmt.Sprintf("Exit %d", j.status)
		}
	}
	pid := ""
	if long {
		pid = fmt.Sprintf("%d ", j.pid())
	}
	return fmt.Sprintf("[%d]%c  %s%-10s %s%s", j.id, mark, pid, state, j.text, and)
}

// printJobs lists the jobs; those that have ended are shown once. With news, only those, and those that have stopped behind the prompt.
func (s *Shell) printJobs(w io.Writer, news, long, pids bool) {
	list := s.jobList()
	var snap *engine.Snapshot
	if api := s.peek(); api != nil && !news && slices.ContainsFunc(list, (*job).isPVM) {
		snap, _ = api.Snapshot(context.Background(), false)
	}
	for i, j := range list {
		if pids {
			fmt.Fprintln(w, j.pid())
			continue
		}
		dead, stopped := !j.alive(), j.stoppedAs() != 0
		j.mu.Lock()
		show := (!news || dead || stopped && !j.stopTold) && !(dead && j.reported)
		j.reported = j.reported || show && dead
		j.stopTold = true
		j.mu.Unlock()
		if !show {
			continue
		}
		mark := byte(' ')
		switch i {
		case len(list) - 1:
			mark = '+'
		case len(list) - 2:
			mark = '-'
		}
		if j.isPVM() && snap != nil { // somebody else may have let it go on
			stopped = stoppedIn(snap, j.pid())
		}
		fmt.Fprintln(w, s.jobLine(j, mark, long, stopped))
	}
	s.sweep()
}

// sweep forgets jobs that have ended and been shown, except the newest few, which wait may ask about.
func (s *Shell) sweep() {
	const keep = 64
	list := s.jobList()
	for i, j := range list {
		if i >= len(list)-keep || j.alive() {
			continue
		}
		j.mu.Lock()
		gone := j.reported || j.waited
		j.mu.Unlock()
		if gone {
			s.mu.Lock()
			delete(s.jobs, j.id)
			s.mu.Unlock()
		}
	}
}

// note remembers a pVM that this session started and did not wait for.
func (s *Shell) note(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = append(s.started, pid)
}

// forget is note's opposite.
func (s *Shell) forget(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = slices.DeleteFunc(s.started, func(p int) bool { return p == pid })
}

func (s *Shell) startedPVMs() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.started)
}
