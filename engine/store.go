package engine

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/xen"
)

// store is what outlives an engine: one record a pVM, and the newest events. It is a bbolt file
// written without fsync: the page cache survives a killed engine, and after a power cut no pVM is
// left to remember, so a store from before the host's last boot is only good for its history and a
// damaged one is set aside. What is new goes to a journal, and into the file behind, many changes at a time.
type store struct {
	db  *bolt.DB
	log *slog.Logger

	mu      sync.Mutex
	journal *journal
	pending changes

	flushing sync.Mutex // held by who brings pending into db
	dirty    chan struct{}
	closed   chan struct{}
	idle     sync.WaitGroup
}

// changes are what the journal has and the file does not: records by PID, nil for one that goes; events, and the number of the oldest that is
// to be kept.
type changes struct {
	records map[int][]byte
	events  []Event
	oldest  uint64
}

var (
	bucketPVMs   = []byte("pvms")
	bucketEvents = []byte("events")
	bucketMeta   = []byte("meta")
	keyBoot      = []byte("boot")
	keyFormat    = []byte("format")
	keyJournal   = []byte("journal") // number of the last line that is in the file
)

const storeFormat = "1"

// record is one pVM as the store keeps it.
type record struct {
	Process
	Restarts  int `json:"restarts"`
	RestartOf int `json:"restart_of,omitempty"`
	Request   RunRequest
	Steps     []Step
	ImageSHA  string       `json:"image_sha256"`
	Seal      *Seal        `json:"seal,omitempty"` // nil: no signature was asked for
	Libraries []LibraryUse `json:"libraries,omitempty"`
	// Placeholder is the image of a recycled pVM; Process.Image is its application, the first of its libraries. nil: it is none.
	Placeholder *LibraryFile `json:"placeholder,omitempty"`
	Loader      elf.Loader   `json:"loader,omitempty"`   // who may have its libraries loaded, by its image's word; 0: anybody
	Dynamic     xen.Range    `json:"dynamic,omitzero"`   // its dynamic segment; zero: it has none
	Kept        []xen.Range  `json:"kept,omitempty"`     // of it, where libraries were of which something is used still
	Updating    *updating    `json:"updating,omitempty"` // a library that is being replaced
	Loading     *loading     `json:"loading,omitempty"`  // libraries that come
	Token       []byte       `json:"token,omitempty"`    // for Hypervisor.Adopt; empty when it has ended
	Log         string       `json:"log"`                // folder of the console log, under the state folder
	Stopped     bool         `json:"stopped"`            // a user ended it: no restart
	Crash       string       `json:"crash,omitempty"`
	Requested   time.Time
	MainAfter   time.Duration

	// Of a child: the number of the parent's call that made it, and whether that was asked for from
	// outside, so that the parent does not wait for it.
	Call    uint32 `json:"call,omitempty"`
	Outside bool   `json:"outside,omitempty"`
	// Its group of processes and its session, as setpgid(2) and setsid(2) know them; 0: its own.
	Group   int `json:"group,omitempty"`
	Session int `json:"session,omitempty"`
	// Number of the call by which it became the leader of its session.
	Left uint32 `json:"left,omitempty"`
	// The limit of its family, of which each member has a copy because the root may be forgotten; 0: the engine's.
	FamilyLimit int `json:"family_limit,omitempty"`
	// NoSpin forbids it to look for what relatives do before it sleeps.
	NoSpin bool `json:"no_spin,omitempty"`
}

// loader is who may have its libraries loaded, by the word of its image.
func (r *record) loader() elf.Loader { return cmp.Or(r.Loader, elf.LoaderAny) }

// image is the file that the pVM's image was made of, and its SHA-256.
func (r *record) image() (path, sha string) {
	if r.Placeholder != nil {
		return r.Placeholder.Path, r.Placeholder.SHA256
	}
	return r.Image, r.ImageSHA
}

// zombie tells whether it has ended and its parent has not waited for it.
func (r *record) zombie() bool { return r.Exit != nil && r.Stat == "Z" }

