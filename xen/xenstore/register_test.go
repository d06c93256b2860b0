package xenstore

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"kxsh/xen"
)

// uuid makes one of ours, or with 'x' of others.
func uuid(owner byte, n byte) (u xen.UUID) {
	u[0], u[15] = owner, n
	return u
}

func mine(u xen.UUID) bool { return u[0] == 'k' }

// host is what lives, for sweep.
type host struct {
	mu    sync.Mutex
	alive map[xen.DomID]xen.UUID
}

func (h *host) list() (map[xen.DomID]xen.UUID, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.alive), nil
}

func testRegister(t *testing.T, h *host, dial func() (*conn, error)) *Register {
	r := newRegister(mine, h.list)
	r.retry = 200 * time.Millisecond
	go r.run(dial)
	t.Cleanup(func() {
		select {
		case <-r.stop:
		default:
			r.Close()
		}
	})
	return r
}

func entryOf(id xen.DomID, u xen.UUID, name string) map[string]string {
	dom, vm := domainPath(id), vmPath(u)
	return map[string]string{
		vm + "/uuid": u.String(), vm + "/name": name,
		dom + "/vm": vm, dom + "/name": name, dom + "/domid": strings.TrimPrefix(dom, "/local/domain/"),
	}
}

func union(all ...map[string]string) map[string]string {
	u := map[string]string{}
	for _, m := range all {
		maps.Copy(u, m)
	}
	return u
}

// facts asks until all are known: a listing does not wait for long.
func facts(t *testing.T, r *Register, of map[xen.DomID]xen.UUID) map[xen.DomID]Facts {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		f := r.Facts(of)
		if len(f) == len(of) {
			return f
		}
		if time.Now().After(end) {
			t.Fatalf("only %v is known", f)
		}
		time.Sleep(time.Millisecond)
	}
}

// quickest is the least that something takes, of some times: what waits does so each time, a busy machine only sometimes.
func quickest(do func()) time.Duration {
	least := time.Hour
	for range 10 {
		begin := time.Now()
		do()
		least = min(least, time.Since(begin))
	}
	return least
}

// What is put is there, what is dropped is not, and what is others' stays.
func TestPutDrop(t *testing.T) {
	s, h := newStored(), &host{}
	others := map[string]string{"/local/domain/0/name": "Domain-0", "/local/domain/9/name": "theirs", "/local/domain/9/vm": vmPath(uuid('x', 9))}
	maps.Copy(s.tree, others)
	r := testRegister(t, h, s.dial)
	r.Put(Entry{4, uuid('k', 4), "web", false})
	r.Put(Entry{5, uuid('k', 5), "a/../b\n\x00é", false})
	s.becomes(t, union(others, entryOf(4, uuid('k', 4), "web"), entryOf(5, uuid('k', 5), "a_.._b___")))
	r.Drop(4, uuid('k', 4))
	s.becomes(t, union(others, entryOf(5, uuid('k', 5), "a_.._b___")))
	// The number came round: theirs is not touched, ours takes over what somebody left.
	s.set("/local/domain/5/vm", vmPath(uuid('x', 5)), "/local/domain/5/name", "new")
	r.Drop(5, uuid('k', 5))
	s.set("/local/domain/6/old", "x")
	r.Put(Entry{6, uuid('k', 6), "six", false})
	fifth := map[string]string{"/local/domain/5/vm": vmPath(uuid('x', 5)), "/local/domain/5/name": "new", "/local/domain/5/domid": "5"}
	s.becomes(t, union(others, fifth, entryOf(6, uuid('k', 6), "six")))
	// Close does not leave a change behind.
	r.Drop(6, uuid('k', 6))
	r.Close()
	if got, want := s.content(), union(others, fifth); !maps.Equal(got, want) {
		t.Errorf("after Close: %v\nwant %v", got, want)
	}
}

// A domain that gets another name has that one, and one that ends before it is written leaves nothing of the first.
func TestRename(t *testing.T) {
	s := newStored()
	r := testRegister(t, &host{}, s.dial)
	r.Put(Entry{4, uuid('k', 4), "blank", false})
	r.Put(Entry{5, uuid('k', 5), "blank", false})
	s.becomes(t, union(entryOf(4, uuid('k', 4), "blank"), entryOf(5, uuid('k', 5), "blank")))
	r.Put(Entry{4, uuid('k', 4), "web", false})
	r.Put(Entry{5, uuid('k', 5), "short", false})
	r.Drop(5, uuid('k', 5))
	s.becomes(t, entryOf(4, uuid('k', 4), "web"))
	// Nor one that has the UUID of another, which has just gone.
	r.Put(Entry{6, uuid('k', 6), "family", false})
	s.becomes(t, union(entryOf(4, uuid('k', 4), "web"), entryOf(6, uuid('k', 6), "family")))
	r.Drop(6, uuid('k', 6))
	r.Put(Entry{7, uuid('k', 6), "family", false})
	r.Drop(4, uuid('k', 4))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got := s.content()
		_, old := got[domainPath(6)+"/name"]
		if !old && got[domainPath(7)+"/name"] == "family" && got[domainPath(4)+"/name"] == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v", got)
		}
	}
	r.Drop(7, uuid('k', 6))
	s.becomes(t, map[string]string{})
}

