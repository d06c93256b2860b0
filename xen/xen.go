// Package xen is the hypervisor as the engine sees it: domains that are built, unpaused, notified
// and destroyed, and the memory they share with the engine.
//
// Three implementations meet in one conformance suite (package xentest): privcmd drives a real Xen
// from dom0, hosted runs every domain as a sandboxed Linux process, fake keeps domains in memory
// for unit tests of logic. All of them run the same images, which talk Xen's x86-64 PV ABI and the
// control area of guest/include/kx_abi.h.
package xen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kxsh/elf"
	"kxsh/ipc/abi"
)

// DomID is a domain's number: Xen's domid, and the PID of the pVM that lives in it. 0 is the host.
type DomID uint32

// MaxDomID is the last number Xen gives to an ordinary domain (DOMID_FIRST_RESERVED - 1).
const MaxDomID DomID = 0x7fef

var (
	// ErrNoDomain says that no domain has that number (any more).
	ErrNoDomain = errors.New("no such domain")
	// ErrNoFork says that a domain cannot be forked here.
	ErrNoFork = errors.New("the hypervisor cannot fork it")
	// ErrNotBlank says that a domain cannot be made anew: Domain.Reset.
	ErrNotBlank = errors.New("it cannot be made blank again")
	// ErrNoWire says that a domain has no network device, or that nothing is at its other end.
	ErrNoWire = errors.New("no network device")
	// ErrNoMemory says that the host cannot give the memory asked for.
	ErrNoMemory = errors.New("not enough memory on the host")
)

// Hypervisor builds and finds domains. All methods may be called from any goroutine.
type Hypervisor interface {
	// Info describes the hypervisor and its host.
	Info() (Info, error)
	// Prepare makes an image ready for any number of Create calls: read once, checked once.
	// r must stay readable only during the call.
	Prepare(img *elf.Image, r io.ReaderAt) (Image, error)
	// Share keeps whole pages for any number of domains, which all map the same ones and cannot write to them: what of a library is
	// read-only.
	Share(pages []byte) (Shared, error)
	// Create builds a domain, paused at the image's entry point. A failure leaves nothing behind.
	Create(ctx context.Context, c *Config) (Domain, error)
	// Adopt takes over a running domain that an earlier engine created; token is what
	// Domain.Token returned then. ErrNoDomain if it is gone.
	Adopt(id DomID, token []byte) (Domain, error)
	// Adopted says that no other domain will be adopted: what only such needed goes.
	Adopted()
	// Domains lists the domains that exist now, ours and others', by number, without their
	// accounting; those that an earlier engine created and nobody adopted included.
	Domains() ([]DomID, error)
	// List describes all domains of the host but the host itself, whoever made them, in one question
	// to the hypervisor, by number; without weight and CPUs. It is nil, and no error, where each domain
	// must be asked itself (Domain.Status) and there are no others'.
	List() ([]Listed, error)
	// Force acts on a domain that somebody else made. ErrNoDomain if the number is not that domain's.
	Force(id DomID, uuid UUID, a Action) error
	// Pool tells how many blank domains wait, for a start and, once there was a fork, for one; SetPool sets how many should.
	Pool() Pool
	SetPool(n int) error
	// Close lets go of the hypervisor: blank domains are destroyed, running ones go on.
	Close() error
}

// Image is an image that Prepare has loaded. Close frees what it holds; running domains are not
// affected.
type Image interface {
	Close() error
}

// Shared is what Share keeps. Close lets go of it; running domains are not affected.
type Shared interface {
	Close() error
}

// Dynamic is a domain's dynamic segment: room for libraries, which ends where the RAM window begins.
type Dynamic struct {
	VA      uint64        // where PlaceDynamic says; 0: there is none
	Pages   uint64        // a multiple of DynamicUnit
	Shared  []Mapping     // by their addresses
	Private []Range       // zero, but for
	Content []elf.Content // which the image's writable segments may get, too
}

// Mapping is pages of a Shared in a domain.
type Mapping struct {
	Range
	Of    int    // which one of Config.Libraries
	First uint64 // its page that is the first
	Prot  elf.Prot
}

// Range is pages of a domain.
type Range struct{ VA, Pages uint64 }

// Has tells whether an address is in it.
func (r Range) Has(va uint64) bool { return va >= r.VA && va-r.VA < r.Pages*abi.PageSize }