// openStore opens or makes the store in the state folder. fresh tells that the host has booted
// since it was last used, so that no pVM in it can be running.
func openStore(dir string, log *slog.Logger) (s *store, fresh bool, err error) {
	path := filepath.Join(dir, "engine.db")
	db, err := openBolt(path)
	if err != nil {
		if errors.Is(err, bolt.ErrTimeout) {
			return nil, false, fmt.Errorf("state folder %s: another engine works in it: name another with --state, or end that one", dir)
		}
		if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) || noRoom(err) {
			return nil, false, stateError(dir, err)
		}
		// Damaged by a power cut: keep it for a look, start anew.
		if rerr := os.Rename(path, path+".damaged"); rerr != nil {
			return nil, false, stateError(dir, errors.Join(err, rerr))
		}
		if db, err = openBolt(path); err != nil {
			return nil, false, stateError(dir, err)
		}
	}
	s = &store{db: db, log: log, pending: changes{records: map[int][]byte{}}, dirty: make(chan struct{}, 1), closed: make(chan struct{})}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		db.Close()
		return nil, false, err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketPVMs, bucketEvents, bucketMeta} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		if f := meta.Get(keyFormat); f != nil && string(f) != storeFormat {
			return fmt.Errorf("written by another version of kxsh (format %q, this one reads %s): use another --state folder", f, storeFormat)
		}
		fresh = string(meta.Get(keyBoot)) != string(boot)
		if err := meta.Put(keyFormat, []byte(storeFormat)); err != nil {
			return err
		}
		return meta.Put(keyBoot, boot)
	})
	if err == nil {
		err = s.replay(dir)
	}
	if err != nil {
		db.Close()
		return nil, false, stateError(dir, err)
	}
	s.idle.Add(1)
	go s.write()
	return s, fresh, nil
}

// replay brings what a killed engine has left in the journal into the file.
func (s *store) replay(dir string) error {
	j, left, err := openJournal(dir)
	if err != nil {
		return err
	}
	s.journal = j
	err = s.db.View(func(tx *bolt.Tx) error {
		if n := tx.Bucket(bucketMeta).Get(keyJournal); len(n) == 8 {
			j.last = binary.BigEndian.Uint64(n)
		}
		return nil
	})
	for _, e := range left {
		if e.N <= j.last {
			continue
		}
		j.last = e.N
		for pid, rec := range e.Put {
			s.pending.records[pid] = rec
		}
		for _, pid := range e.Drop {
			s.pending.records[pid] = nil
		}
		if e.Event != nil {
			s.pending.events = append(s.pending.events, *e.Event)
		}
	}
	if err == nil {
		err = s.flush()
	}
	for range j.files { // what is left is old, or not whole
		if err == nil {
			j.turn()
			err = j.clear()
		}
	}
	if err != nil {
		j.close()
	}
	return err
}

// stateError is an error about the state folder, with the mend.
func stateError(dir string, err error) error {
	mend := ""
	if noRoom(err) || errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) {
		mend = ": name another folder with --state"
		if noRoom(err) {
			mend = ": make room, or" + mend[1:]
		}
	}
	return fmt.Errorf("state folder %s: %w%s", dir, err, mend)
}

// noRoom tells whether a disk or a quota is full. bbolt keeps of such an error no more than its text.
func noRoom(err error) bool {
	for _, full := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		if errors.Is(err, full) || strings.Contains(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}

func openBolt(path string) (*bolt.DB, error) {
	return bolt.Open(path, 0o600, &bolt.Options{
		Timeout:        2 * time.Second, // the file lock: a second engine on the same state
		NoSync:         true,
		NoGrowSync:     true,
		NoFreelistSync: true,
		FreelistType:   bolt.FreelistMapType,
	})
}

// close brings everything into the file. What comes later is kept by nobody.
func (s *store) close() error {
	close(s.closed)
	s.idle.Wait()
	err := s.flush()
	s.mu.Lock()
	s.journal.close()
	s.mu.Unlock()
	return errors.Join(err, s.db.Close())
}

func pidKey(pid int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(pid)) }

