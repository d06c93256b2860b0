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

// printJobs lists the jobs; those that have ended are shown once. With ended, only those.
func (s *Shell) printJobs(w io.Writer, ended, long, pids bool) {
	list := s.jobList()
	var snap *engine.Snapshot
	if api := s.peek(); api != nil && !ended && slices.ContainsFunc(list, (*job).isPVM) {
		snap, _ = api.Snapshot(context.Background(), false)
	}
	for i, j := range list {
		if pids {
			fmt.Fprintln(w, j.pid())
			continue
		}
		dead := !j.alive()
		j.mu.Lock()
		show := (!ended || dead) && !(dead && j.reported)
		if show && dead {
			j.reported = true
		}
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
		fmt.Fprintln(w, s.jobLine(j, mark, long, snap != nil && j.isPVM() && stoppedIn(snap, j.pid())))
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
