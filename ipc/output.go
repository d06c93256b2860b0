package ipc

import (
	"encoding/binary"
	"sync/atomic"

	"kxsh/ipc/abi"
)

// Chunk is a piece of console output.
type Chunk struct {
	Stream int // abi.Stdout, abi.Stderr or abi.Kernel
	Data   []byte
	End    uint32 // the ring's index behind it
}

// recordHead is the size of a record's header, in bytes.
const recordHead = 4

// Output reads what a pVM writes to its console. It is for one goroutine.
type Output struct {
	ring *abi.KxRing
	data []byte
	cons uint32 // up to here everything was read
	err  error
}

// NewOutput reads on where an earlier Output of this control area was released last.
func NewOutput(ctl []byte) *Output {
	ring := &control(ctl).Conout
	return &Output{
		ring: ring,
		data: part(ctl, abi.ConoutVa, abi.ConoutSize),
		cons: atomic.LoadUint32(&ring.Cons),
	}
}

// Read returns everything that the pVM has written since the last Read, without waiting: at most
// abi.ConoutSize bytes, in order, neighbours of one stream joined. The chunks belong to the
// caller. Nothing is lost if the engine dies before Release: a new Output reads it again, but for what Resume is
// told.
//
// On ErrCorrupt the chunks before the nonsense are still returned, and every later Read fails.
func (o *Output) Read() ([]Chunk, error) {
	if o.err != nil {
		return nil, o.err
	}
	n := atomic.LoadUint32(&o.ring.Prod) - o.cons
	if n == 0 {
		return nil, nil
	}
	if n > abi.ConoutSize {
		o.err = corrupt("console output holds %d bytes of %d", n, abi.ConoutSize)
		return nil, o.err
	}
	buf := make([]byte, n)
	copyOut(buf, o.data, o.cons)
	var chunks []Chunk
	chunks, o.err = split(buf, o.cons)
	o.cons += n
	return chunks, o.err
}

// Resume reads on behind the chunk that ends at index end, if that is still unread: an engine may have died
// between keeping it and Release. It is for a new Output.
func (o *Output) Resume(end uint32) {
	unread := atomic.LoadUint32(&o.ring.Prod) - o.cons
	if kept := end - o.cons; unread <= abi.ConoutSize && kept <= unread {
		o.cons = end
	}
}

// split takes the records apart, in place, that begin at an index of the ring.
func split(buf []byte, index uint32) ([]Chunk, error) {
	var chunks []Chunk
	end := 0 // of the last chunk in buf; data of the same stream is moved up to it
	for at := 0; at < len(buf); {
		rest := buf[at:]
		if len(rest) < recordHead {
			return chunks, corrupt("console output ends in %d bytes of a record's header", len(rest))
		}
		head := binary.LittleEndian.Uint32(rest)
		stream, n := int(head>>24), int(head&0xffffff)
		if stream < abi.Stdout || stream > abi.Kernel {
			return chunks, corrupt("console output for stream %d", stream)
		}
		if n > abi.RecordMax || n > len(rest)-recordHead {
			return chunks, corrupt("console record of %d bytes, %d published", n, len(rest)-recordHead)
		}
		data := rest[recordHead:][:n:n]
		at += recordHead + n
		if n == 0 {
			continue
		}
		if k := len(chunks); k > 0 && chunks[k-1].Stream == stream {
			start := end - len(chunks[k-1].Data)
			end += copy(buf[end:at], data)
			chunks[k-1].Data = buf[start:end:end]
		} else {
			chunks = append(chunks, Chunk{Stream: stream, Data: data})
			end = at
		}
		chunks[len(chunks)-1].End = index + uint32(at)
	}
	return chunks, nil
}

// Release gives the room of everything that was read back to the pVM.
func (o *Output) Release() (notify bool) {
	atomic.StoreUint32(&o.ring.Cons, o.cons)
	return claim(&o.ring.ProdWaits)
}

// Sleep asks the pVM for an event when it writes. It returns false if there is something to read
// already.
func (o *Output) Sleep() bool {
	atomic.StoreUint32(&o.ring.ConsWaits, 1)
	if o.err != nil || atomic.LoadUint32(&o.ring.Prod) == o.cons {
		return true
	}
	atomic.StoreUint32(&o.ring.ConsWaits, 0)
	return false
}
