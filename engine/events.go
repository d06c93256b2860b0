package engine

import (
	"fmt"
	"io"
	"maps"
	"sort"
	"sync"
	"time"
)

// eventsKept is how many events are remembered, in memory and in the store.
const eventsKept = 4096

// events is the list of what happened: appended to by the engine, read by any number of readers.
// Writing to the store happens behind, so that an event costs its cause no more than a line in the journal.
type events struct {
	store   *store
	journal *journal // under mu

	mu     sync.Mutex
	list   []Event           // the newest eventsKept, by Seq
	count  map[string]uint64 // of this engine's, by Type
	next   uint64
	saved  uint64 // Seq up to which the store has them
	grown  chan struct{}
	dirty  chan struct{}
	closed chan struct{}
	idle   sync.WaitGroup
}

func newEvents(s *store, dir string) (*events, error) {
	old, err := s.events()
	if err != nil {
		return nil, err
	}
	j, left, err := openJournal(dir)
	if err != nil {
		return nil, err
	}
	e := &events{store: s, journal: j, list: old, count: map[string]uint64{}, next: 1, grown: make(chan struct{}), dirty: make(chan struct{}, 1), closed: make(chan struct{})}
	if n := len(old); n > 0 {
		e.saved = old[n-1].Seq
	}
	for _, ev := range left { // of an engine that was killed
		if ev.Seq > e.saved {
			e.list = append(e.list, ev)
		}
	}
	if n := len(e.list); n > 0 {
		// It may have shown some that it could not write, for want of room: whoever follows must not take ours for those.
		e.next = e.list[n-1].Seq + 1 + eventsKept
	}
	e.flush()
	e.trim() // what was half written, too
	e.idle.Add(1)
	go e.save()
	return e, nil
}

func (e *events) add(ev Event) {
	e.mu.Lock()
	ev.Seq, ev.Time = e.next, time.Now()
	e.next++
	e.count[ev.Type]++
	e.list = append(e.list, ev)
	e.journal.add(ev)
	if len(e.list) >= 2*eventsKept {
		e.list = append([]Event(nil), e.list[len(e.list)-eventsKept:]...)
	}
	close(e.grown)
	e.grown = make(chan struct{})
	e.mu.Unlock()
	select {
	case e.dirty <- struct{}{}:
	default:
	}
}

func (e *events) addf(typ string, p *Process, format string, args ...any) {
	ev := Event{Type: typ, Text: fmt.Sprintf(format, args...)}
	if p != nil {
		ev.PID, ev.Name = p.PID, p.Name
	}
	e.add(ev)
}

// counts is how many there were of each type since the engine started.
func (e *events) counts() map[string]uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.count)
}

// save writes new events to the store, many at a time.
func (e *events) save() {
	defer e.idle.Done()
	for {
		select {
		case <-e.dirty:
		case <-e.closed:
			e.flush()
			return
		}
		e.flush()
		select { // a busy engine writes ten times a second, not ten thousand
		case <-time.After(100 * time.Millisecond):
		case <-e.closed:
		}
	}
}

func (e *events) flush() {
	e.mu.Lock()
	var batch []Event
	for i := len(e.list); i > 0 && e.list[i-1].Seq > e.saved; i-- {
		batch = e.list[i-1:]
	}
	if len(batch) == 0 {
		e.mu.Unlock()
		return
	}
	batch = append([]Event(nil), batch...)
	oldest := e.list[max(0, len(e.list)-eventsKept)].Seq // numbers have gaps
	e.mu.Unlock()
	if e.store.putEvents(batch, oldest) == nil {
		e.mu.Lock()
		e.saved = batch[len(batch)-1].Seq
		e.trim()
		e.mu.Unlock()
	}
}

// trim leaves in the journal what the store does not have. The caller holds e.mu.
func (e *events) trim() {
	e.journal.keep(e.list[sort.Search(len(e.list), func(i int) bool { return e.list[i].Seq > e.saved }):])
}

func (e *events) close() {
	close(e.closed)
	e.idle.Wait()
	e.mu.Lock()
	e.journal.f.Close() // what comes now is said to nobody
	e.mu.Unlock()
}

// reader reads the events after seq.
func (e *events) reader(seq uint64, follow bool) *eventReader {
	return &eventReader{e: e, seq: seq, follow: follow, done: make(chan struct{})}
}

type eventReader struct {
	e      *events
	seq    uint64
	follow bool
	done   chan struct{}
	once   sync.Once
}

func (r *eventReader) Recv() (Event, error) {
	for {
		r.e.mu.Lock()
		grown := r.e.grown
		list := r.e.list
		r.e.mu.Unlock()
		if i := sort.Search(len(list), func(i int) bool { return list[i].Seq > r.seq }); i < len(list) {
			r.seq = list[i].Seq
			return list[i], nil
		}
		if !r.follow {
			return Event{}, io.EOF
		}
		select {
		case <-grown:
		case <-r.done:
			return Event{}, io.EOF
		case <-r.e.closed:
			return Event{}, io.EOF
		}
	}
}

func (r *eventReader) Close() error {
	r.once.Do(func() { close(r.done) })
	return nil
}
