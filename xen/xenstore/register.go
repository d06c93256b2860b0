package xenstore

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kxsh/xen"
)

const (
	// settle is how long a change of our domains waits for others to go with it: it is never urgent, and
	// a pVM that lives shorter costs xenstored nothing.
	settle = 50 * time.Millisecond
	// retryEvery is how often a xenstored that was not there is looked for.
	retryEvery = 10 * time.Second
	// askWait is the most that a listing waits for names that it meets for the first time.
	askWait = 50 * time.Millisecond
	// fresh is how long a name of another's domain is believed before it is asked for anew, and
	// freshNone the same of a domain that has none: its maker may be about to give it one.
	fresh, freshNone = 10 * time.Second, time.Second
	// nameMax is how much of a name is written or believed, in bytes.
	nameMax = 63
)

// Entry is a domain of ours.
type Entry struct {
	ID   xen.DomID
	UUID xen.UUID
	Name string
	// Known: xenstore may have something of it already, from an earlier engine or for its network device.
	Known bool
}

// Facts is what xenstore knows about a domain of others.
type Facts struct {
	Name    string    // "" if it has none
	Started time.Time // zero if nobody wrote it down
}

// Register keeps our domains in xenstore as xl looks for them, and knows the names of others'. All
// traffic is its own goroutine's: no method waits for xenstored, except Facts and Close for a moment.
type Register struct {
	ours  func(xen.UUID) bool                    // made by an engine with our key
	alive func() (map[xen.DomID]xen.UUID, error) // domains of such engines

	changed, asked chan struct{} // of capacity 1
	stop, done     chan struct{}

	retry   time.Duration
	conn    *conn         // run's alone
	brought atomic.Uint64 // entries that xenstore has as they should be, since the beginning

	mu      sync.Mutex
	entries map[xen.DomID]*entry
	dirty   map[domain]struct{} // entries that may not be as they should
	all     bool                // everything may not be
	others  map[xen.DomID]*other
	want    map[xen.DomID]xen.UUID // to ask for
	hope    bool                   // connected, or not yet known not to be
	told    chan struct{}          // closed and replaced when want has been asked for, or hope changed
}

// domain tells domains apart: a number is had again, and so is the UUID of one that holds a family's pages.
type domain struct {
	id   xen.DomID
	uuid xen.UUID
}

type entry struct {
	Entry
	written bool // perhaps, at least in part
}

type other struct {
	uuid xen.UUID
	at   time.Time
	Facts
}

// Open begins to look for xenstored. ours tells our domains by their UUIDs, those of earlier engines
// included, and alive lists those that live: entries of others of ours are removed. apart tells whether
// xenstored lives in a domain of its own: through the kernel's device it is reached only there, for a request
// to one that does not run stays in the kernel for ever.
func Open(ours func(xen.UUID) bool, alive func() (map[xen.DomID]xen.UUID, error), apart func() bool) *Register {
	r := newRegister(ours, alive)
	go r.run(func() (*conn, error) {
		c, err := dialSocket(patience)
		if err != nil && apart() {
			c, err = dialDevice()
		}
		return c, err
	})
	return r
}

func newRegister(ours func(xen.UUID) bool, alive func() (map[xen.DomID]xen.UUID, error)) *Register {
	return &Register{
		ours: ours, alive: alive, changed: make(chan struct{}, 1), asked: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}),
		entries: map[xen.DomID]*entry{}, dirty: map[domain]struct{}{}, all: true,
		others: map[xen.DomID]*other{}, want: map[xen.DomID]xen.UUID{}, hope: true, told: make(chan struct{}),
		retry: retryEvery,
	}
}

// Put has a domain of ours written, or gives it another name.
func (r *Register) Put(e Entry) {
	e.Name = cleanName(e.Name)
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.entries[e.ID]
	r.entries[e.ID] = &entry{Entry: e, written: e.Known || was != nil && was.UUID == e.UUID && was.written}
	r.change(e.ID, e.UUID)
}

// Drop has a domain of ours removed.
func (r *Register) Drop(id xen.DomID, u xen.UUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.entries[id]; e != nil && e.UUID == u {
		delete(r.entries, id)
		if !e.written { // nobody has heard of it
			delete(r.dirty, domain{id, u})
			return
		}
	}
	r.change(id, u)
}

