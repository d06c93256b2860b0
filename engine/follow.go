package engine

import (
	"bufio"
	"context"
	"encoding/binary"
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