// Config says what Create builds.
type Config struct {
	Image Image
	// Libraries are mapped as Dynamic says; nil, and the zero Dynamic: there are none.
	Libraries []Shared
	Dynamic   Dynamic
	Boot      Boot
	Memory    uint64 // bytes of the RAM window; rounded up to whole pages
	// Step, if not nil, is told how long each named step of the building took.
	Step func(name string, took time.Duration)
}

// Boot is what a domain finds in its control area when it starts.
type Boot struct {
	Name   string // at most 63 bytes are passed on
	Args   []string
	Env    []string
	PPID   DomID
	Family DomID // 0: the domain's own number, a new family
	TTY    bool  // the console is a terminal
	Stdin  bool  // standard input is attached
	Look   bool  // it may look for what relatives do before it sleeps: abi.FLook
	Waits  bool  // it has no program, and will ask for one: abi.FWaits, Renew
	Rows   int
	Cols   int
	Root   []byte   // tar archive of the root file system, or nil
	Mounts []string // where folders of the host are mounted, at most abi.Mounts
}

// Fork says what child a domain gets.
type Fork struct {
	// Boot is what the child finds in its control area; without a Root.
	Boot Boot
	// RIP and RSP are where the child goes on, and perhaps the parent: see kx_abi.h. Both are the
	// parent's word.
	RIP, RSP uint64
	// Waits says that the child must not run before Ready has unpaused it: it is to be plugged.
	Waits bool
	// Ready, if not nil, is called once when the child is a domain like others, and unpauses it: then it runs before
	// Fork returns, perhaps before Ready is called. If Ready fails, or Fork after it, the child is gone, and is to be released
	// by who was told.
	Ready func(child Domain) error
	// Step, if not nil, is told how long each named step took.
	Step func(name string, took time.Duration)
}

// Domain is one domain. Its methods may be called from any goroutine; after Release they return
// ErrNoDomain.
type Domain interface {
	ID() DomID
	// Control returns the control area (abi.CtlSize bytes at abi.CtlVa in the guest). The
	// domain writes to it at any time: copy, check, use. Valid until Release.
	Control() []byte
	// Unpause lets a new or paused domain run; Pause stops it at any instruction.
	Unpause() error
	Pause() error
	// Notify raises the domain's event channel to the engine.
	Notify() error
	// Rang receives when the domain raised its event channel; rings that nobody has received yet
	// are one.
	Rang() <-chan struct{}
	// Touched receives when somebody else has paused the domain or let it go on; Status tells which.
	// It may be nil, which never does.
	Touched() <-chan struct{}
	// Gone is closed when the domain has shut down, crashed or been destroyed. Control can
	// still be read.
	Gone() <-chan struct{}
	// Exit tells why; valid when Gone is closed.
	Exit() Exit
	// Destroy ends the domain at once; Gone closes soon after. Destroying a domain that is gone
	// is no error.
	Destroy() error
	// Release frees everything, the control area included. The domain must be gone.
	Release() error
	// Reset is Release, and then Create with the same number. Nothing that the domain has had goes on: neither memory nor addresses,
	// channels or limits. What was made is held against c before it is handed over: each page is what c says, or zero, and nothing else is
	// mapped or connected. ErrNotBlank if it is not; if the domain has forked or was forked, so that others may have something of it; or if
	// somebody else has. A failure leaves nothing behind; the domain must be released then, if it has not been.
	Reset(ctx context.Context, c *Config) (Domain, error)
	// Status samples state and accounting.
	Status() (Status, error)
	// Token is what a later engine needs to Adopt the domain.
	Token() []byte
	// ReadMemory copies guest memory at va, for inspection of a paused or running domain.
	ReadMemory(va uint64, p []byte) error
	// Fork makes a child of a domain that has made abi.CallFork and blocks: a new domain, paused, with
	// the memory that this one has at a moment during Fork. A failure leaves the domain as it was, and
	// nothing else; nor does the child's end, or its own, touch the other.
	Fork(ctx context.Context, f *Fork) (Domain, error)
	// Settle serves abi.CallSettle: a fork may leave memory of both sides for later, until either needs it.
	Settle(va uint64) error
	// Map maps pages of libraries into the dynamic segment of a domain, where nothing is, as those of Config: Mapping.Of is which of them. A
	// failure leaves the domain as it was. When all is ready for it, and nothing has been touched, before is called, if it is not nil, with what Token
	// will be then; if that fails so does Map. Adopt takes such a token also if no more came of it.
	Map(libraries []Shared, at []Mapping, before func(token []byte) error) error
	// MapFor is Map for a domain that blocks and waits for that: tell is called before it is notified, and when it wakes it finds all of it there. After
	// a failure tell may have been called.
	MapFor(libraries []Shared, at []Mapping, tell func()) error
	// Unmap takes away what Map and Config have mapped in ranges of the dynamic segment. What the domain itself has put there stays.
	Unmap(ranges ...Range) error
	// Plug gives the domain, which has never run, a network device. It goes with the domain.
	Plug(n *NIC) error
	// Wire is the host's end of the network device; after a Fork the hypervisor may have another one. ErrNoWire if there is none.
	Wire() (*Wire, error)
	// Family has the family area, which a domain and all that have been forked from it share, have at least so many
	// pages (abi.FamilyVa), in all its members, if it can. The result is how many there are.
	Family(pages uint64) (uint64, error)
	// Guard serves abi.CallGuard: from now on the domain, and none of its relatives, may only read these pages of the family area, or again
	// write to them. ENOSYS where it can do that itself.
	Guard(page, n uint64, readOnly bool) error
	// SetWeight sets the scheduler's share (Xen credit2: 1 to 65535, 256 ordinary).
	SetWeight(weight int) error
	// SetAffinity restricts the domain to these host CPUs; none: all.
	SetAffinity(cpus []int) error
	// SetMaxMem caps the memory the domain may use, in bytes; never below what it uses now.
	SetMaxMem(bytes uint64) error
}