// change notes that an entry may not be as it should; r.mu is held. Without xenstored that is said of
// all of them already.
func (r *Register) change(id xen.DomID, u xen.UUID) {
	if r.hope {
		r.dirty[domain{id, u}] = struct{}{}
		poke(r.changed)
	}
}

// Facts returns what is known about others' domains. What is not known yet is waited for, for a moment.
func (r *Register) Facts(of map[xen.DomID]xen.UUID) map[xen.DomID]Facts {
	facts, told := r.known(of)
	for late := time.After(askWait); told != nil; {
		select {
		case <-told:
			facts, told = r.known(of)
		case <-late:
			return facts
		}
	}
	return facts
}

// known returns what is known, and has asked for what is not or not fresh. The channel, if any, is
// closed when there is more.
func (r *Register) known(of map[xen.DomID]xen.UUID) (map[xen.DomID]Facts, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var told <-chan struct{}
	facts := make(map[xen.DomID]Facts, len(of))
	now := time.Now()
	for id, u := range of {
		o := r.others[id]
		if o == nil || o.uuid != u {
			r.want[id], told = u, r.told
			continue
		}
		facts[id] = o.Facts
		if age := now.Sub(o.at); age > fresh || o.Name == "" && age > freshNone {
			r.want[id] = u
		}
	}
	for id := range r.others {
		if _, ok := of[id]; !ok {
			delete(r.others, id)
		}
	}
	if !r.hope {
		clear(r.want)
		return facts, nil
	}
	if len(r.want) > 0 {
		poke(r.asked)
	}
	return facts, told
}

