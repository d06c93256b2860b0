package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Logs reads frames. One that follows outlives the engine.
func (c *Client) Logs(ctx context.Context, pid int, o LogOptions) (LogReader, error) {
	s, err := c.logs(ctx, pid, o)
	if err != nil || !o.Follow {
		return s, err
	}
	return &followed{c: c, ctx: ctx, pid: pid, o: o, lost: s.Lost(), s: s}, nil
}

// logs connects to this engine.
func (c *Client) logs(ctx context.Context, pid int, o LogOptions) (*logStream, error) {
	q := url.Values{}
	if o.Follow {
		q.Set("follow", "1")
	}
	if o.Lines >= 0 {
		q.Set("lines", strconv.Itoa(o.Lines))
	}
	if !o.Since.IsZero() {
		q.Set("since", o.Since.Format(time.RFC3339Nano))
	}
	resp, err := c.send(ctx, "GET", pvmPath(pid, "/logs?"+q.Encode()), nil)
	if err != nil {
		return nil, err
	}
	s := &logStream{body: resp.Body, r: bufio.NewReaderSize(resp.Body, 1<<16)}
	f, err := readFrame(s.r)
	if err != nil || f.typ != frameLost || len(f.data) != 8 {
		resp.Body.Close()
		return nil, errf(CodeEngine, "engine: %s: not a log", c.socket)
	}
	s.lost = int64(binary.LittleEndian.Uint64(f.data))
	return s, nil
}

type logStream struct {
	body io.Closer
	r    *bufio.Reader
	lost int64
}

func (s *logStream) Recv() (Chunk, error) { return recvChunk(s.r) }
func (s *logStream) Lost() int64          { return s.lost }
func (s *logStream) Close() error         { return s.body.Close() }

// followed is a log that is followed from engine to engine, as console is: when the connection breaks
// without a word, the next engine's log is read from the last record's time on.
type followed struct {
	c    *Client
	ctx  context.Context
	pid  int
	o    LogOptions
	lost int64

	resumption

	mu     sync.Mutex
	s      *logStream
	closed bool
}

func (l *followed) Lost() int64 { return l.lost }

func (l *followed) Recv() (Chunk, error) {
	for {
		l.mu.Lock()
		s := l.s
		l.mu.Unlock()
		ch, err := s.Recv()
		if err == nil {
			if l.fresh(ch) {
				return ch, nil
			}
			continue
		}
		lost := err != io.EOF && brokenOff(err)
		for lost && l.tries < reattachTries && !l.isClosed() {
			if err = l.again(); err == nil {
				return Chunk{Stream: Kernel, Time: time.Now(), Data: []byte(engineLost)}, nil
			}
			lost = goesOn(err)
		}
		if err != nil {
			return Chunk{}, err
		}
	}
}

// again reads the next engine's log, from the last record's time on.
func (l *followed) again() error {
	if err := l.next(l.ctx, l.c); err != nil {
		return err
	}
	o := l.o
	if l.same > 0 { // what was asked for has begun
		o.Lines, o.Since = -1, l.last
	}
	s, err := l.c.logs(l.ctx, l.pid, o)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		s.Close()
		return io.ErrClosedPipe
	}
	l.s.Close()
	l.s = s
	return nil
}

func (l *followed) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Close may be called from any goroutine; it ends a Recv that waits.
func (l *followed) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return l.s.Close()
}

// Events reads a JSON object a line. Who follows outlives the engine.
func (c *Client) Events(ctx context.Context, seq uint64, follow bool) (EventReader, error) {
	s, err := c.events(ctx, seq, follow)
	if err != nil || !follow {
		return s, err
	}
	return &followedEvents{c: c, ctx: ctx, seq: seq, s: s}, nil
}

// events connects to this engine.
func (c *Client) events(ctx context.Context, seq uint64, follow bool) (*eventStream, error) {
	q := url.Values{"seq": {strconv.FormatUint(seq, 10)}}
	if follow {
		q.Set("follow", "1")
	}
	resp, err := c.send(ctx, "GET", "/v1/events?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	return &eventStream{c: c, body: resp.Body, dec: json.NewDecoder(resp.Body)}, nil
}

type eventStream struct {
	c    *Client
	body io.Closer
	dec  *json.Decoder
}

func (s *eventStream) Recv() (ev Event, err error) {
	if err = s.dec.Decode(&ev); err != io.EOF {
		err = s.c.cutShort(err)
	}
	return ev, err
}

func (s *eventStream) Close() error { return s.body.Close() }

// followedEvents are events that are followed from engine to engine, by their numbers. An engine that leaves ends them
// without a word, or breaks off.
type followedEvents struct {
	c     *Client
	ctx   context.Context
	seq   uint64 // of the last one received
	tries int    // engines that were lost since

	mu     sync.Mutex
	s      *eventStream
	closed bool
}

func (f *followedEvents) Recv() (Event, error) {
	for {
		f.mu.Lock()
		s := f.s
		f.mu.Unlock()
		ev, err := s.Recv()
		if err == nil {
			f.seq, f.tries = ev.Seq, 0
			return ev, nil
		}
		for lost := err == io.EOF || goesOn(err); lost; lost = goesOn(err) {
			switch {
			case f.isClosed():
				return Event{}, io.ErrClosedPipe
			case f.tries >= reattachTries:
				return Event{}, err
			}
			time.Sleep(time.Duration(f.tries) * reattachPause)
			f.tries++
			if err = f.again(); err == nil {
				break
			}
		}
		if err != nil {
			return Event{}, err
		}
	}
}

// again reads what the next engine has after the last one received.
func (f *followedEvents) again() error {
	if err := f.c.find(f.ctx); err != nil {
		return err
	}
	s, err := f.c.events(f.ctx, f.seq, true)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		s.Close()
		return io.ErrClosedPipe
	}
	f.s.Close()
	f.s = s
	return nil
}

func (f *followedEvents) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// Close may be called from any goroutine; it ends a Recv that waits.
func (f *followedEvents) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return f.s.Close()
}
