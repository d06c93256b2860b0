package netswitch

// queue is bytes that wait, the oldest first.
type queue struct {
	p  []byte
	at int // those before are no longer there
}

func (q *queue) bytes() []byte { return q.p[q.at:] }
func (q *queue) len() int      { return len(q.p) - q.at }

// room is where n more bytes can be put, which took then counts.
func (q *queue) room(n int) []byte {
	if cap(q.p)-len(q.p) < n {
		q.p = append(make([]byte, 0, q.len()+max(n, q.len())), q.bytes()...)
		q.at = 0
	}
	return q.p[len(q.p) : len(q.p)+n]
}

func (q *queue) took(n int) { q.p = q.p[:len(q.p)+n] }

func (q *queue) add(p []byte) { q.took(copy(q.room(len(p)), p)) }

// drop forgets the first n bytes. An empty queue keeps little memory.
func (q *queue) drop(n int) {
	q.at += n
	if q.at < len(q.p) {
		return
	}
	q.p, q.at = q.p[:0], 0
	if cap(q.p) > leastRead {
		q.p = nil
	}
}
