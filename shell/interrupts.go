package shell

import (
	"bytes"
	"sync"
	"syscall"

	"kxsh/engine"
)

// interruptKey is Ctrl-C.
const interruptKey = 3

// interrupts keeps account of the interrupts and keys that a session passed on to its pVM, so that those which the
// pVM did not live to hear of are known.
type interrupts struct {
	mu      sync.Mutex
	over    bool           // the pVM has ended, and nothing is passed on any more
	telling sync.WaitGroup // signals on their way, each after the one before
	last    chan struct{}  // closed when that has arrived; nil: there was none
	sent    uint32         // bytes of input, modulo 2^32
	keys    []byte         // the last of those that were typed
	typed   bool           // Ctrl-C, at byte typedAt of the input
	typedAt uint32
	sig     bool // SIGINT came
	missed  bool // one that did not reach the pVM
}

// passOn passes a signal on in the background, unless the pVM has ended; tell reports whether the pVM got it.
func (i *interrupts) passOn(sig syscall.Signal, tell func() bool) (passed bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.over {
		return false
	}
	i.sig = i.sig || sig == syscall.SIGINT
	before, done := i.last, make(chan struct{})
	i.last = done
	i.telling.Go(func() {
		defer close(done)
		if before != nil {
			<-before
		}
		if !tell() && sig == syscall.SIGINT {
			i.mu.Lock()
			defer i.mu.Unlock()
			i.missed = true
		}
	})
	return true
}

// passInput notes what is about to be sent.
func (i *interrupts) passInput(data []byte, keys bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if at := bytes.LastIndexByte(data, interruptKey); keys && at >= 0 {
		i.typed, i.typedAt = true, i.sent+uint32(at)
	}
	i.sent += uint32(len(data))
	if keys {
		i.keys = append(i.keys, data...)
		i.keys = i.keys[max(0, len(i.keys)-typeaheadMost):]
	}
}

// interrupted tells whether there was one at all, when the pVM has ended.
func (i *interrupts) interrupted() bool {
	i.mu.Lock()
	i.over = true
	i.mu.Unlock()
	i.telling.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.typed || i.sig
}

// unheard tells whether the pVM ended without having taken the last of them.
func (i *interrupts) unheard(exit *engine.Exit) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.missed || i.sig && exit.Unheard || i.typed && int32(exit.InputTaken-i.typedAt) <= 0
}

// unread is what was typed and the pVM ended without having read; none if that is more than can be known.
func (i *interrupts) unread(exit *engine.Exit) []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.sent - (exit.InputTaken - exit.InputUnread)
	if n > uint32(len(i.keys)) {
		return nil
	}
	return i.keys[len(i.keys)-int(n):]
}