// Close waits for a store that is slow, as long as it goes on: of a hundred domains that end with the engine none is left there.
func TestCloseSlowly(t *testing.T) {
	s := newStored()
	r := testRegister(t, &host{}, s.dial)
	all := map[string]string{}
	for i := range byte(100) {
		r.Put(Entry{xen.DomID(10 + i), uuid('k', 10+i), "one", false})
		maps.Copy(all, entryOf(xen.DomID(10+i), uuid('k', 10+i), "one"))
	}
	s.becomes(t, all)
	s.with(func() { s.slow = 4 * time.Millisecond })
	for i := range byte(100) {
		r.Drop(xen.DomID(10+i), uuid('k', 10+i))
	}
	begin := time.Now()
	r.Close()
	if took := time.Since(begin); took < patience {
		t.Fatalf("it takes no more than %v", took)
	}
	if left := s.content(); len(left) > 0 {
		t.Errorf("%d left", len(left))
	}
}

// A pVM that ends at once costs xenstored nothing.
func TestShortLived(t *testing.T) {
	s := newStored()
	r := testRegister(t, &host{}, s.dial)
	r.Put(Entry{1, uuid('k', 1), "first", false})
	s.becomes(t, entryOf(1, uuid('k', 1), "first"))
	var before int
	s.with(func() { before = s.requests })
	for i := range byte(100) {
		r.Put(Entry{xen.DomID(10 + i), uuid('k', 10+i), "short", false})
		r.Drop(xen.DomID(10+i), uuid('k', 10+i))
	}
	time.Sleep(3 * settle)
	s.with(func() {
		if n := s.requests - before; n > 200 { // a busy machine may settle between two of them, now and then
			t.Errorf("%d requests", n)
		}
	})
}

// A domain that ends before anything of it was written is removed nonetheless if an earlier engine has written it, or its device is there.
func TestKnown(t *testing.T) {
	s := newStored()
	maps.Copy(s.tree, entryOf(1, uuid('k', 1), "adopted"))
	maps.Copy(s.tree, entryOf(2, uuid('k', 2), "dead"))
	r := testRegister(t, &host{alive: map[xen.DomID]xen.UUID{1: uuid('k', 1)}}, s.dial)
	s.becomes(t, entryOf(1, uuid('k', 1), "adopted")) // it is swept
	r.Put(Entry{ID: 1, UUID: uuid('k', 1), Name: "adopted", Known: true})
	r.Drop(1, uuid('k', 1))
	s.becomes(t, map[string]string{})
}

// An engine removes what one before left of domains that have ended, and only that.
func TestSweep(t *testing.T) {
	s := newStored()
	living, theirs := entryOf(1, uuid('k', 1), "lives"), entryOf(3, uuid('x', 3), "theirs")
	for _, m := range []map[string]string{living, entryOf(2, uuid('k', 2), "dead"), theirs, entryOf(4, uuid('k', 4), "dead too")} {
		maps.Copy(s.tree, m)
	}
	h := &host{alive: map[xen.DomID]xen.UUID{1: uuid('k', 1), 4: uuid('x', 44)}}
	testRegister(t, h, s.dial)
	s.becomes(t, union(living, theirs))
}

// Without xenstored nothing waits, and when it comes, or comes back, it is told everything.
func TestComesLater(t *testing.T) {
	s := newStored()
	var mu sync.Mutex
	up := false
	h := &host{alive: map[xen.DomID]xen.UUID{}}
	r := testRegister(t, h, func() (*conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if !up {
			return nil, errors.New("not there")
		}
		return s.dial()
	})
	time.Sleep(20 * time.Millisecond)
	took := quickest(func() {
		r.Put(Entry{1, uuid('k', 1), "one", false})
		for i := range byte(200) { // does not pile up
			r.Put(Entry{2, uuid('k', i), "short", false})
			r.Drop(2, uuid('k', i))
		}
		if f := r.Facts(map[xen.DomID]xen.UUID{7: uuid('x', 7)}); len(f) != 0 {
			t.Errorf("facts from nowhere: %v", f)
		}
	})
	if took > askWait/2 {
		t.Errorf("without xenstored: %v", took)
	}
	r.mu.Lock()
	if len(r.dirty) != 0 || len(r.want) != 0 {
		t.Errorf("%d changes and %d questions wait", len(r.dirty), len(r.want))
	}
	r.mu.Unlock()
	mu.Lock()
	up = true
	mu.Unlock()
	s.becomes(t, entryOf(1, uuid('k', 1), "one"))
}

