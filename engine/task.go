package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
)

// The engine touches nothing that a family shares. A member does it, when it is asked to: its LibOS has the locks, the journal and
// the bells (guest/kern/task.c). It is asked by CmdTask, fetches its task by CallTask, and brings the result with the
// next CallTask. What has not been fetched can be taken back and given to another member; what has been, happens once.

// Why a member has not done a task: it never fetched it and lives, or has ended, or it did and that is the last that was heard of it.
var (
	errSilent = errors.New("does not answer")
	errGone   = errors.New("has ended")
	errLost   = errors.New("has begun with it, and has not said how it went")
)

const (
	// taskShare is which part of the engine's patience one member gets.
	taskShare = 3
	// lockPatience is how long a family may keep the lock of what it shares, which is taken for microseconds.
	lockPatience = 3 * time.Second
	// taskNap is the pause before a family whose lock was taken is asked again.
	taskNap = 5 * time.Millisecond
	// lookAgain is when a task that waits for a message is tried again although nobody has said that there is one: the
	// member that would have may be stopped, or dead.
	lookAgain = time.Second
	// notBegun is the result of a task that came when the pVM was about to ask for something else. It is offered again.
	notBegun = -int64(unix.ERESTART)
)

// task is one piece of work for one member.
type task struct {
	ask, answer *ipc.Task
	objects     []ipc.Object // of a TaskList
	number      int64
	result      int64
	err         error
	then        func(*task)     // if not nil, is called when these are set, before the pVM's next call
	news        <-chan struct{} // closed when what a task with watch was about may have changed since
	done        chan struct{}   // closed when answer, result, err and news are set
}

// tasks is what a pVM is asked for.
type tasks struct {
	mu    sync.Mutex
	queue []*task // not fetched
	doing *task   // fetched
	last  int64   // number given
	news  chan struct{}
	quiet bool // it was asked in vain, and has not made a CallTask since
}

// callTask serves CallTask: it takes the result of one task, and gives the next. The pVM goes on meanwhile.
func (e *Engine) callTask(p *pvm, call ipc.Call) int64 {
	ts := &p.tasks
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.quiet = false
	ts.conclude(p.dom.Control(), call)
	if len(ts.queue) == 0 {
		return 0
	}
	t := ts.queue[0]
	ts.queue = ts.queue[1:]
	ts.doing = t
	ts.last++
	t.number = ts.last
	ipc.PutTask(p.dom.Control(), t.ask)
	return t.number
}

// lastTask takes the result of a task that a pVM has brought at its end.
func (e *Engine) lastTask(p *pvm) {
	if call, ok := p.calls.Next(); ok && call.Op == abi.CallTask {
		p.tasks.mu.Lock()
		defer p.tasks.mu.Unlock()
		p.tasks.conclude(p.dom.Control(), call)
	}
}

// conclude takes what a CallTask says: that there may be news, and how a task went, or that it was not begun. The caller holds ts.mu.
func (ts *tasks) conclude(ctl []byte, call ipc.Call) {
	if ts.news == nil {
		ts.news = make(chan struct{})
	}
	if call.A[2] != 0 {
		close(ts.news)
		ts.news = make(chan struct{})
	}
	t := ts.doing
	if t == nil {
		return
	}
	ts.doing = nil
	t.result, t.news, t.err = int64(call.A[1]), ts.news, errLost
	if int64(call.A[0]) == t.number {
		t.take(ctl)
	}
	if t.then != nil {
		t.then(t)
	}
	close(t.done)
}

// take reads what a pVM has left in the task's place.
func (t *task) take(ctl []byte) {
	t.answer, t.err = ipc.TakeTask(ctl)
	if t.err == nil && t.ask.Op == abi.TaskList && t.result >= 0 {
		t.objects, t.err = ipc.ParseObjects(t.answer.Data)
		if t.err == nil && int64(len(t.objects)) != t.result {
			t.err = ipc.ErrCorrupt
		}
	}
}

// withdraw takes a task back that has not been fetched.
func (ts *tasks) withdraw(t *task) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	i := slices.Index(ts.queue, t)
	if i >= 0 {
		ts.queue = slices.Delete(ts.queue, i, i+1)
	}
	return i >= 0
}

// askMember has one member do a task. Errors: errSilent, errGone: it has not been done; errLost, ipc.ErrCorrupt: nobody knows; or
// that nobody waits any more.
func (e *Engine) askMember(ctx context.Context, p *pvm, ask *ipc.Task) (*task, error) {
	t := &task{ask: ask}
	fetched, err := e.offer(ctx, p, t)
	switch {
	case err == nil:
		return t, t.err
	case fetched && (err == errSilent || err == errGone):
		err = errLost
	}
	return nil, err
}

