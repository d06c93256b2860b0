package engine

import (
	"context"
	"errors"
	"time"
)

// API is everything a front end may ask of the engine. Engine itself and Client, which talks to an
// engine through its socket, both have it; shell and tui know nothing else.
//
// A pVM is named by its PID. Errors are *Error values; see Code.
type API interface {
	// Info describes engine, hypervisor and host.
	Info(ctx context.Context) (*Info, error)
	// Run starts an image as the root of a new family and returns at once.
	Run(ctx context.Context, r RunRequest) (*RunReply, error)
	// Snapshot returns all pVMs, and domains that others made, at one moment, sorted by PID. With exited, also those that have
	// ended and are still remembered.
	Snapshot(ctx context.Context, exited bool) (*Snapshot, error)
	// Inspect returns one pVM, running or remembered, in every detail.
	Inspect(ctx context.Context, pid int) (*Detail, error)
	// Libraries lists the shared libraries of a running pVM, in the order in which symbols are looked for.
	Libraries(ctx context.Context, pid int) ([]Library, error)
	// Update replaces a library of a running pVM by another file, without a restart; waits, if not nil, is told what it waits for, as
	// often as that changes. A failure leaves the pVM as it was.
	Update(ctx context.Context, pid int, r UpdateRequest, waits func(UpdateWait)) (*UpdateResult, error)
	// Fork makes count children of a running pVM from outside, which all go on from the same point, and
	// returns their PIDs. After an error, they are those of the children that there are nevertheless.
	Fork(ctx context.Context, pid, count int) ([]int, error)
	// Signal sends a signal by number. KILL, STOP and CONT act on the domain itself.
	Signal(ctx context.Context, pid int, sig int) error
	// SignalTree is Signal to a pVM and all its descendants, SignalFamily to all members of a family. What
	// KILL ends cannot fork any more, and both return when nothing of it is left.
	SignalTree(ctx context.Context, pid, sig int) error
	SignalFamily(ctx context.Context, family, sig int) error
	// Force is Signal that reaches domains of others too: KILL, STOP and CONT.
	Force(ctx context.Context, pid int, sig int) error
	// Wait blocks until the pVM has ended and returns how. A remembered pVM answers at once.
	Wait(ctx context.Context, pid int) (*Exit, error)
	// Attach connects to the console of a pVM.
	Attach(ctx context.Context, pid int, o AttachOptions) (Console, error)
	// Logs reads the kept console; with Follow until the pVM ends.
	Logs(ctx context.Context, pid int, o LogOptions) (LogReader, error)
	// Limit changes weight, affinity, memory cap, and how large the pVM's family may be.
	Limit(ctx context.Context, pid int, l Limits) error
	// Events returns past events after seq, then, with follow, new ones as they come.
	Events(ctx context.Context, seq uint64, follow bool) (EventReader, error)
	// IPC sees or uses what the family of a pVM shares: queues, segments, semaphores and pipes. A member does it.
	IPC(ctx context.Context, pid int, r IPCRequest) (*IPCReply, error)
	// Metrics returns what the engine counts and measures, as OpenMetrics text.
	Metrics(ctx context.Context) ([]byte, error)
	// Pool shows the pools of domains that wait; PoolResize sets how many should.
	Pool(ctx context.Context) (*Pool, error)
	PoolResize(ctx context.Context, kind PoolKind, n int) error
	// Shutdown ends the engine; with kill, all pVMs first. Without, running pVMs are left to
	// the next engine.
	Shutdown(ctx context.Context, kill bool) error
	// Close lets go of the connection.
	Close() error
}

// Code classifies an Error, so that commands can choose their exit status.
type Code string

const (
	CodeNoPVM      Code = "no-such-pvm"
	CodeNoImage    Code = "no-such-image"   // run exits 127
	CodeBadImage   Code = "not-a-pvm-image" // run exits 126
	CodeBusy       Code = "busy"
	CodeLimit      Code = "limit"
	CodeInvalid    Code = "invalid"
	CodeUsage      Code = "usage" // a flag is written wrong; run exits 2
	CodeDenied     Code = "denied"
	CodeRestricted Code = "restricted"   // breaks a rule of --require; run exits 126
	CodeChanged    Code = "incompatible" // a library that cannot take the place of another
	CodeForeign    Code = "foreign"      // a domain that somebody else made, or the host
	CodeInternal   Code = "internal"
	CodeEngine     Code = "engine" // unreachable, wrong version, socket of another user
)