// One that hangs holds nobody up.
func TestHangs(t *testing.T) {
	s := newStored()
	r := testRegister(t, &host{}, s.dial)
	s.set("/local/domain/7/name", "seven")
	of := map[xen.DomID]xen.UUID{7: uuid('x', 7)}
	if f := facts(t, r, of); f[7].Name != "seven" {
		t.Fatalf("%v", f)
	}
	s.with(func() { s.hang = true })
	took := quickest(func() {
		r.Put(Entry{1, uuid('k', 1), "one", false})
		r.Drop(1, uuid('k', 1))
		r.Put(Entry{2, uuid('k', 2), "two", false})
		if f := r.Facts(of); f[7].Name != "seven" {
			t.Errorf("what was known: %v", f)
		}
	})
	if took > askWait/2 {
		t.Errorf("a hung xenstored holds up for %v", took)
	}
	begin := time.Now()
	for range 20 {
		r.Facts(map[xen.DomID]xen.UUID{8: uuid('x', 8)})
	}
	if took := time.Since(begin); took > 10*patience { // 20 of them, if each waited alone
		t.Errorf("20 listings took %v", took)
	}
	time.Sleep(patience)
	if took := quickest(func() { r.Facts(map[xen.DomID]xen.UUID{9: uuid('x', 9)}) }); took > askWait/2 {
		t.Errorf("known to hang, and waited for %v", took)
	}
	begin = time.Now()
	r.Close()
	if took := time.Since(begin); took > 10*patience {
		t.Errorf("Close took %v", took)
	}
}

// A store that takes nothing is given up, not asked for ever.
func TestRefused(t *testing.T) {
	s := newStored()
	s.refuse[opWrite] = "ENOSPC"
	r := testRegister(t, &host{}, s.dial)
	r.Put(Entry{1, uuid('k', 1), "one", false})
	r.Put(Entry{2, uuid('k', 2), "two", false})
	begin := time.Now()
	time.Sleep(10 * r.retry)
	s.with(func() {
		if s.requests > 100+20*int(time.Since(begin)/r.retry) {
			t.Errorf("%d requests", s.requests)
		}
		delete(s.refuse, opWrite)
	})
	s.becomes(t, union(entryOf(1, uuid('k', 1), "one"), entryOf(2, uuid('k', 2), "two")))
	s.with(func() {
		if len(s.tx) != 0 {
			t.Errorf("%d transactions open", len(s.tx))
		}
	})
}

// Facts are asked for once, with the start time, and forgotten with their domain.
func TestFacts(t *testing.T) {
	s := newStored()
	r := testRegister(t, &host{}, s.dial)
	a, b := uuid('x', 1), uuid('x', 2)
	s.set("/local/domain/1/name", "web", vmPath(a)+"/start_time", "1700000000.25",
		"/local/domain/2/name", strings.Repeat("n", 500)+"\xff", vmPath(b)+"/start_time", "soon")
	f := facts(t, r, map[xen.DomID]xen.UUID{1: a, 2: b, 3: uuid('x', 3)})
	if f[1] != (Facts{"web", time.Unix(1700000000, 0)}) || f[2] != (Facts{Name: strings.Repeat("n", nameMax)}) || f[3] != (Facts{}) {
		t.Errorf("%+v", f)
	}
	var before int
	s.with(func() { before = s.requests })
	begin := time.Now()
	for range 1000 {
		if f := r.Facts(map[xen.DomID]xen.UUID{1: a, 2: b}); f[1].Name != "web" {
			t.Fatalf("%+v", f)
		}
	}
	s.with(func() {
		if s.requests != before {
			t.Errorf("%d requests for what is known", s.requests-before)
		}
	})
	t.Logf("1000 listings in %v", time.Since(begin))
	// Another domain of the same number is another domain.
	s.set("/local/domain/1/name", "other")
	if f := facts(t, r, map[xen.DomID]xen.UUID{1: uuid('x', 9)}); f[1].Name != "other" {
		t.Errorf("%+v", f)
	}
	r.mu.Lock()
	if len(r.others) != 1 {
		t.Errorf("%d are remembered", len(r.others))
	}
	r.mu.Unlock()
}

func TestUUID(t *testing.T) {
	u := xen.UUID{0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	const text = "deadbeef-0102-0304-0506-0708090a0b0c"
	if u.String() != text {
		t.Error(u.String())
	}
	if got, ok := parseUUID(text); !ok || got != u {
		t.Errorf("%v, %v", got, ok)
	}
	for _, s := range []string{"", "deadbeef", strings.ToUpper(text), text + "0", strings.Replace(text, "d", "g", 1), strings.Replace(text, "-", "", 1) + "-"} {
		if _, ok := parseUUID(s); ok {
			t.Errorf("%q is taken", s)
		}
	}
}
