package engine

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"kxsh/ipc"
)

// A console log is what one pVM wrote, from byte 0, kept after its death. It is a folder of
// segments, each named after the offset of its first byte in the whole log; when the log outgrows
// its bound the oldest segment goes. A segment is a list of records: a header of logHeader bytes,
// then the data.
//
//	0   uint32  stream << 24 | length
//	4   int64   time, Unix nanoseconds
//	12  uint32  up to which index of the pVM's ring its output is kept (ipc.Chunk)
const (
	logHeader  = 16
	logSegment = 1 << 20
	// LogMax is how much of a console is kept, in bytes, headers included.
	LogMax = 16 << 20
	// logHold is how far a held reader may lag before the pVM is made to wait for it.
	logHold = 2 << 20
	// logDataMax is the largest data of one record.
	logDataMax = 1<<24 - 1
)

var errLogClosed = errors.New("log is complete")

type consoleLog struct {
	dir string

	mu       sync.Mutex
	seg      *os.File  // the last segment, nil until something is written
	starts   []int64   // offset of each segment's first byte, oldest first
	first    int64     // offset of the oldest byte kept
	end      int64     // offset of the next byte
	last     time.Time // of the newest record: times never go back, whoever writes
	ring     uint32    // up to this index of the pVM's ring its output is here
	complete bool
	grown    chan struct{} // closed and replaced when end or complete changes
	holds    map[*logReader]struct{}
	freed    chan struct{} // closed and replaced when a held reader advances or leaves
}

func newConsoleLog(dir string) *consoleLog {
	return &consoleLog{dir: dir, grown: make(chan struct{}), freed: make(chan struct{}), holds: map[*logReader]struct{}{}}
}

