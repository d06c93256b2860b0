// Package privcmd is the hypervisor on a real Xen, driven from its control domain (dom0) through
// Linux's /dev/xen/privcmd, /dev/xen/hypercall and /dev/xen/evtchn: no libxc, no xenstored, no cgo.
//
// A pVM is a PV domain of one vcpu. Domains outlive the engine: their UUIDs begin with a digest of
// the engine's key, so that a later engine finds its own among others'.
package privcmd

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"kxsh/xen"
	"kxsh/xen/xenstore"
)

// Options say how to start.
type Options struct {
	// Key tells the domains of one engine from those of others, for example the path of its state
	// folder. Two engines with one key must not live at the same time.
	Key string
	// Pool is how many blank domains should wait; 0: DefaultPool, negative: none.
	Pool int
}

// Hypervisor is Xen.
type Hypervisor struct {
	c      *conn
	key    [8]byte
	events *events
	pool   *pool // for starts
	forks  *pool // for forks
	window window
	fills  sync.WaitGroup // of what children of forks lack
	spares sync.WaitGroup // of holders that are being made

	fillAfter time.Duration
	names     *xenstore.Register
	sched     uint32
	cpus      int
	scrubs    bool // Xen clears what a living domain gives back
	dirty     bool // frames may come with old content

	stop    chan struct{}
	watched chan struct{}
	look    chan struct{}

	mu        sync.Mutex
	domains   map[xen.DomID]*Domain
	families  map[xen.DomID]*family
	libraries map[xen.DomID]*holder // by their holders
	unclaimed map[xen.DomID]handle  // holders of an earlier engine
	spare     *holder               // without pages, for the next library or plan; nil: nobody has asked for one yet, or it is being made
	sparing   bool                  // it is
	closed    bool
}

var _ xen.Hypervisor = (*Hypervisor)(nil)

// Available tells whether this is Xen's control domain.
func Available() bool { return controlDomain("/") }

// controlDomain looks at xenfs, which Linux has had for long but whoever installed Xen mounts, and where it is not mounted at sysfs.
func controlDomain(root string) bool {
	if b, err := os.ReadFile(filepath.Join(root, "proc/xen/capabilities")); err == nil {
		return strings.Contains(string(b), "control_d")
	}
	b, err := os.ReadFile(filepath.Join(root, "sys/hypervisor/properties/features"))
	if err != nil {
		return false
	}
	features, err := strconv.ParseUint(strings.TrimSpace(string(b)), 16, 64)
	return err == nil && features>>featureDom0&1 != 0
}

// featureDom0 is XENFEAT_dom0 of Xen's features.h: a bit of what XENVER_get_features returns.
const featureDom0 = 11

// New opens the way to Xen and ends what an earlier engine with the same key left half made.
func New(o Options) (*Hypervisor, error) {
	c, err := dial()
	if err != nil {
		return nil, fmt.Errorf("xen: %w", err)
	}
	h, err := start(c, o)
	if err != nil {
		c.release()
		return nil, fmt.Errorf("xen: %w", err)
	}
	return h, nil
}

// start is New with the devices open.
func start(c *conn, o Options) (_ *Hypervisor, err error) {
	h := &Hypervisor{
		c: c, fillAfter: fillAfter,
		stop: make(chan struct{}), watched: make(chan struct{}), look: make(chan struct{}, 1),
		domains: map[xen.DomID]*Domain{}, families: map[xen.DomID]*family{}, libraries: map[xen.DomID]*holder{}, unclaimed: map[xen.DomID]handle{},
	}
	sum := sha256.Sum256([]byte(o.Key))
	copy(h.key[:], sum[:])
	if err = h.c.probe(); err != nil {
		return nil, err
	}
	if err = h.learn(); err != nil {
		return nil, err
	}
	if h.events, err = newEvents(&h.c.devices); err != nil {
		return nil, err
	}
	period := lookSeldom
	if h.events.bindVIRQ(virqDomExc, h.lookNow) != nil {
		period = lookAlways // it is xenstored's
	}
	h.names = h.openNames()
	h.pool, h.forks = &pool{make: h.blank, shape: poolShape}, &pool{make: h.blank}
	if o.Pool >= 0 {
		n := min(cmp.Or(o.Pool, DefaultPool), maxPool)
		h.pool.resize(n)
		h.forks.resize(n)
	}
	go h.watchExits(period)
	return h, nil
}

// learn asks what does not change while Xen runs, and ends half made domains.
func (h *Hypervisor) learn() error {
	phys, err := h.c.physInfo()
	if err != nil {
		return err
	}
	h.cpus = min(int(phys.NrCPUs), maxCPUs)
	if h.sched, err = h.scheduler(); err != nil {
		return err
	}
	if err := h.favourDom0(); err != nil {
		return err
	}
	line, err := h.c.versionString(xenverCommandLine, 1024)
	if err != nil {
		return err
	}
	h.scrubs = boolOption(line, "scrub-domheap", false)
	h.dirty = !h.scrubs || !boolOption(line, "bootscrub", true)
	list, err := h.c.domainList()
	if err != nil {
		return err
	}
	for i := range list {
		d := &list[i]
		if root, ok := h.marked(holderMark, d); ok {
			h.adoptHolder(root, xen.DomID(d.Domain))
		} else if _, ok := h.marked(libraryMark, d); ok {
			h.unclaimed[xen.DomID(d.Domain)] = d.Handle
		} else if h.ours(d) && halfMade(d) {
			h.letGo(d, list)
			if err := h.c.destroy(xen.DomID(d.Domain)); err != nil {
				return err
			}
		}
	}
	return nil
}