// Error is one line for people: what, to whom, why, and the mend where there is one.
type Error struct {
	Code    Code     `json:"code"`
	Msg     string   `json:"error"`
	Reasons []string `json:"reasons,omitempty"` // of CodeChanged, a line each
}

func (e *Error) Error() string { return e.Msg }

// codeOf is the code of an error, or "".
func codeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// RunRequest says what to run.
type RunRequest struct {
	Image  string   `json:"image"` // absolute path; the engine opens it as itself
	Args   []string `json:"args"`  // with args[0], the name the program sees
	Env    []string `json:"env"`
	Name   string   `json:"name"`           // empty: from the image's file name
	Memory uint64   `json:"memory"`         // bytes; 0: what the image asks for, or the default
	Root   string   `json:"root,omitempty"` // tar file of the root file system
	// LibPath are folders, as absolute paths, in which to look for shared libraries before the image's own.
	LibPath []string `json:"lib_path,omitempty"`
	Mounts  []Mount  `json:"mounts,omitempty"`
	TTY     bool     `json:"tty"`
	Stdin   bool     `json:"stdin"`
	Rows    int      `json:"rows,omitempty"`
	Cols    int      `json:"cols,omitempty"`
	Restart Restart  `json:"restart"`
	// Recycle says that the image is an application, a shared library with app_entry or main, to run in a domain that has booted already.
	Recycle bool `json:"recycle,omitempty"`
	// Net is its network: none, user or bridge=NAME; empty: none, or user if Publish says so. Publish are ports of the host that it gets, each as
	// [ADDR:]HOST:PORT[/tcp|/udp].
	Net     string   `json:"net,omitempty"`
	Publish []string `json:"publish,omitempty"`
	// IP is its address at a bridge, as ADDR/LEN[,GATEWAY]; empty: it asks DHCP, as children do in any case.
	IP string `json:"ip,omitempty"`
	// DNS is the name server that it and its children ask at a bridge; empty: that of the lease, if there is one.
	DNS string `json:"dns,omitempty"`
	// Require is what the image must meet, as elf.ParseRequirement reads it; empty: nothing. Keys are the public keys, in PKIX form,
	// of which one must have signed it. They hold for restarts, too.
	Require string   `json:"require,omitempty"`
	Keys    [][]byte `json:"keys,omitempty"`
	// Hold delays the domain's first instruction until somebody attaches, so that a foreground
	// run loses nothing and sees the terminal's size from the start.
	Hold bool `json:"hold,omitempty"`
}

