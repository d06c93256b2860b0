package engine

import (
	"bytes"
	"io"
	"time"
)

// keptLog is what Logs returns: a log reader that can begin at a time or at the last lines.
type keptLog struct {
	r     *logReader
	since time.Time
	ahead []Chunk // read already by tail
}

func (k *keptLog) Recv() (Chunk, error) {
	for {
		var c Chunk
		if len(k.ahead) > 0 {
			c, k.ahead = k.ahead[0], k.ahead[1:]
		} else {
			var err error
			if c, err = k.r.next(); err != nil {
				return c, err
			}
		}
		if c.Time.Before(k.since) {
			continue
		}
		return c, nil
	}
}

func (k *keptLog) Lost() int64 { return k.r.lost }

// Close may be called from any goroutine; it ends a Recv that waits.
func (k *keptLog) Close() error {
	k.r.stop()
	return nil
}

// tail reads all there is now and keeps the last n lines. It keeps only what may still be needed,
// so that memory is bounded by the lines, not by the log.
func (k *keptLog) tail(n int) error {
	follow := k.r.follow
	k.r.follow = false
	defer func() { k.r.follow = follow }()
	var tail []Chunk
	lines := 0 // newlines in tail
	for {
		c, err := k.r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if c.Time.Before(k.since) {
			continue
		}
		tail = append(tail, c)
		lines += bytes.Count(c.Data, []byte{'\n'})
		for len(tail) > 0 {
			head := bytes.Count(tail[0].Data, []byte{'\n'})
			if lines-head <= n { // the first chunk may still hold one of the lines
				break
			}
			lines -= head
			tail = tail[1:]
		}
	}
	k.ahead = lastLines(tail, n)
	return nil
}

// lastLines cuts chunks down to their last n lines; a last line need not end in a newline.
func lastLines(chunks []Chunk, n int) []Chunk {
	if n == 0 || len(chunks) == 0 {
		return nil
	}
	last := chunks[len(chunks)-1].Data
	want := n
	if len(last) > 0 && last[len(last)-1] == '\n' {
		want++ // the newline that ends the last line starts no other
	}
	for i := len(chunks) - 1; i >= 0; i-- {
		d := chunks[i].Data
		for j := len(d) - 1; j >= 0; j-- {
			if d[j] != '\n' {
				continue
			}
			if want--; want == 0 {
				rest := append([]Chunk(nil), chunks[i:]...)
				rest[0].Data = d[j+1:]
				return rest
			}
		}
	}
	return chunks
}
