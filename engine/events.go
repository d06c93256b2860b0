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
type events struct {
	store *store

	mu     sync.Mutex
	list   []Event           // the newest eventsKept, by Seq
	count  map[string]uint64 // of this engine's, by Type
	next   uint64
	grown  chan struct{}
	closed chan struct{}
}

func newEvents(s *store) (*events, error) {
	old, err := s.events()
	if err != nil {
		return nil, err
	}
	e := &events{store: s, list: old, count: map[string]uint64{}, next: 1, grown: make(chan struct{}), closed: make(chan struct{})}
	if n := len(old); n > 0 {
		// An engine may have shown some that it could not write, for want of room: whoever follows must not take ours for those.
		e.next = old[n-1].Seq + 1 + eventsKept
	}
	return e, nil
}

func (e *events) add(ev Event) {
	e.mu.Lock()
	ev.Seq, ev.Time = e.next, time.Now()
	e.next++
	e.count[ev.Type]++
	e.list = append(e.list, ev)
	e.store.addEvent(ev, e.list[max(0, len(e.list)-eventsKept)].Seq) // numbers have gaps
	if len(e.list) >= 2*eventsKept {
		e.list = append([]Event(nil), e.list[len(e.list)-eventsKept:]...)
	}
	close(e.grown)
	e.grown = make(chan struct{})
	e.mu.Unlock()
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

// close ends those who follow.
func (e *events) close() { close(e.closed) }

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