// boolOption is what Xen's command line says of a boolean option; a word that is none, as in bootscrub=idle, changes nothing.
//
// Two of them tell whether frames come clean. Without bootscrub, those that nobody had since power-on are as the firmware left
// them. What a domain held at its end Xen always clears, but what a living one gives back, or has given back while others
// had it mapped, only with scrub-domheap.
//
// Source: parse_bool in xen/common/kernel.c, free_domheap_pages in xen/common/page_alloc.c.
func boolOption(line, name string, value bool) bool {
	for word := range strings.FieldsSeq(line) {
		key, arg, _ := strings.Cut(word, "=")
		switch {
		case key == "no-"+name:
			value = false
		case key != name:
		case slices.Contains([]string{"", "1", "yes", "on", "true", "enable"}, arg):
			value = true
		case slices.Contains([]string{"0", "no", "off", "false", "disable"}, arg):
			value = false
		}
	}
	return value
}

// ours tells whether an engine with this key made a domain.
func (h *Hypervisor) ours(d *domainInfo) bool { return [8]byte(d.Handle[:8]) == h.key }

// Marks are in the UUID of a domain without a vcpu, behind what tells our domains from others', and before the
// number of another domain.
const (
	libraryMark = 0x6b786c69 // it holds a library's pages; the number is any
	holderMark  = 0x6b786661 // it holds the frames of the family with that number
	pauseMark   = 0x6b787061 // it is to be the child of that one, which is paused for it
)

// mark is a UUID with a mark.
func (h *Hypervisor) mark(mark uint32, id xen.DomID) (hd handle) {
	copy(hd[:], h.key[:])
	binary.BigEndian.PutUint32(hd[8:], mark)
	binary.BigEndian.PutUint32(hd[12:], uint32(id))
	return hd
}

// marked tells whether a domain of ours has a mark, and with which number.
func (h *Hypervisor) marked(mark uint32, d *domainInfo) (xen.DomID, bool) {
	return xen.DomID(binary.BigEndian.Uint32(d.Handle[12:])), h.ours(d) && halfMade(d) && binary.BigEndian.Uint32(d.Handle[8:]) == mark
}

// halfMade tells whether the engine that built a domain did not come to its vcpu.
func halfMade(d *domainInfo) bool {
	return d.Flags&(infDying|infShutdown) == 0 && d.OnlineVCPUs == 0
}

// Info implements xen.Hypervisor.
func (h *Hypervisor) Info() (xen.Info, error) {
	phys, err := h.c.physInfo()
	if err != nil {
		return xen.Info{}, err
	}
	idle, err := h.c.idle(phys.MaxCPUID + 1)
	if err != nil {
		return xen.Info{}, err
	}
	sharing := "forks copy: Xen was booted without scrub-domheap"
	if h.scrubs {
		sharing = "forks share what nobody has written"
	}
	return xen.Info{
		Name:       "xen",
		Version:    h.c.version.String(),
		Scheduler:  schedulers[h.sched].name,
		CPUs:       int(phys.NrCPUs),
		Memory:     phys.TotalPages * pageSize,
		FreeMemory: (phys.FreePages + phys.ScrubPages) * pageSize,
		Idle:       idle,
		Sandbox:    []string{sharing},
	}, nil
}

// Domains implements xen.Hypervisor.
func (h *Hypervisor) Domains() ([]xen.DomID, error) {
	list, err := h.c.domainList()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []xen.DomID
	for i := range list {
		d := &list[i]
		id := xen.DomID(d.Domain)
		own := h.domains[id]
		switch {
		case id == 0 || d.Flags&infDying != 0:
		case own != nil && own.handle == d.Handle && (own.isGone() || d.Flags&infShutdown != 0):
		case h.ours(d) && halfMade(d):
		default:
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Close implements xen.Hypervisor.
func (h *Hypervisor) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	close(h.stop)
	<-h.watched
	h.fills.Wait()
	h.closeSpare()
	h.pool.close()
	h.forks.close()
	h.names.Close()
	err := h.events.close()
	h.window.close(h.c)
	h.c.release()
	return err
}

// add makes a domain known, which then holds the connection.
func (h *Hypervisor) add(d *Domain) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return os.ErrClosed
	}
	if old := h.domains[d.id]; old != nil && old.handle == d.handle {
		return xen.ErrNoDomain // somebody was faster
	}
	h.domains[d.id] = d
	h.c.retain()
	return nil
}

func (h *Hypervisor) remove(d *Domain) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.domains[d.id] == d {
		delete(h.domains, d.id)
	}
}

func (h *Hypervisor) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.domains)
}

// lookNow has ended domains found soon.
func (h *Hypervisor) lookNow() {
	select {
	case h.look <- struct{}{}:
	default:
	}
}
