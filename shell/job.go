package shell

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// jobBase is added to a job's number to make its $!. It is Linux's PID_MAX_LIMIT, and far above the
// hypervisor's last domain ID (0x7fef): $! hits no stranger.
const jobBase = 1 << 22

// job is the shell itself (id 0) or one background job: what runs in it, and its traps.
type job struct {
	id     int
	parent int    // id of the job it was started in
	within *job   // the one that it is a subshell of; nil: none
	subs   []*job // its subshells that have traps of their own, those that have ended among them
	text   string // as typed
	simple bool   // one simple command: if that is run, $! is the pVM's PID

	console *session      // of a pVM that was in the foreground; nil: of none
	stops   chan struct{} // gets a value when the job stops while it is in front

	named chan struct{} // closed when number is known
	done  chan struct{} // closed when the job has ended

	mu       sync.Mutex
	number   int            // $!
	status   int            // when done
	dying    int            // the status to leave with at the next command; 0: go on
	killedBy syscall.Signal // why it is dying
	waited   bool
	reported bool                      // its end has been shown
	calls    map[*Call]bool            // whether they have been told of an interrupt
	procs    map[*os.Process]time.Time // since when
	traps    map[string]string         // by name without SIG; EXIT among them
	pending  []syscall.Signal          // trapped signals whose traps have yet to run
	gotINT   time.Time                 // when the last interrupt of this command came; zero: none did
	group    *group                    // its programs of the host, where there is job control
	stopSeq  int                       // which stop of all it was that it has not gone on from; 0: it runs
	stopTold bool                      // its stop has been shown
	gate     chan struct{}             // closed when it goes on; nil: it runs
}

func newJob(id, parent int, text string, simple bool) *job {
	return &job{
		id: id, parent: parent, text: text, simple: simple,
		named: make(chan struct{}), done: make(chan struct{}), stops: make(chan struct{}, 1), group: &group{},
		calls: map[*Call]bool{}, procs: map[*os.Process]time.Time{}, traps: map[string]string{},
	}
}

// name fixes the job's $!; 0: it has no pVM of its own. Later calls change nothing.
func (j *job) name(number int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.number != 0 {
		return
	}
	if number == 0 {
		number = jobBase + j.id
	}
	j.number = number
	close(j.named)
}

// lockNow is jobNow, locked.
func (j *job) lockNow(ctx context.Context) *job {
	for {
		now := jobNow(ctx, j)
		now.mu.Lock()
		if now == jobNow(ctx, j) {
			return now
		}
		now.mu.Unlock() // moveTo was quicker
	}
}

// enter puts a command among those that the job's signals reach. One that came just before reaches it
// too.
func (j *job) enter(c *Call) {
	j = j.lockNow(c)
	sig := j.killedBy
	j.calls[c] = sig == syscall.SIGINT
	j.mu.Unlock()
	if sig != 0 {
		c.signal(sig)
	}
}

func (j *job) leave(c *Call) {
	j = j.lockNow(c)
	defer j.mu.Unlock()
	delete(j.calls, c)
}

// enterProcess is enter for a program of the host.
func (j *job) enterProcess(p *os.Process) {
	j.mu.Lock()
	j.procs[p] = time.Now()
	sig := j.killedBy
	j.mu.Unlock()
	if sig != 0 {
		p.Signal(sig)
	}
}

func (j *job) leaveProcess(p *os.Process) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.procs, p)
}

// doom makes the job leave with status at its next command.
func (j *job) doom(status int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dying == 0 {
		j.dying = status
		if status > 128 {
			j.killedBy = syscall.Signal(status - 128)
		}
	}
}

// ending returns the status to leave with; 0: none.
func (j *job) ending() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.dying
}

// revive forgets that the shell was interrupted: the next line starts afresh.
func (j *job) revive() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dying, j.killedBy, j.gotINT = 0, 0, time.Time{}
}

// interrupted reports whether an interrupt came during this command.
func (j *job) interrupted() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.gotINT.IsZero()
}

