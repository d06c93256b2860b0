package netswitch

import (
	"math/bits"
	"sync"
	"unsafe"
)

// queue is bytes that wait, the oldest first. Its memory is a block of a power of two, which goes from queue to queue: one that is filled and emptied for each request leaves
// nothing to the garbage collector.
type queue struct {
	p  []byte
	at int // those before are no longer there
}

const leastBlock = 12 // bits: leastRead

// blocks are those of 1<<n bytes that nobody has.
var blocks [32]sync.Pool

func newBlock(size int) []byte {
	n := max(bits.Len(uint(size-1)), leastBlock)
	if p, ok := blocks[n].Get().(*byte); ok {
		return unsafe.Slice(p, 1<<n)[:0]
	}
	return make([]byte, 0, 1<<n)
}

func freeBlock(p []byte) {
	if cap(p) > 0 {
		blocks[bits.Len(uint(cap(p)-1))].Put(unsafe.SliceData(p))
	}
}

func (q *queue) bytes() []byte { return q.p[q.at:] }
func (q *queue) len() int      { return len(q.p) - q.at }

// room is where n more bytes can be put, which took then counts.
func (q *queue) room(n int) []byte {
	switch {
	case cap(q.p)-len(q.p) >= n:
	case q.at >= q.len() && cap(q.p) >= q.len()+n: // to move what is left costs no more than what is gone did
		q.p, q.at = q.p[:copy(q.p, q.bytes())], 0
	default:
		bigger := append(newBlock(q.len()+max(n, q.len())), q.bytes()...)
		freeBlock(q.p)
		q.p, q.at = bigger, 0
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
	if q.at = 0; cap(q.p) > leastRead {
		freeBlock(q.p)
		q.p = nil
	}
	q.p = q.p[:0]
}