// openConsoleLog opens the log an earlier engine left. A record cut short by a crash is dropped.
func openConsoleLog(dir string) (*consoleLog, error) {
	l := newConsoleLog(dir)
	starts, err := segments(dir)
	if err != nil {
		return nil, err
	}
	if len(starts) == 0 {
		return l, nil
	}
	l.starts, l.first = starts, starts[0]
	f, err := os.OpenFile(l.segName(l.segStart()), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	good := int64(0)
	br := bufio.NewReaderSize(f, 1<<16)
	for {
		h, n, err := readRecordHeader(br)
		if err != nil {
			break
		}
		if _, err := br.Discard(n); err != nil {
			break
		}
		good += int64(logHeader + n)
		l.last, l.ring = h.time, h.ring
	}
	if err := f.Truncate(good); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(good, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	l.seg, l.end = f, l.segStart()+good
	return l, nil
}

func segments(dir string) ([]int64, error) {
	ents, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var starts []int64
	for _, e := range ents {
		if n, err := strconv.ParseInt(strings.TrimSuffix(e.Name(), ".log"), 10, 64); err == nil {
			starts = append(starts, n)
		}
	}
	sort.Slice(starts, func(i, j int) bool { return starts[i] < starts[j] })
	return starts, nil
}

// segStart is the offset of the last segment's first byte; there must be one.
func (l *consoleLog) segStart() int64 { return l.starts[len(l.starts)-1] }

func (l *consoleLog) segName(start int64) string {
	return filepath.Join(l.dir, fmt.Sprintf("%015d.log", start))
}

// append writes one record that is not out of the pVM's own ring. A full disk loses the record, never the pVM:
// the caller goes on.
func (l *consoleLog) append(stream int, now time.Time, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write(stream, now, l.ring, data)
}

// keep writes a piece of the pVM's own output, as append does. With one write it is here and counted as read: an
// engine that is killed behind it leaves a ring that reads it again (Output.Resume).
func (l *consoleLog) keep(now time.Time, c ipc.Chunk) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.write(c.Stream, now, c.End, c.Data)
}

func (l *consoleLog) write(stream int, now time.Time, ring uint32, data []byte) error {
	if l.complete {
		return errLogClosed
	}
	if l.seg == nil || l.end-l.segStart() >= logSegment {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	if now.Before(l.last) {
		now = l.last
	}
	l.last = now
	buf := make([]byte, logHeader+len(data))
	binary.LittleEndian.PutUint32(buf, uint32(stream)<<24|uint32(len(data)))
	binary.LittleEndian.PutUint64(buf[4:], uint64(now.UnixNano()))
	binary.LittleEndian.PutUint32(buf[12:], ring)
	copy(buf[logHeader:], data)
	if _, err := l.seg.Write(buf); err != nil {
		// Half a record would make the rest of the segment unreadable.
		if terr := l.seg.Truncate(l.end - l.segStart()); terr == nil {
			_, _ = l.seg.Seek(l.end-l.segStart(), io.SeekStart)
		}
		return err
	}
	l.end += int64(len(buf))
	l.ring = ring
	close(l.grown)
	l.grown = make(chan struct{})
	return nil
}

func (l *consoleLog) rotate() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(l.segName(l.end), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if l.seg != nil {
		l.seg.Close()
	}
	l.seg = f
	l.starts = append(l.starts, l.end)
	for len(l.starts) > 1 && l.end-l.starts[0] >= LogMax {
		if err := os.Remove(l.segName(l.starts[0])); err != nil {
			return err
		}
		l.starts = l.starts[1:]
	}
	l.first = l.starts[0]
	return nil
}

// finish says that nothing more will come and frees the file handle; readers reach io.EOF.
func (l *consoleLog) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.complete {
		return
	}
	l.complete = true
	if l.seg != nil {
		l.seg.Close()
		l.seg = nil
	}
	close(l.grown)
	l.grown = make(chan struct{})
	close(l.freed)
	l.freed = make(chan struct{})
}

// waitHolds blocks while a held reader lags too far, or until stop. Nobody waits for a log that is complete.
func (l *consoleLog) waitHolds(stop <-chan struct{}) {
	for {
		l.mu.Lock()
		lag := int64(0)
		for r := range l.holds {
			lag = max(lag, l.end-r.off)
		}
		freed, complete := l.freed, l.complete
		l.mu.Unlock()
		if lag < logHold || complete {
			return
		}
		select {
		case <-freed:
		case <-stop:
			return
		}
	}
}

// size tells how many bytes are kept and how many were rotated away, headers included.
func (l *consoleLog) size() (kept, lost int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end - l.first, l.first
}

func (l *consoleLog) remove() error {
	l.finish()
	return os.RemoveAll(l.dir)
}

type recordHeader struct {
	stream int
	time   time.Time
	ring   uint32
}

func readRecordHeader(r io.Reader) (h recordHeader, n int, err error) {
	var b [logHeader]byte
	if _, err = io.ReadFull(r, b[:]); err != nil {
		return h, 0, err
	}
	w := binary.LittleEndian.Uint32(b[:])
	h.stream = int(w >> 24)
	h.time = time.Unix(0, int64(binary.LittleEndian.Uint64(b[4:])))
	h.ring = binary.LittleEndian.Uint32(b[12:])
	if h.stream < Stdout || h.stream > Kernel {
		return h, 0, fmt.Errorf("log record of unknown stream %d", h.stream)
	}
	return h, int(w & logDataMax), nil
}

// logReader reads a log from some offset on. Its owner calls next and, at last, close; anybody may
// call stop to end a next that waits.
type logReader struct {
	l      *consoleLog
	off    int64 // guarded by l.mu when held
	held   bool
	follow bool
	lost   int64
	f      *os.File
	fEnd   int64 // offset at which f's segment ends, as far as known
	fStart int64
	br     *bufio.Reader
	done   chan struct{}
	once   sync.Once
}

// reader starts at the oldest byte kept. With hold, the pVM waits for this reader instead of
// outrunning it.
func (l *consoleLog) reader(follow, hold bool) *logReader {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &logReader{l: l, off: l.first, lost: l.first, held: hold, follow: follow, done: make(chan struct{})}
	if hold {
		l.holds[r] = struct{}{}
	}
	return r
}

// toEnd skips everything written so far.
func (r *logReader) toEnd() {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.off, r.lost = r.l.end, 0
}

// next returns the next record, io.EOF at the end of a log that is complete or not followed. After
// an error the reader holds no file any more.
func (r *logReader) next() (Chunk, error) {
	c, err := r.wait()
	if err != nil {
		r.closeFile()
	}
	return c, err
}

func (r *logReader) wait() (Chunk, error) {
	for {
		select {
		case <-r.done:
			return Chunk{}, io.ErrClosedPipe
		default:
		}
		r.l.mu.Lock()
		end, first, complete, grown := r.l.end, r.l.first, r.l.complete, r.l.grown
		if r.off < first { // rotated away while this reader lagged
			r.lost += first - r.off
			r.off = first
			r.closeFile()
		}
		r.l.mu.Unlock()
		if r.off < end {
			return r.read()
		}
		if complete || !r.follow {
			return Chunk{}, io.EOF
		}
		select {
		case <-grown:
		case <-r.done:
			return Chunk{}, io.ErrClosedPipe
		}
	}
}

func (r *logReader) read() (Chunk, error) {
	if r.f == nil || r.off >= r.fEnd {
		if err := r.open(); err != nil {
			return Chunk{}, err
		}
	}
	h, n, err := readRecordHeader(r.br)
	if err != nil {
		return Chunk{}, fmt.Errorf("console log damaged at byte %d: %w", r.off, err)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r.br, data); err != nil {
		return Chunk{}, fmt.Errorf("console log damaged at byte %d: %w", r.off, err)
	}
	r.advance(int64(logHeader + n))
	return Chunk{Stream: h.stream, Time: h.time, Data: data}, nil
}

func (r *logReader) advance(n int64) {
	r.l.mu.Lock()
	r.off += n
	if r.held {
		close(r.l.freed)
		r.l.freed = make(chan struct{})
	}
	r.l.mu.Unlock()
}

// open opens the segment that holds r.off and learns how far it reaches now.
func (r *logReader) open() error {
	r.l.mu.Lock()
	i := sort.Search(len(r.l.starts), func(i int) bool { return r.l.starts[i] > r.off }) - 1
	if i < 0 {
		r.l.mu.Unlock()
		return fmt.Errorf("console log: byte %d was rotated away", r.off)
	}
	start, end := r.l.starts[i], r.l.end
	if i+1 < len(r.l.starts) {
		end = r.l.starts[i+1]
	}
	r.l.mu.Unlock()
	if r.f == nil || r.fStart != start {
		r.closeFile()
		f, err := os.Open(r.l.segName(start))
		if err != nil {
			return err
		}
		if _, err := f.Seek(r.off-start, io.SeekStart); err != nil {
			f.Close()
			return err
		}
		r.f, r.fStart, r.br = f, start, bufio.NewReaderSize(f, 1<<15)
	}
	r.fEnd = end
	return nil
}

func (r *logReader) closeFile() {
	if r.f != nil {
		r.f.Close()
		r.f = nil
	}
}

// stop makes next return and lets go of the pVM, if the reader held it.
func (r *logReader) stop() {
	r.once.Do(func() {
		close(r.done)
		r.l.mu.Lock()
		if r.held {
			delete(r.l.holds, r)
			close(r.l.freed)
			r.l.freed = make(chan struct{})
		}
		r.l.mu.Unlock()
	})
}

func (r *logReader) close() {
	r.stop()
	r.closeFile()
}