// End ends a domain and frees everything of it.
func End(d Domain) {
	d.Destroy()
	<-d.Gone()
	d.Release()
}

// ExitReason says how a domain ended.
type ExitReason int

const (
	ExitShutdown  ExitReason = iota // it asked for it (SCHEDOP_shutdown, poweroff); abi status word holds
	ExitCrash                       // it shut itself down with SHUTDOWN_crash; kx_control.crash holds
	ExitFault                       // a fault nobody could deliver; Exit.Crash holds the registers
	ExitDestroyed                   // the engine destroyed it
	ExitKilled                      // something outside did: the OOM killer, xl destroy, kill -9
)

// Exit is why and how a domain ended.
type Exit struct {
	Reason ExitReason
	Crash  abi.KxCrash // for ExitFault: what the hypervisor saw
	Detail string      // one line for people, may be empty
}

// State is what a domain does now.
type State int

const (
	StateRunning State = iota // runnable or running
	StateBlocked              // waits for an event
	StatePaused               // stopped from outside
	StateDying                // shut down, its frames not yet all free
)

// Status is a sample of one domain's accounting.
type Status struct {
	State   State
	CPUTime time.Duration // since creation
	Memory  uint64        // bytes of host memory it uses now
	MaxMem  uint64        // bytes it may use
	Shared  uint64        // bytes of Memory that other domains use too
	CoW     uint64        // bytes of Shared that a fork shares: who writes to a page of them gets a frame of its own
	VCPUs   int
	HostPID int // the Linux process behind it; 0 on Xen
	Weight  int
	CPUs    []int // affinity; nil: all
}

// UUID is what a domain keeps when its number is another's.
type UUID [16]byte

func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Listed is a domain as the hypervisor knows it, whoever made it.
type Listed struct {
	ID      DomID
	UUID    UUID
	Ours    bool      // made by an engine with this key
	Name    string    // others' only: as their tools call it, or "". Somebody else's word
	Started time.Time // others' only: zero if nobody tells
	Status  Status
}

// Action is what can be done to a domain that somebody else made.
type Action int

const (
	ActDestroy Action = iota
	ActPause
	ActUnpause
)

// Info describes a hypervisor.
type Info struct {
	Name       string // "hosted" or "xen"
	Version    string
	Scheduler  string
	CPUs       int
	Memory     uint64 // bytes of the host
	FreeMemory uint64
	Idle       time.Duration // of all its CPUs together, since it started; 0: nobody knows
	Sandbox    []string      // what keeps domains apart here, e.g. "seccomp", "user namespace"
}

// Pool is the state of the pool of blank domains.
type Pool struct {
	Ready int `json:"ready"`
	Want  int `json:"want"`
}
