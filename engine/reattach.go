package engine

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

const (
	// reattachTries is how many engines may be lost in a row, with no output received in between,
	// before a console gives up, and reattachPause the pause before each but the first: an engine that
	// is being killed may still take connections.
	reattachTries = 5
	reattachPause = 50 * time.Millisecond
	engineLost    = "kxsh: the engine has gone; its successor goes on\n"
)

// resumption is how far a reader of records has come, so that it can go on with another engine, which
// begins before that. Records are in the order of their times.
type resumption struct {
	last  time.Time // of the records received
	same  int       // how many of them have that time
	tries int       // engines that were lost since

	replay bool // records come that were received before
	skip   int  // of those, how many are of time last
}

// fresh notes a record and tells whether it is a new one.
func (r *resumption) fresh(ch Chunk) bool {
	if r.replay {
		if ch.Time.Before(r.last) {
			return false
		}
		if ch.Time.Equal(r.last) && r.skip > 0 {
			r.skip--
			return false
		}
		r.replay = false
	}
	if ch.Time.Equal(r.last) {
		r.same++
	} else {
		r.last, r.same = ch.Time, 1
	}
	r.tries = 0
	return true
}

// next finds or starts the engine that follows.
func (r *resumption) next(ctx context.Context, c *Client) error {
	time.Sleep(time.Duration(r.tries) * reattachPause)
	r.tries++
	r.replay, r.skip = true, r.same
	return c.find(ctx)
}

// goesOn tells whether an error of one engine may not be the next one's.
func goesOn(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == CodeEngine
}

// console is an attached console that outlives its engine: when the connection breaks without a word,
// it finds or starts the engine that follows, attaches to it, and goes on after the last record that
// it received. Input that the lost engine had not passed on is lost with it.
type console struct {
	c   *Client
	ctx context.Context
	pid int

	resumption

	mu    sync.Mutex
	moved sync.Cond // s or over has changed
	s     *consoleStream
	o     AttachOptions
	eof   bool
	over  bool // nothing follows s
}

// Recv returns the next chunk, from whichever engine there is.
func (l *console) Recv() (Chunk, error) {
	for {
		s := l.stream()
		ch, err := s.Recv()
		if err == nil {
			if l.fresh(ch) {
				return ch, nil
			}
			continue
		}
		lost := err != io.EOF && brokenOff(err)
		for lost && l.tries < reattachTries && !l.isOver() {
			if err = l.again(); err == nil {
				return Chunk{Stream: Kernel, Time: time.Now(), Data: []byte(engineLost)}, nil
			}
			lost = goesOn(err)
		}
		l.end()
		return Chunk{}, err
	}
}

// again attaches to the next engine, from the start of the log; fresh skips what is known.
func (l *console) again() error {
	if err := l.next(l.ctx, l.c); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.o
	o.FromStart = true
	s, err := l.c.attach(l.ctx, l.pid, o)
	if err != nil {
		return err
	}
	if l.over { // closed meanwhile
		s.Close()
		return io.ErrClosedPipe
	}
	l.s.Close()
	l.s = s
	l.moved.Broadcast()
	if l.eof {
		return s.CloseSend()
	}
	return nil
}

func (l *console) stream() *consoleStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s
}

func (l *console) isOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over
}

// end says that nothing follows the present connection.
func (l *console) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.moved.Broadcast()
}

// Send waits for the next engine, if the present one does not answer; whoever calls Recv finds it.
func (l *console) Send(p []byte) error {
	s := l.stream()
	for {
		err := s.Send(p)
		if err == nil {
			return nil
		}
		l.mu.Lock()
		for l.s == s && !l.over {
			l.moved.Wait()
		}
		next := l.s
		l.mu.Unlock()
		if next == s {
			return err
		}
		s = next
	}
}

func (l *console) CloseSend() error {
	l.mu.Lock()
	l.eof = true
	s := l.s
	l.mu.Unlock()
	return s.CloseSend()
}

func (l *console) Resize(rows, cols int) error {
	l.mu.Lock()
	l.o.Rows, l.o.Cols = rows, cols
	s := l.s
	l.mu.Unlock()
	return s.Resize(rows, cols)
}

func (l *console) Close() error {
	l.end()
	return l.stream().Close()
}