// awaitInterrupt is interrupted, for a program of the host that died of SIGINT: the terminal sends it
// to both, and the program may be the quicker one.
func (j *job) awaitInterrupt() bool {
	for range 10 {
		if j.interrupted() {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return j.interrupted()
}

// finish ends the job.
func (j *job) finish(status int) {
	j.name(0)
	j.mu.Lock()
	defer j.mu.Unlock()
	select {
	case <-j.done:
		return
	default:
	}
	if j.dying != 0 {
		status = j.dying
	}
	j.status = status
	close(j.done)
}

// harmless reports whether a signal's default action does not end a process.
func harmless(sig syscall.Signal) bool {
	switch sig {
	case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGWINCH, syscall.SIGURG,
		syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, 0:
		return true
	}
	return false
}

// deliver gives the job a signal: its trap if it has one, else what the signal does to what runs in it.
func (j *job) deliver(sig syscall.Signal) {
	j.mu.Lock()
	trap, trapped := j.traps[trapName(sig)]
	var calls []*Call
	for c := range j.calls {
		calls = append(calls, c)
	}
	var procs []*os.Process
	for p := range j.procs {
		procs = append(procs, p)
	}
	subs := j.subs
	if trapped && trap != "" {
		j.pending = append(j.pending, sig)
	}
	if sig == syscall.SIGINT {
		j.gotINT = time.Now()
		for c := range j.calls {
			j.calls[c] = true
		}
	}
	j.mu.Unlock()
	if trapped && trap == "" {
		return
	}
	// The job is doomed before what runs in it hears of the signal: that may end at once, and the next
	// statement must find it doomed. Only an interrupt of the shell itself has to be seen taken first.
	mayTake := sig == syscall.SIGINT && j.id == 0
	if !trapped && !harmless(sig) && !mayTake {
		j.doom(128 + int(sig))
	}
	for _, sub := range subs {
		sub.deliver(sig)
	}
	took := false
	for _, c := range calls {
		if !harmless(sig) && c.signal(sig) {
			took = true
		}
	}
	if trapped {
		return
	}
	fromTerminal := sig == syscall.SIGINT && j.id == 0 // it reaches the shell's children from there, unless they were started only just
	switch g := j.programs(); {
	case sig == syscall.SIGINT && g.isTerminals() || g.number() == 0 && fromTerminal && hasTerminal():
		for _, p := range procs {
			if !catches(p, sig) { // or it may have heard, and need not hear twice
				p.Signal(sig)
			}
		}
	case g.number() != 0:
		g.kill(sig)
		if !harmless(sig) { // of which what is stopped would not hear
			g.kill(syscall.SIGCONT)
		}
	case !fromTerminal:
		for _, p := range procs {
			p.Signal(sig)
		}
	}
	// Somebody who takes the interrupt may survive it: then so does the script, as under bash.
	if mayTake && !took && len(procs) == 0 {
		j.endInterrupted()
	}
}

// endInterrupted is when an interrupt has ended something in the job, which then ends as well, if it has no trap. Those hear of the interrupt, too, that it came too
// early for: while a pipeline is started, the first of its commands have it alone.
func (j *job) endInterrupted() {
	j.mu.Lock()
	trap, trapped := j.traps[trapName(syscall.SIGINT)]
	j.mu.Unlock()
	if !trapped {
		j.doom(128 + int(syscall.SIGINT))
	} else if trap == "" {
		return
	}
	var calls []*Call
	var procs []*os.Process
	j.mu.Lock()
	for c, told := range j.calls {
		if !told {
			j.calls[c] = true
			calls = append(calls, c)
		}
	}
	for p, since := range j.procs {
		if since.After(j.gotINT.Add(-lateFor)) {
			procs = append(procs, p)
		} else if !catches(p, syscall.SIGINT) {
			p.Signal(syscall.SIGINT)
		}
	}
	subs, g := j.subs, j.group
	j.mu.Unlock()
	for _, c := range calls {
		c.signal(syscall.SIGINT)
	}
	for _, sub := range subs {
		if !sub.interrupted() {
			sub.deliver(syscall.SIGINT)
		}
	}
	if len(procs) > 0 && !g.kill(syscall.SIGINT) {
		for _, p := range procs {
			p.Signal(syscall.SIGINT)
		}
	}
}

// quit is Ctrl-\ for what runs in the foreground of a session, whose line goes on.
func (j *job) quit() {
	j.mu.Lock()
	calls := slices.Collect(maps.Keys(j.calls))
	subs := j.subs
	j.mu.Unlock()
	for _, c := range calls {
		c.signal(syscall.SIGQUIT)
	}
	for _, sub := range subs {
		sub.deliver(syscall.SIGQUIT)
	}
	if g := j.programs(); !g.isTerminals() {
		g.kill(syscall.SIGQUIT)
	}
}

// programs is the group of the job's programs of the host. It is another one once a statement has been stopped.
func (j *job) programs() *group {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.group
}

// stop tells the commands that take signals of Ctrl-Z. It reports whether the job is to be stopped: there is none that sees to that itself.
func (j *job) stop() bool {
	j.tellStop()
	return !j.stopsItself()
}

func (j *job) stopsItself() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for c := range j.calls {
		if c.stopsItself.Load() {
			return true
		}
	}
	return slices.ContainsFunc(j.subs, (*job).stopsItself)
}

// tellStop tells the commands that take signals of a stop.
func (j *job) tellStop() { j.tell(syscall.SIGTSTP) }

// tellGo tells them that they go on.
func (j *job) tellGo() { j.tell(syscall.SIGCONT) }

func (j *job) tell(sig syscall.Signal) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for c := range j.calls {
		if c.takesSignals() {
			c.signal(sig)
		}
	}
	for _, sub := range j.subs {
		sub.tell(sig)
	}
}