// Close writes what waits to be written, as long as that goes on.
func (r *Register) Close() {
	before := r.brought.Load()
	close(r.stop)
	for {
		select {
		case <-r.done:
			return
		case <-time.After(patience):
		}
		now := r.brought.Load()
		if now == before {
			return
		}
		before = now
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run does what the others ask for, until stop.
func (r *Register) run(dial func() (*conn, error)) {
	defer close(r.done)
	var due, retry <-chan time.Time
	try := func(f func() error) {
		if r.conn == nil {
			return
		}
		if f() != nil {
			r.lose()
			retry = time.After(r.retry)
		}
	}
	connect := func() {
		var err error
		if r.conn, err = dial(); err != nil {
			r.lose()
			retry = time.After(r.retry)
			return
		}
		r.setHope(true)
		try(r.flush)
	}
	connect()
	for {
		select {
		case <-r.asked:
			try(r.ask)
		case <-r.changed:
			if due == nil {
				due = time.After(settle)
			}
		case <-due:
			due = nil
			try(r.flush)
		case <-retry:
			retry = nil
			connect()
		case <-r.stop:
			try(r.flush)
			if r.conn != nil {
				r.conn.close()
			}
			return
		}
	}
}

// lose gives up the connection. The next one begins with everything.
func (r *Register) lose() {
	if r.conn != nil {
		r.conn.close()
		r.conn = nil
	}
	r.mu.Lock()
	r.all = true
	clear(r.dirty)
	clear(r.others)
	clear(r.want)
	r.mu.Unlock()
	r.setHope(false)
}

func (r *Register) setHope(hope bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hope = hope
	close(r.told)
	r.told = make(chan struct{})
}

// flush makes xenstore have what it should of our domains.
func (r *Register) flush() error {
	r.mu.Lock()
	all := r.all
	r.mu.Unlock()
	if all {
		if err := r.sweep(); err != nil {
			return err
		}
	}
	for {
		r.mu.Lock()
		if all {
			all, r.all = false, false
			for id, e := range r.entries {
				r.dirty[domain{id, e.UUID}] = struct{}{}
			}
		}
		var put *Entry
		var d domain
		for d = range r.dirty {
			if e := r.entries[d.id]; e != nil && e.UUID == d.uuid {
				e.written = true
				put = &e.Entry
			}
			break
		}
		none := len(r.dirty) == 0
		delete(r.dirty, d)
		r.mu.Unlock()
		if none {
			return nil
		}
		var err error
		if put != nil {
			err = r.conn.put(put)
		} else {
			err = r.conn.drop(d.id, d.uuid)
		}
		if err != nil {
			return err
		}
		r.brought.Add(1)
	}
}

func domainPath(id xen.DomID) string { return "/local/domain/" + strconv.Itoa(int(id)) }
func vmPath(u xen.UUID) string       { return "/vm/" + u.String() }

// put writes what libxl reads to name a domain.
func (c *conn) put(e *Entry) error {
	dom, vm := domainPath(e.ID), vmPath(e.UUID)
	return c.transaction(func(tx uint32) error {
		whose, err := c.read(tx, dom+"/vm")
		if err == nil && whose[0] != vm { // of a domain that had the number before
			err = c.change(tx, remove(dom), remove(backPath(e.ID)))
		}
		if err != nil {
			return err
		}
		return c.change(tx,
			set(vm+"/uuid", e.UUID.String()), set(vm+"/name", e.Name),
			set(dom+"/vm", vm), set(dom+"/domid", strconv.Itoa(int(e.ID))), set(dom+"/name", e.Name),
		)
	})
}

// drop removes that, unless the number is another domain's by now.
func (c *conn) drop(id xen.DomID, u xen.UUID) error {
	dom, vm := domainPath(id), vmPath(u)
	return c.transaction(func(tx uint32) error {
		whose, err := c.read(tx, dom+"/vm")
		if err != nil {
			return err
		}
		if whose[0] == vm {
			return c.change(tx, remove(dom), remove(backPath(id)), remove(vm))
		}
		return c.change(tx, remove(vm))
	})
}

// sweep removes what earlier engines left of domains that ended when no engine was there.
func (r *Register) sweep() error {
	alive, err := r.alive() // first: what is made meanwhile is not written yet
	if err != nil {
		return err
	}
	numbers, err := r.conn.list("/local/domain")
	if err != nil {
		return err
	}
	var ids []xen.DomID
	var paths []string
	for _, s := range numbers {
		if n, err := strconv.ParseUint(s, 10, 32); err == nil && n > 0 && n <= uint64(xen.MaxDomID) {
			ids = append(ids, xen.DomID(n))
			paths = append(paths, domainPath(xen.DomID(n))+"/vm")
		}
	}
	vms, err := r.conn.read(0, paths...)
	if err != nil {
		return err
	}
	for i, vm := range vms {
		u, ok := parseUUID(strings.TrimPrefix(vm, "/vm/"))
		if ok && r.ours(u) && alive[ids[i]] != u {
			if err := r.conn.drop(ids[i], u); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask reads the names of others' domains.
func (r *Register) ask() error {
	r.mu.Lock()
	var ids []xen.DomID
	var uuids []xen.UUID
	var paths []string
	for id, u := range r.want {
		ids, uuids = append(ids, id), append(uuids, u)
		paths = append(paths, domainPath(id)+"/name", vmPath(u)+"/start_time")
	}
	clear(r.want)
	r.mu.Unlock()
	values, err := r.conn.read(0, paths...)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, id := range ids {
		name, started := values[2*i], values[2*i+1]
		r.others[id] = &other{uuid: uuids[i], at: time.Now(), Facts: Facts{believed(name), startTime(started)}}
	}
	close(r.told)
	r.told = make(chan struct{})
	return nil
}

// believed bounds a name that somebody else gave.
func believed(name string) string {
	return strings.ToValidUTF8(name[:min(len(name), nameMax)], "?")
}

// cleanName keeps of a name what cannot be mistaken in a listing or a command line of others.
func cleanName(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("_.+-", c):
			return c
		}
		return '_'
	}, name[:min(len(name), nameMax)])
}

// startTime reads libxl's seconds.hundredths since 1970.
func startTime(s string) time.Time {
	whole, _, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n <= 0 || n > 1<<40 {
		return time.Time{}
	}
	return time.Unix(n, 0)
}

// parseUUID reads what xen.UUID.String writes.
func parseUUID(s string) (u xen.UUID, ok bool) {
	hex := strings.ReplaceAll(s, "-", "")
	if len(hex) != 2*len(u) {
		return u, false
	}
	for i := range u {
		n, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			return u, false
		}
		u[i] = byte(n)
	}
	return u, u.String() == s
}
