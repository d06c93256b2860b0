package xenstore

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stored is as much of xenstored as the tests need, on one end of a pipe.
type stored struct {
	mu         sync.Mutex
	tree       map[string]string
	tx         map[uint32]map[string]string
	nextTx     uint32
	generation int
	partMax    int               // bytes of a list's part
	conflicts  int               // so many transactions fail with EAGAIN
	hang       bool              // nothing is answered any more
	slow       time.Duration     // what an answer takes
	requests   int               // how many there were
	refuse     map[uint32]string // errors by operation
}

func newStored() *stored {
	return &stored{tree: map[string]string{}, tx: map[uint32]map[string]string{}, partMax: payloadMax, refuse: map[uint32]string{}}
}

// dial connects to it.
func (s *stored) dial() (*conn, error) {
	hang := false
	s.with(func() { hang = s.hang })
	if hang {
		return nil, fmt.Errorf("it hangs")
	}
	here, there := net.Pipe()
	// A pipe has no buffer, a socket has.
	replies := make(chan []byte, 10000)
	go func() {
		for b := range replies {
			if _, err := there.Write(b); err != nil {
				return
			}
		}
	}()
	go func() {
		defer close(replies)
		for {
			m, err := readMessage(there)
			if err != nil {
				return
			}
			if b := s.answer(&m); b != nil {
				replies <- b
			}
		}
	}()
	return greet(newConn(here))
}

func (s *stored) answer(m *message) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	time.Sleep(s.slow)
	if s.hang {
		return nil
	}
	body, errno := s.do(m)
	if e := s.refuse[m.op]; e != "" {
		errno = e
	}
	rep := message{op: m.op, req: m.req, tx: m.tx, body: []byte(body)}
	if errno != "" {
		rep.op, rep.body = opError, []byte(errno+"\x00")
	}
	b, err := rep.encode()
	if err != nil {
		panic(err)
	}
	return b
}

func (s *stored) do(m *message) (body, errno string) {
	args := strings.Split(string(m.body), "\x00")
	tree := s.tree
	if m.tx != 0 {
		if tree = s.tx[m.tx]; tree == nil {
			return "", "ENOENT"
		}
	}
	switch m.op {
	case opDomainPath:
		return "/local/domain/" + args[0] + "\x00", ""
	case opRead:
		v, ok := tree[args[0]]
		if !ok {
			return "", "ENOENT"
		}
		return v, ""
	case opWrite:
		tree[args[0]] = args[1]
	case opRemove:
		found := false
		for p := range maps.Clone(tree) {
			if p == args[0] || strings.HasPrefix(p, args[0]+"/") {
				delete(tree, p)
				found = true
			}
		}
		if !found {
			return "", "ENOENT"
		}
	case opTransactionStart:
		s.nextTx++
		s.tx[s.nextTx] = maps.Clone(s.tree)
		return strconv.Itoa(int(s.nextTx)) + "\x00", ""
	case opTransactionEnd:
		delete(s.tx, m.tx)
		if args[0] != "T" {
			break
		}
		if s.conflicts > 0 {
			s.conflicts--
			return "", "EAGAIN"
		}
		s.tree = tree
		s.generation++
	case opDirectoryPart:
		return s.part(tree, args[0], args[1])
	default:
		return "", "ENOSYS"
	}
	if m.tx == 0 {
		s.generation++
	}
	return "OK\x00", ""
}

// part is XS_DIRECTORY_PART as docs/misc/xenstore.txt tells it.
func (s *stored) part(tree map[string]string, path, from string) (body, errno string) {
	kids := map[string]bool{}
	for p := range tree {
		if rest, ok := strings.CutPrefix(p, path+"/"); ok {
			kid, _, _ := strings.Cut(rest, "/")
			kids[kid] = true
		}
	}
	if len(kids) == 0 {
		return "", "ENOENT"
	}
	all := ""
	for _, kid := range slices.Sorted(maps.Keys(kids)) {
		all += kid + "\x00"
	}
	off, _ := strconv.Atoi(from)
	head := strconv.Itoa(s.generation) + "\x00"
	if off >= len(all) {
		return head + "\x00", ""
	}
	n := 0
	for off+n < len(all) {
		kid := strings.IndexByte(all[off+n:], 0) + 1
		if n+kid > s.partMax-len(head)-1 {
			break
		}
		n += kid
	}
	if off+n == len(all) {
		return head + all[off:] + "\x00", ""
	}
	return head + all[off:off+n], ""
}

func (s *stored) set(pairs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 0; i < len(pairs); i += 2 {
		s.tree[pairs[i]] = pairs[i+1]
	}
	s.generation++
}

func (s *stored) content() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.tree)
}

func (s *stored) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// becomes waits until the tree is want.
func (s *stored) becomes(t *testing.T, want map[string]string) {
	t.Helper()
	var got map[string]string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got = s.content(); maps.Equal(got, want) {
			return
		}
	}
	t.Fatalf("xenstore has %v\nwant %v", got, want)
}