// offer has one member do a task, and returns nil when it has brought the result. After an error fetched tells whether it may still do so: it
// has begun with it, and t.done will be closed then.
func (e *Engine) offer(ctx context.Context, p *pvm, t *task) (fetched bool, err error) {
	timer := time.NewTimer(e.patience / taskShare)
	defer timer.Stop()
	for {
		t.done = make(chan struct{})
		if fetched, err := e.offerOnce(ctx, p, t, timer.C); err != nil || t.result != notBegun {
			return fetched, err
		}
	}
}

// offerOnce is offer; the result may be notBegun.
func (e *Engine) offerOnce(ctx context.Context, p *pvm, t *task, late <-chan time.Time) (fetched bool, err error) {
	p.tasks.mu.Lock()
	p.tasks.queue = append(p.tasks.queue, t)
	p.tasks.mu.Unlock()
	if err := p.command(abi.KxCmd{Op: abi.CmdTask}); err != nil && p.tasks.withdraw(t) {
		return false, errSilent
	}
	select {
	case <-t.done:
		return true, nil
	case <-p.ended:
		err = errGone
	case <-late:
		err = errSilent
		p.tasks.mu.Lock()
		p.tasks.quiet = true
		p.tasks.mu.Unlock()
	case <-ctx.Done():
		err = ctx.Err()
	case <-e.quit:
		err = errf(CodeEngine, "the engine is leaving")
	}
	if p.tasks.withdraw(t) {
		return false, err
	}
	select {
	case <-t.done: // at the last moment
		return true, nil
	default:
		return true, err
	}
}

// askFamily has some member of a family do a task. One that may be done twice is, if a member does not say how it went.
func (e *Engine) askFamily(ctx context.Context, family int, ask *ipc.Task, twice bool) (*task, error) {
	for begin := time.Now(); ; {
		members, stopped := e.askable(family)
		if len(members) == 0 && stopped > 0 {
			return nil, errf(CodeBusy, "family %d: all its members are stopped: kill -CONT one of them first", family)
		}
		if len(members) == 0 {
			return nil, errf(CodeNoPVM, "family %d: all its members have ended", family)
		}
		again := false
		var failed error
		for _, p := range members {
			t, err := e.askMember(ctx, p, ask)
			unsure := errors.Is(err, errLost) || errors.Is(err, ipc.ErrCorrupt)
			switch {
			case err == nil && t.result == -int64(unix.EBUSY):
				failed, again = errf(CodeBusy, "family %d: a member keeps the lock of what they share: end that one, or try again", family), true
			case err == nil:
				return t, nil
			case errors.Is(err, errGone):
				failed, again = errf(CodeNoPVM, "(%d): ended before it was done", p.pid), true
			case errors.Is(err, errSilent) || unsure && twice:
				failed = errf(CodeBusy, "(%d): %v: see whether it is stopped, or end it", p.pid, err)
			case unsure:
				return nil, errf(CodeBusy, "(%d): %v: ipcs may tell", p.pid, err)
			default:
				return nil, err
			}
			if time.Since(begin) > e.patience {
				return nil, failed
			}
		}
		if !again || time.Since(begin) > lockPatience {
			return nil, failed
		}
		select {
		case <-time.After(taskNap):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// askPatient is askFamily of a task that waits until it does not end with errno any more.
func (e *Engine) askPatient(ctx context.Context, family int, ask *ipc.Task, errno int64) (*task, error) {
	for {
		t, err := e.askFamily(ctx, family, ask, false)
		if err != nil || t.result != -errno {
			return t, err
		}
		select {
		case <-t.news:
		case <-time.After(e.lookAgain):
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-e.quit:
			return nil, errf(CodeEngine, "the engine is leaving")
		}
	}
}

// askable is the members of a family that could do a task, those first that are likely to: who shares something already, and who has
// not been asked in vain. stopped is how many more would if they went on.
func (e *Engine) askable(family int) (members []*pvm, stopped int) {
	e.mu.Lock()
	all := e.those(func(p *pvm) bool { return p.rec.Family == family && p.rec.Exit == nil && !p.doomed })
	e.mu.Unlock()
	rank := make(map[*pvm]int, len(all))
	for _, p := range all {
		if p.seemsStopped() {
			stopped++
			continue
		}
		p.shared(func() error {
			if !ipc.SharesWithFamily(p.dom.Control()) {
				rank[p]++
			}
			return nil
		})
		p.tasks.mu.Lock()
		if p.tasks.quiet {
			rank[p] += 2
		}
		p.tasks.mu.Unlock()
		members = append(members, p)
	}
	slices.SortStableFunc(members, func(a, b *pvm) int { return rank[a] - rank[b] })
	return members, stopped
}

// seemsStopped tells whether a pVM is stopped; one that is being forked is not.
func (p *pvm) seemsStopped() bool {
	if !p.still.TryLock() {
		return false
	}
	defer p.still.Unlock()
	return p.stopped
}