// Mount is a folder of the host that the pVM sees.
type Mount struct {
	Host     string `json:"host"` // absolute path; the engine opens it as itself
	Path     string `json:"path"` // absolute path in the pVM
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Restart is a restart policy as docker spells it: no, on-failure[:N], always, unless-stopped. A
// restarted pVM keeps its name, log and family name but gets a new PID (a new domain).
type Restart struct {
	Policy string `json:"policy"` // "", "no", "on-failure", "always", "unless-stopped"
	Max    int    `json:"max,omitempty"`
}

// RunReply names the new pVM and says where the time went.
type RunReply struct {
	PID   int    `json:"pid"`
	Steps []Step `json:"steps"`
}

// Step is one named, timed step of an operation.
type Step struct {
	Name string        `json:"name"`
	Took time.Duration `json:"took_ns"`
}

// UpdateRequest says which library of a pVM is to be replaced, and by what.
type UpdateRequest struct {
	Old string `json:"old"`           // as it is needed, its file's name, or its absolute path
	New string `json:"new,omitempty"` // absolute path
	// Rollback goes back to the file that the last update has replaced. Then there is no New.
	Rollback bool `json:"rollback,omitempty"`
	// Timeout is for how long the library may be in use before the update gives up; 0: not at all.
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	// DryRun only finds out whether it could be done now.
	DryRun bool `json:"dry_run,omitempty"`
	// SymbolsOnly does without types where there is no debug information.
	SymbolsOnly bool `json:"symbols_only,omitempty"`
}

// UpdateWait is what an update waits for: the library is in use.
type UpdateWait struct {
	Thread int    `json:"thread"` // number; 0: nobody's
	Where  string `json:"where"`  // it is to come back to, with the library's name
}

// UpdateResult says how an update went, and where the time went.
type UpdateResult struct {
	PID       int           `json:"pid"`
	Library   string        `json:"library"` // as it is needed
	Old       LibraryFile   `json:"old"`
	New       LibraryFile   `json:"new"`
	Already   bool          `json:"already,omitempty"` // it had that file, and nothing was done
	DryRun    bool          `json:"dry_run,omitempty"` // it could be done; nothing was
	Steps     []Step        `json:"steps"`
	Pause     time.Duration `json:"pause_ns"`  // for which the program stood still
	Scanned   uint64        `json:"scanned"`   // bytes that were looked through for pointers
	Functions uint64        `json:"functions"` // pointers to functions, and words of tables, that have changed
	Variables uint64        `json:"variables"` // that were copied
	Pointers  uint64        `json:"pointers"`  // to variables and constants, that have changed
	Pinned    uint64        `json:"pinned"`    // to constants that the new file does not have: those of the old one stay
}

// Snapshot is all pVMs at one moment. It is never changed after it was made.
type Snapshot struct {
	Time       time.Time     `json:"time"`
	Host       string        `json:"host"`
	Hypervisor string        `json:"hypervisor"`
	Uptime     time.Duration `json:"uptime_ns"` // of the engine
	Processes  []Process     `json:"processes"`
	Pool       Pool          `json:"pool"`
}

// Pool is the state of the domains that wait: of blank ones, and of placeholders.
type Pool struct {
	PoolState
	Placeholders PoolState `json:"placeholders"`
}

// PoolState is how many domains of a kind wait, and how many should.
type PoolState struct {
	Ready int `json:"ready"`
	Want  int `json:"want"`
}

// PoolKind is what waits in a pool.
type PoolKind string

const (
	PoolBlank       PoolKind = "blank"       // domains that have nothing in them, for run and fork
	PoolPlaceholder PoolKind = "placeholder" // that have booted, for run --recycle; once it was used
)

// Process is one pVM in a snapshot, or a domain that somebody else made: then what only the engine of
// a pVM knows is zero, and UID is root's. Bytes and nanoseconds are integers.
type Process struct {
	PID     int           `json:"pid"`
	PPID    int           `json:"ppid"`   // 0: the host
	Family  int           `json:"family"` // PID of the family's root
	Name    string        `json:"name"`
	Stat    string        `json:"stat"` // R runs, S blocked, T paused, Z dead but its parent has not waited for it or its frames are in use, X ended
	CPU     float64       `json:"cpu"`  // per cent of one CPU over its life, as ps has it
	Time    time.Duration `json:"time_ns"`
	Memory  uint64        `json:"memory"`
	MaxMem  uint64        `json:"max_memory"`
	Shared  uint64        `json:"shared"`        // what of Memory other domains use, too
	CoW     uint64        `json:"copy_on_write"` // what of Shared a fork shares, until somebody writes to it
	Image   string        `json:"image"`
	Args    []string      `json:"args"`
	Libs    []string      `json:"libs,omitempty"` // names of its shared libraries, in the order in which symbols are looked for
	VCPUs   int           `json:"vcpus"`
	Started time.Time     `json:"started,omitzero"` // zero: a domain of others, and nobody tells
	UID     int           `json:"uid"`
	HostPID int           `json:"host_pid,omitempty"`
	IP      string        `json:"ip,omitempty"`      // nobody has given it one yet, or it has no network: empty
	Vif     string        `json:"vif,omitempty"`     // its network interface in the control domain; hosted there are none
	Traffic *Traffic      `json:"network,omitempty"` // nil: it has no network, or nobody can tell
	TTY     bool          `json:"tty"`
	Foreign bool          `json:"foreign,omitempty"` // a domain that somebody else made
	Exit    *Exit         `json:"exit,omitempty"`    // set when it has ended, also of Z
}

// Private is how much of its memory nobody else has.
func (p *Process) Private() uint64 { return p.Memory - min(p.Shared, p.Memory) }

// Held is what others have for as long as it is there, too: libraries, and what its family shares.
func (p *Process) Held() uint64 { return p.Shared - min(p.CoW, p.Shared) }

// Traffic is what has passed the network device of a pVM since it began, or the network's switch did.
type Traffic struct {
	ReceivedBytes   uint64 `json:"received_bytes"`
	ReceivedPackets uint64 `json:"received_packets"`
	SentBytes       uint64 `json:"sent_bytes"`
	SentPackets     uint64 `json:"sent_packets"`
	Dropped         uint64 `json:"dropped"` // packets for it that found no room
	// Bytes a second now; nil: nobody has measured them, as inspect does.
	ReceiveRate *uint64 `json:"received_bytes_per_second,omitempty"`
	SendRate    *uint64 `json:"sent_bytes_per_second,omitempty"`
}

// Since is t with the rates of the time that has gone since it was as before; without, if that cannot be told.
func (t *Traffic) Since(before *Traffic, took time.Duration) *Traffic {
	if t == nil || before == nil || took <= 0 || t.ReceivedBytes < before.ReceivedBytes || t.SentBytes < before.SentBytes {
		return t
	}
	rate := func(bytes uint64) *uint64 {
		r := uint64(min(float64(bytes)/took.Seconds(), 1<<63))
		return &r
	}
	now := *t
	now.ReceiveRate, now.SendRate = rate(t.ReceivedBytes-before.ReceivedBytes), rate(t.SentBytes-before.SentBytes)
	return &now
}

// Exit is how a pVM ended.
type Exit struct {
	Code   int       `json:"code"`             // what a shell calls $?: the status, or 128 + signal
	Signal int       `json:"signal,omitempty"` // the signal that ended it
	Reason string    `json:"reason,omitempty"` // one line, when there is more to say
	Time   time.Time `json:"time"`
	// What it had not heard of when it ended: how many bytes of its standard input it took, modulo
	// 2^32, how many of the last of those its program had not read, of a terminal, and whether signals waited in vain.
	InputTaken  uint32 `json:"input_taken,omitempty"`
	InputUnread uint32 `json:"input_unread,omitempty"`
	Unheard     bool   `json:"unheard,omitempty"`
}

// Detail is everything that inspect shows of one pVM.
type Detail struct {
	Process
	Env       []string      `json:"env"`
	Mounts    []Mount       `json:"mounts,omitempty"` // folders of the host
	Children  []int         `json:"children"`         // that live or were not waited for
	Members   int           `json:"members"`          // of its family, zombies included
	MaxFamily int           `json:"max_family"`       // how many they may be
	Net       string        `json:"net,omitempty"`    // as of RunRequest
	Publish   []string      `json:"publish,omitempty"`
	Restart   Restart       `json:"restart"`
	Restarts  int           `json:"restarts"`
	RestartOf int           `json:"restart_of,omitempty"` // the PID this one took over from
	Weight    int           `json:"weight"`
	CPUs      []int         `json:"cpus"`
	NoSpin    bool          `json:"no_spin"`       // it may not look for what relatives do before it sleeps
	Steps     []Step        `json:"steps"`         // of its birth
	MainAfter time.Duration `json:"main_after_ns"` // from the request to the program's first instruction; 0: not yet
	LogPath   string        `json:"log_path"`
	LogBytes  int64         `json:"log_bytes"`
	LogLost   int64         `json:"log_lost"` // bytes rotated away
	ImageSHA  string        `json:"image_sha256"`
	Seal      *Seal         `json:"seal,omitempty"` // nil: no signature was asked for
	Libraries []LibraryUse  `json:"libraries,omitempty"`
	RAMBase   uint64        `json:"ram_base"`
	// What its family shares and it has a part in; nil if nobody could tell in time.
	Shares []SharedObject `json:"shares,omitempty"`
	Crash  string         `json:"crash,omitempty"` // the fault report, as logs ends with
	UUID   string         `json:"uuid,omitempty"`  // of a domain that somebody else made
}

// What an IPCRequest asks for.
const (
	IPCList    = "list"    // Objects
	IPCKey     = "key"     // ftok of Path and Project, in the family's file system: Key
	IPCQueue   = "queue"   // msgget of Key, with Create also a new one: ID
	IPCSegment = "segment" // shmget of Key and Size, with Create also a new one: ID
	IPCSend    = "send"    // msgsnd of Type and Data to ID, with Wait when there is room
	IPCReceive = "receive" // msgrcv of Type from ID, with Wait when there is one: Type, Data
	IPCRead    = "read"    // Size bytes of segment ID from Offset on, at most 1 MiB: Data
	IPCWrite   = "write"   // Data to segment ID from Offset on: Size, less than len(Data) where the segment ends
	IPCPipe    = "pipe"    // from the standard output of this pVM to the standard input of To, of the same family: ID, a pipe's
	IPCRemove  = "remove"  // the queue, segment or set of semaphores ID
)

// IPCRequest is something that a family shall be asked for.
type IPCRequest struct {
	Op      string `json:"op"` // IPCList and its neighbours
	ID      int    `json:"id,omitempty"`
	To      int    `json:"to,omitempty"`  // PID
	Key     uint32 `json:"key,omitempty"` // 0: private
	Type    int64  `json:"type,omitempty"`
	Offset  uint64 `json:"offset,omitempty"`
	Size    uint64 `json:"size,omitempty"`
	Path    string `json:"path,omitempty"`
	Project int    `json:"project,omitempty"`
	Create  bool   `json:"create,omitempty"`
	Wait    bool   `json:"wait,omitempty"`
	Data    []byte `json:"data,omitempty"`
}

// IPCReply is what came of it.
type IPCReply struct {
	Family  int            `json:"family"`
	ID      int            `json:"id,omitempty"`
	Key     uint32         `json:"key,omitempty"`
	Type    int64          `json:"type,omitempty"`
	Size    uint64         `json:"size,omitempty"`
	Data    []byte         `json:"data,omitempty"`
	Objects []SharedObject `json:"objects,omitempty"`
}

// Kinds of a SharedObject.
const (
	KindQueue      = "queue"
	KindSemaphores = "semaphores"
	KindSegment    = "segment"
	KindPipe       = "pipe"
)

// SharedObject is something that a family shares, by the word of its members.
type SharedObject struct {
	Family      int     `json:"family"`
	Kind        string  `json:"kind"`
	ID          int     `json:"id"`
	Key         uint32  `json:"key"`
	Mode        uint32  `json:"mode"` // permissions
	UID         uint32  `json:"uid"`
	GID         uint32  `json:"gid"`
	Bytes       uint64  `json:"bytes"`                      // in a queue or a pipe, of a segment
	MaxBytes    uint64  `json:"max_bytes,omitempty"`        // of a queue or a pipe
	TotalBytes  uint64  `json:"total_bytes,omitempty"`      // that have ever come into a queue or a pipe
	Rate        *uint64 `json:"bytes_per_second,omitempty"` // that come into it now; nil: nobody has measured it, as inspect does
	Count       int     `json:"count"`                      // messages, semaphores, attachments
	Removed     bool    `json:"removed,omitempty"`          // a segment that goes with its last attachment
	Sender      int     `json:"sender,omitempty"`           // of the last message; 0: nobody, or the shell
	Receiver    int     `json:"receiver,omitempty"`
	Maker       int     `json:"maker,omitempty"`   // of a segment; 0: the shell
	Last        int     `json:"last,omitempty"`    // who attached or detached it last
	Readers     []int   `json:"readers,omitempty"` // PIDs of the first members that have a pipe's reading end, or a segment
	Writers     []int   `json:"writers,omitempty"`
	ReaderCount int     `json:"reader_count,omitempty"` // of a pipe: all of them
	WriterCount int     `json:"writer_count,omitempty"`
}

// Channel tells whether bytes go through it: it is a queue or a pipe.
func (o *SharedObject) Channel() bool { return o.Kind == KindQueue || o.Kind == KindPipe }

// RateSince is how many bytes a second have come into a channel in the time that has gone since it was as before; nil if that is something else,
// or cannot be told.
func (o *SharedObject) RateSince(before *SharedObject, took time.Duration) *uint64 {
	if !o.Channel() || o.Kind != before.Kind || o.ID != before.ID || took <= 0 || o.TotalBytes < before.TotalBytes {
		return nil
	}
	rate := uint64(min(float64(o.TotalBytes-before.TotalBytes)/took.Seconds(), 1<<63))
	return &rate
}

// Limits changes what is not nil.
type Limits struct {
	Weight *int    `json:"weight,omitempty"`
	CPUs   *[]int  `json:"cpus,omitempty"`
	MaxMem *uint64 `json:"max_memory,omitempty"`
	Family *int    `json:"family,omitempty"` // the most members of its family, zombies included
	Spin   *bool   `json:"spin,omitempty"`   // whether it may look for what relatives do before it sleeps
}

// Stream numbers of a Chunk, as in kx_abi.h.
const (
	Stdout = 1
	Stderr = 2
	Kernel = 3 // the LibOS's and the engine's own words
)

// Chunk is a piece of console output.
type Chunk struct {
	Stream int
	Time   time.Time
	Data   []byte
}

// AttachOptions says how to attach to a console.
type AttachOptions struct {
	Stdin bool // this session writes to standard input
	Rows  int
	Cols  int
	// FromStart plays the kept console from byte 0 first, and from then on the pVM is held back
	// rather than output lost while this reader lags. A foreground run attaches so.
	FromStart bool
	// From, if not 0, is a pVM whose console is copied to this one's standard input. As long as this session is attached, the two have a
	// pipe instead, if they are of one family and both descriptors are their console; else the copy has to do.
	From int
}

// Console is an attached console. Recv returns io.EOF when the pVM has ended and everything it
// wrote has been received. Send blocks while the pVM does not read.
type Console interface {
	Recv() (Chunk, error)
	Send(p []byte) error
	CloseSend() error // end of file on standard input
	Resize(rows, cols int) error
	Close() error
}

// LogOptions says what of the kept console to read.
type LogOptions struct {
	Follow bool
	Lines  int       // the last N lines; negative: all
	Since  time.Time // zero: from the beginning
}

// LogReader reads kept console output, io.EOF at its end.
type LogReader interface {
	Recv() (Chunk, error)
	// Lost is how many bytes of the beginning were rotated away.
	Lost() int64
	Close() error
}

// Event is one thing that happened.
type Event struct {
	Seq   uint64    `json:"seq"`
	Time  time.Time `json:"time"`
	Type  string    `json:"type"` // started, forked, exited, reparented, signalled, paused, resumed, restarted, adopted, piped, limit, loaded, updated, update refused, refused, corrupt, engine
	PID   int       `json:"pid,omitempty"`
	Name  string    `json:"name,omitempty"`
	Child int       `json:"child,omitempty"` // of a forked event
	Text  string    `json:"text"`
	Steps []Step    `json:"steps,omitempty"`
}

// EventReader reads events; Recv returns io.EOF after the last past one unless following.
type EventReader interface {
	Recv() (Event, error)
	Close() error
}

// Info describes engine, hypervisor and host.
type Info struct {
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`
	Socket     string    `json:"socket"`
	State      string    `json:"state"`
	Host       string    `json:"host"`
	Hypervisor string    `json:"hypervisor"`
	HVVersion  string    `json:"hypervisor_version"`
	Scheduler  string    `json:"scheduler"`
	Sandbox    []string  `json:"sandbox,omitempty"`
	CPUs       int       `json:"cpus"`
	Memory     uint64    `json:"memory"`
	FreeMemory uint64    `json:"free_memory"`
	// Idle is how long all CPUs together have had nothing to do since the host started; 0: nobody knows.
	Idle    time.Duration `json:"idle_ns"`
	Metrics string        `json:"metrics,omitempty"` // where they are served
	Running int           `json:"running"`
	Pool    Pool          `json:"pool"`
}
