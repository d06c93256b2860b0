package shell

import (
	"io"
	"sync"
)

// typeaheadMost is how much of what was typed for a pVM is kept, in bytes: more than its console and its terminal hold.
const typeaheadMost = 16 << 10

// typeahead is what was typed for a pVM that ended without having read it. Whoever reads the session's terminal next, the prompt or another pVM, has it
// first, as a process's terminal would keep it for them.
type typeahead struct {
	mu   sync.Mutex
	keys []byte
}

// giveBack puts in front what has been taken.
func (a *typeahead) giveBack(keys []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = append(append([]byte(nil), keys...), a.keys...)
}

func (a *typeahead) take(p []byte) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := copy(p, a.keys)
	a.keys = a.keys[n:]
	return n
}

// before is r with it in front.
func (a *typeahead) before(r io.Reader) io.Reader { return &aheadReader{a, r} }

type aheadReader struct {
	ahead *typeahead
	r     io.Reader
}

func (r *aheadReader) Read(p []byte) (int, error) {
	if n := r.ahead.take(p); n > 0 {
		return n, nil
	}
	return r.r.Read(p)
}