// change writes records and deletes others, all or none.
func (s *store) change(put []record, drop []int) error {
	vals := make(map[int][]byte, len(put)+len(drop))
	line := []byte(`"put":{`)
	for i := range put {
		val, err := json.Marshal(&put[i])
		if err != nil {
			return err
		}
		vals[put[i].PID] = val
		if i > 0 {
			line = append(line, ',')
		}
		line = append(fmt.Appendf(line, `"%d":`, put[i].PID), val...)
	}
	line = append(line, '}')
	if len(drop) > 0 {
		list, err := json.Marshal(drop)
		if err != nil {
			return err
		}
		line = append(append(line, `,"drop":`...), list...)
	}
	for _, pid := range drop {
		vals[pid] = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.journal.add(line); err != nil {
		return err
	}
	maps.Copy(s.pending.records, vals)
	s.wake()
	return nil
}

// addEvent keeps an event, and drops those before number oldest. Where the disk is full it is kept as soon as there is room.
func (s *store) addEvent(ev Event, oldest uint64) {
	line, err := json.Marshal(&ev)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal.add(append([]byte(`"event":`), line...))
	s.pending.events, s.pending.oldest = append(s.pending.events, ev), oldest
	s.wake()
}

// wake tells that there is something to write. The caller holds s.mu.
func (s *store) wake() {
	select {
	case s.dirty <- struct{}{}:
	default:
	}
}

// write brings changes into the file, many at a time: a busy engine writes ten times a second, not ten thousand. It waits before, not after it: what
// has changed is most often that a pVM began, which should have the CPUs meanwhile.
func (s *store) write() {
	defer s.idle.Done()
	for {
		select {
		case <-s.dirty:
		case <-s.closed:
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.closed:
			return
		}
		if err := s.flush(); err != nil { // it is tried again with the next change
			s.log.Error("store", "err", err)
		}
	}
}

// flush brings what is pending into the file.
func (s *store) flush() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.mu.Lock()
	c := s.pending
	last := s.journal.turn()
	s.pending = changes{records: map[int][]byte{}, oldest: c.oldest}
	s.mu.Unlock()
	if len(c.records)+len(c.events) == 0 {
		return nil
	}
	err := s.db.Update(func(tx *bolt.Tx) error {
		return errors.Join(c.putRecords(tx.Bucket(bucketPVMs)), c.putEvents(tx.Bucket(bucketEvents)),
			tx.Bucket(bucketMeta).Put(keyJournal, binary.BigEndian.AppendUint64(nil, last)))
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		return s.journal.clear()
	}
	maps.Copy(c.records, s.pending.records)
	s.pending = changes{c.records, append(c.events, s.pending.events...), s.pending.oldest}
	return err
}

func (c *changes) putRecords(b *bolt.Bucket) error {
	for pid, rec := range c.records {
		var err error
		if rec == nil {
			err = b.Delete(pidKey(pid))
		} else {
			err = b.Put(pidKey(pid), rec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *changes) putEvents(b *bolt.Bucket) error {
	for _, ev := range c.events {
		v, err := json.Marshal(ev)
		if err != nil {
			return err
		}
		if err := b.Put(binary.BigEndian.AppendUint64(nil, ev.Seq), v); err != nil {
			return err
		}
	}
	cur := b.Cursor()
	for k, _ := cur.First(); k != nil && binary.BigEndian.Uint64(k) < c.oldest; k, _ = cur.First() {
		if err := cur.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// save writes the records of pVMs as they are now, and deletes those of the PIDs in drop that are nobody's
// any more. Taking the copies and writing them is one, so that the last writer has the last word.
func (e *Engine) save(drop []int, ps ...*pvm) error {
	e.saving.Lock()
	defer e.saving.Unlock()
	var put []record
	var gone []int
	e.mu.Lock()
	for _, p := range ps {
		if e.table[p.pid] == p {
			put = append(put, p.rec)
		}
	}
	for _, pid := range drop {
		if e.table[pid] == nil {
			gone = append(gone, pid)
		}
	}
	e.mu.Unlock()
	if len(put)+len(gone) == 0 {
		return nil
	}
	return e.store.change(put, gone)
}

// saved is save where nothing can be done about a failure.
func (e *Engine) saved(drop []int, ps ...*pvm) {
	if err := e.save(drop, ps...); err != nil {
		e.log.Error("store", "err", err)
	}
}

// all returns every record. One that cannot be read is left out and named in bad.
func (s *store) all() (recs []*record, bad []string, err error) {
	if err := s.flush(); err != nil {
		return nil, nil, err
	}
	err = s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketPVMs).ForEach(func(k, v []byte) error {
			r := new(record)
			if err := json.Unmarshal(v, r); err != nil {
				bad = append(bad, fmt.Sprintf("record %x: %v", k, err))
				return nil
			}
			recs = append(recs, r)
			return nil
		})
	})
	return recs, bad, err
}

func (s *store) events() (evs []Event, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketEvents).ForEach(func(_, v []byte) error {
			var ev Event
			if json.Unmarshal(v, &ev) == nil {
				evs = append(evs, ev)
			}
			return nil
		})
	})
	return evs, err
}