// adopt is for a job that is locked, which it unlocks: sub is a subshell of it. What ends the job ends that too, if it came just before.
func (j *job) adopt(sub *job) {
	sub.within = j
	j.subs = append(j.subs, sub)
	sig := j.killedBy
	j.mu.Unlock()
	if sig != 0 {
		sub.deliver(sig)
	}
}

// markStopped is a stop, the seq-th of all jobs'. A job may be stopped again that has not gone on: a program that was about to start when Ctrl-Z came. That
// is told once.
func (j *job) markStopped(seq int, front bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stopSeq, j.stopTold = seq, front || j.stopSeq != 0 && j.stopTold
	if j.gate == nil {
		j.gate = make(chan struct{})
	}
	if front {
		select {
		case j.stops <- struct{}{}:
		default:
		}
	}
}

func (j *job) markGoing() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stopSeq = 0
	if j.gate != nil {
		close(j.gate)
		j.gate = nil
	}
}

// held is closed when the job goes on; nil: it is not stopped.
func (j *job) held() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.gate
}

// stoppedAs is which stop of all jobs' it has not gone on from; 0: it runs or has ended.
func (j *job) stoppedAs() int {
	if !j.alive() {
		return 0
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stopSeq
}

// resetStop is before a statement: nothing of the one before counts.
func (j *job) resetStop() {
	j.markGoing()
	select {
	case <-j.stops:
	default:
	}
}

// moveTo makes another job of a statement, which has stopped, and of all that runs in it.
func (j *job) moveTo(to *job, run *statement) {
	j.mu.Lock()
	defer j.mu.Unlock()
	to.mu.Lock()
	defer to.mu.Unlock()
	to.calls, j.calls = j.calls, map[*Call]bool{}
	to.procs, j.procs = j.procs, map[*os.Process]time.Time{}
	to.subs, j.subs = j.subs, nil
	to.group, j.group = j.group, &group{}
	to.gate, j.gate = j.gate, nil
	to.stopSeq, j.stopSeq = j.stopSeq, 0
	to.stopTold = true
	run.job.Store(to)
}

// takePending returns the next trapped signal and its trap, or 0. It is that one's turn.
func (j *job) takePending() (syscall.Signal, string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	sig, text := j.nextTrap()
	if sig != 0 {
		j.pending = j.pending[1:]
	}
	return sig, text
}

// pendingSignal returns the next trapped signal, whose trap has yet to run, or 0.
func (j *job) pendingSignal() syscall.Signal {
	j.mu.Lock()
	defer j.mu.Unlock()
	sig, _ := j.nextTrap()
	return sig
}

// nextTrap is for a job that is locked. It forgets the signals whose trap has gone since.
func (j *job) nextTrap() (syscall.Signal, string) {
	for ; len(j.pending) > 0; j.pending = j.pending[1:] {
		if text := j.traps[trapName(j.pending[0])]; text != "" {
			return j.pending[0], text
		}
	}
	return 0, ""
}

// alive reports whether the job still runs.
func (j *job) alive() bool {
	select {
	case <-j.done:
		return false
	default:
		return true
	}
}

// hasTrap reports whether the job has a trap for sig.
func (j *job) hasTrap(sig syscall.Signal) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, ok := j.traps[trapName(sig)]
	return ok
}

// isPVM reports whether $! of the job is a pVM's PID.
func (j *job) isPVM() bool { n := j.pid(); return n > 0 && n < jobBase }

// pid is the job's $!; 0: not known yet.
func (j *job) pid() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.number
}
