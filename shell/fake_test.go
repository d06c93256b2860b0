package shell

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"kxsh/engine"
)

// born is when all fake pVMs started.
var born = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fake is an engine whose images are words: what a pVM does is decided by its image's file name.
//
//	hello   prints a line and exits 0
//	exitN   exits with status N
//	args    prints its arguments, then its environment
//	cat     copies standard input until its end; on a terminal echoes and takes Ctrl-C, Ctrl-D
//	spin    runs until a signal ends it
//	flood   writes until a signal ends it
//	tick    counts until a signal ends it
//	crash   dies of SIGSEGV with a report on the kernel stream
//	foreign is a domain that somebody else made
//	size    prints its terminal's size, and again when it changes
type fake struct {
	mu     sync.Mutex
	next   int
	pvms   map[int]*fakePVM
	pool   engine.Pool
	events []engine.Event
	closed bool

	message, segment []byte // of IPC
}

type fakePVM struct {
	engine.Detail
	out    chan engine.Chunk
	in     chan []byte
	size   chan [2]int
	done   chan struct{}
	held   chan struct{}
	once   sync.Once
	taken  uint32 // of its input, when it ended
	kept   []engine.Chunk
	keptMu sync.Mutex
}

func newFake() *fake {
	return &fake{next: 1, pvms: map[int]*fakePVM{}, pool: engine.Pool{PoolState: engine.PoolState{Ready: 3, Want: 4}}, segment: make([]byte, 16)}
}

// fakeConfig is a Config on a fake engine of its own.
func fakeConfig() Config {
	api := newFake()
	get := func() (engine.API, error) {
		if os.Getenv("KXSH_TEST_NO_ENGINE") != "" {
			return nil, &engine.Error{Code: engine.CodeEngine, Msg: "engine: cannot start: told so"}
		}
		return api, nil
	}
	return Config{
		Engine: get, Peek: get, Version: "test", StateDir: os.Getenv("KXSH_TEST_STATE"), Color: "auto",
		CC: func(_ context.Context, args, env []string, dir string, _ io.Reader, stdout, _ io.Writer) int {
			fmt.Fprintln(stdout, "cc", strings.Join(args, " "))
			return len(args)
		},
	}
}

func (f *fake) get(pid int, live bool) (*fakePVM, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.pvms[pid]
	if p == nil || live && p.Exit != nil {
		return nil, &engine.Error{Code: engine.CodeNoPVM, Msg: fmt.Sprintf("(%d): no such pVM", pid)}
	}
	return p, nil
}

func (f *fake) Info(context.Context) (*engine.Info, error) {
	return &engine.Info{Version: "fake", PID: 1, Started: time.Now(), Socket: "/s", State: "/d", Host: "fakehost", Hypervisor: "fake",
		HVVersion: "1", Scheduler: "none", CPUs: 2, Memory: 4 << 30, FreeMemory: 1 << 30, Running: len(f.pvms), Pool: f.pool}, nil
}

func (f *fake) Run(ctx context.Context, r engine.RunRequest) (*engine.RunReply, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	word := strings.TrimSuffix(r.Image[strings.LastIndex(r.Image, "/")+1:], ".kx")
	switch word {
	case "missing":
		return nil, &engine.Error{Code: engine.CodeNoImage, Msg: r.Image + ": no such file or directory"}
	case "text":
		return nil, &engine.Error{Code: engine.CodeBadImage, Msg: r.Image + ": not a pVM image: no ELF"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &fakePVM{out: make(chan engine.Chunk), in: make(chan []byte, 16), size: make(chan [2]int, 4), done: make(chan struct{}), held: make(chan struct{})}
	name := r.Name
	if name == "" {
		name = word
	}
	p.Detail = engine.Detail{Process: engine.Process{PID: f.next, Family: f.next, Name: name, Stat: "R", CPU: 1.5, Time: 3 * time.Second,
		Memory: 1258291, MaxMem: 8 << 20, Shared: 4096, Image: r.Image, Args: r.Args, VCPUs: 1, Started: born, TTY: r.TTY},
		Env: r.Env, Restart: r.Restart, Weight: 256, LogPath: "/log", ImageSHA: "abc"}
	if p.Foreign = word == "foreign"; p.Foreign {
		p.UUID, p.Image, p.Args, p.Started = "0123", "", nil, time.Time{}
	}
	f.pvms[f.next] = p
	f.next++
	if r.Memory != 0 {
		p.MaxMem = r.Memory
	}
	if !r.Hold {
		close(p.held)
	}
	f.events = append(f.events, engine.Event{Seq: uint64(len(f.events) + 1), Time: born, Type: "started", PID: p.PID, Name: name, Text: "run"})
	go f.program(p, word, r)
	return &engine.RunReply{PID: p.PID}, nil
}

// Fork makes children that spin; a family has at most five members.
func (f *fake) Fork(_ context.Context, pid, count int) (pids []int, err error) {
	p, err := f.get(pid, true)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.Stat == "T" {
		return nil, &engine.Error{Code: engine.CodeBusy, Msg: fmt.Sprintf("(%d): is stopped: kill -CONT %d first", pid, pid)}
	}
	for range count {
		members := 0
		for _, q := range f.pvms {
			if q.Family == p.Family {
				members++
			}
		}
		if members >= 5 {
			return pids, &engine.Error{Code: engine.CodeLimit, Msg: fmt.Sprintf("(%d): family %d has 5 members, as many as it may", pid, p.Family)}
		}
		c := &fakePVM{Detail: p.Detail, done: make(chan struct{}), held: make(chan struct{})}
		c.PID, c.PPID = f.next, pid
		f.pvms[f.next] = c
		f.next++
		pids = append(pids, c.PID)
		p.Children = append(p.Children, c.PID)
	}
	return pids, nil
}

// SignalTree leaves a zombie of each descendant: nobody waits for it.
func (f *fake) SignalTree(_ context.Context, pid, sig int) error {
	return f.sendAll(pid, sig, func(p *fakePVM) bool {
		for q := p; q != nil; q = f.pvms[q.PPID] {
			if q.PID == pid {
				return true
			}
		}
		return false
	})
}

func (f *fake) SignalFamily(_ context.Context, family, sig int) error {
	return f.sendAll(family, sig, func(p *fakePVM) bool { return p.Family == family })
}

func (f *fake) sendAll(n, sig int, wanted func(*fakePVM) bool) error {
	f.mu.Lock()
	var all []*fakePVM
	for _, p := range f.pvms {
		if p.Exit == nil && wanted(p) {
			all = append(all, p)
		}
	}
	f.mu.Unlock()
	if len(all) == 0 {
		return &engine.Error{Code: engine.CodeNoPVM, Msg: fmt.Sprintf("(%d): no such pVM", n)}
	}
	for _, p := range all {
		f.send(p.PID, sig, false)
		if f.mu.Lock(); p.PPID != 0 {
			p.Stat = "Z"
		}
		f.mu.Unlock()
	}
	return nil
}

// program is what the pVM does.
func (f *fake) program(p *fakePVM, word string, r engine.RunRequest) {
	<-p.held
	say := func(stream int, format string, a ...any) bool {
		c := engine.Chunk{Stream: stream, Time: time.Now(), Data: fmt.Appendf(nil, format, a...)}
		p.keptMu.Lock()
		if len(p.kept) < 1000 {
			p.kept = append(p.kept, c)
		}
		p.keptMu.Unlock()
		if !r.Hold {
			return true
		}
		select {
		case p.out <- c:
			return true
		case <-p.done:
			return false
		}
	}
	var n int
	if _, err := fmt.Sscanf(word, "exit%d", &n); err == nil {
		f.end(p, n, 0, "")
		return
	}
	switch word {
	case "hello":
		say(engine.Stdout, "Hello from a pVM\n")
		say(engine.Stderr, "and its stderr\n")
		f.end(p, 0, 0, "")
	case "args":
		say(engine.Stdout, "%s\n", strings.Join(r.Args[1:], " "))
		say(engine.Stdout, "%s\n", strings.Join(r.Env, " "))
		f.end(p, 0, 0, "")
	case "crash":
		say(engine.Kernel, "SIGSEGV: write to address 0x0\n")
		f.end(p, 139, 11, "SIGSEGV: write to address 0x0")
	case "abort":
		f.end(p, 134, 6, "")
	case "size":
		say(engine.Stdout, "size %dx%d\r\n", r.Rows, r.Cols)
		for {
			select {
			case s := <-p.size:
				say(engine.Stdout, "size %dx%d\r\n", s[0], s[1])
			case <-p.done:
				return
			}
		}
	case "flood":
		for say(engine.Stdout, "%s\n", strings.Repeat("x", 1000)) {
		}
	case "tick":
		for n := 1; say(engine.Stdout, "tick %d\n", n); n++ {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-p.done:
				return
			}
		}
	case "cat":
		f.cat(p, say, r)
	case "polite", "deaf": // end well at the first key: one takes it, one has not even looked
		say(engine.Stdout, "ready\r\n")
		data := <-p.in
		f.mu.Lock()
		if word == "polite" {
			p.taken = uint32(len(data))
		}
		f.mu.Unlock()
		f.end(p, 0, 0, "")
	}
}

// cat is the program cat, and the line discipline of its terminal.
func (f *fake) cat(p *fakePVM, say func(int, string, ...any) bool, r engine.RunRequest) {
	if !r.Stdin {
		f.end(p, 0, 0, "")
		return
	}
	for {
		select {
		case data := <-p.in:
			f.mu.Lock()
			p.taken += uint32(len(data))
			f.mu.Unlock()
			if data == nil || r.TTY && slices.Contains(data, 4) {
				f.end(p, 0, 0, "")
				return
			}
			if r.TTY && slices.Contains(data, 3) {
				f.end(p, 130, 2, "")
				return
			}
			say(engine.Stdout, "%s", strings.ReplaceAll(string(data), "\r", "\r\n"))
		case <-p.done:
			return
		}
	}
}

func (f *fake) end(p *fakePVM, code, sig int, reason string) {
	p.once.Do(func() {
		f.mu.Lock()
		p.Exit = &engine.Exit{Code: code, Signal: sig, Reason: reason, Time: born, InputTaken: p.taken}
		p.Stat = "X"
		f.mu.Unlock()
		close(p.done)
	})
}

func (f *fake) Snapshot(_ context.Context, exited bool) (*engine.Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &engine.Snapshot{Time: born.Add(time.Minute), Host: "fakehost", Hypervisor: "fake", Pool: f.pool}
	for pid := 1; pid < f.next; pid++ {
		if p := f.pvms[pid]; exited || p.Exit == nil || p.Stat == "Z" {
			s.Processes = append(s.Processes, p.Process)
		}
	}
	return s, nil
}

func (f *fake) Inspect(_ context.Context, pid int) (*engine.Detail, error) {
	p, err := f.get(pid, false)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d := p.Detail
	return &d, nil
}

func (f *fake) Libraries(_ context.Context, pid int) ([]engine.Library, error) {
	if _, err := f.get(pid, true); err != nil {
		return nil, err
	}
	use := engine.LibraryUse{Name: "libm.so", Path: "/lib/libm.so", SHA256: strings.Repeat("0123456789abcdef", 4), Base: 0x450000, Bytes: 8192, Shared: 4096, Loader: "any", Version: 3, Signed: "Ed25519"}
	return []engine.Library{{LibraryUse: use, Sharers: 2, Bound: 3, Lazy: 66}}, nil
}

// Update replaces libm.so; what comes of it is decided by the new file's name, and a pVM whose name is frail ends of it.
func (f *fake) Update(_ context.Context, pid int, r engine.UpdateRequest, waits func(engine.UpdateWait)) (*engine.UpdateResult, error) {
	p, err := f.get(pid, true)
	if err != nil {
		return nil, err
	}
	fail := func(code engine.Code, format string, args ...any) (*engine.UpdateResult, error) {
		e := &engine.Error{Code: code, Msg: fmt.Sprintf("(%d): ", pid) + fmt.Sprintf(format, args...)}
		if code == engine.CodeChanged {
			e.Reasons = []string{"sin: gone", "cos: another type"}
		}
		return nil, e
	}
	if !(&engine.LibraryUse{Name: "libm.so", Path: "/lib/libm.so"}).AnswersTo(r.Old) {
		return fail(engine.CodeInvalid, "has no library %s", r.Old)
	}
	word := r.New[strings.LastIndex(r.New, "/")+1:]
	switch {
	case r.Rollback:
		word = "back"
	case word == "busy.so":
		wait := engine.UpdateWait{Thread: 2, Where: "libm.so:sin+0x4"}
		waits(wait)
		return fail(engine.CodeBusy, "libm.so is in use: %s, %v", wait, r.Timeout)
	case word == "other.so":
		return fail(engine.CodeChanged, "cannot take its place: 2 reasons")
	case p.Name == "frail":
		f.end(p, 139, 11, "")
	}
	return &engine.UpdateResult{
		PID: pid, Library: "libm.so", Old: engine.LibraryFile{Path: "/lib/libm.so"}, New: engine.LibraryFile{Path: word}, Already: word == "same.so", DryRun: r.DryRun,
		Steps: []engine.Step{{Name: "check", Took: time.Millisecond}, {Name: "functions", Took: 38 * time.Microsecond}}, Pause: 40 * time.Microsecond,
		Scanned: 1 << 20, Functions: 1, Variables: 2, Pointers: 3, Pinned: uint64(len(word)) / 8,
	}, nil
}

func (f *fake) Signal(_ context.Context, pid, sig int) error {
	return f.send(pid, sig, false)
}

func (f *fake) Force(_ context.Context, pid, sig int) error { return f.send(pid, sig, true) }

func (f *fake) send(pid, sig int, force bool) error {
	p, err := f.get(pid, true)
	if err != nil {
		return err
	}
	if p.Foreign && !force {
		return &engine.Error{Code: engine.CodeForeign, Msg: fmt.Sprintf("(%d): a domain that somebody else made: --force", pid)}
	}
	switch syscall.Signal(sig) {
	case 0:
	case syscall.SIGSTOP, syscall.SIGCONT:
		f.mu.Lock()
		p.Stat = map[bool]string{true: "T", false: "R"}[sig == int(syscall.SIGSTOP)]
		f.mu.Unlock()
	default:
		f.end(p, 128+sig, sig, "")
	}
	return nil
}

func (f *fake) Wait(ctx context.Context, pid int) (*engine.Exit, error) {
	p, err := f.get(pid, false)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
		return p.Exit, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fake) Attach(_ context.Context, pid int, o engine.AttachOptions) (engine.Console, error) {
	p, err := f.get(pid, false)
	if err != nil {
		return nil, err
	}
	if o.FromStart {
		close(p.held)
	}
	return &fakeConsole{p: p, closed: make(chan struct{})}, nil
}

type fakeConsole struct {
	p      *fakePVM
	closed chan struct{}
	once   sync.Once
	taken  uint32 // of its input, when it ended
}

func (c *fakeConsole) Recv() (engine.Chunk, error) {
	select {
	case chunk := <-c.p.out:
		return chunk, nil
	default:
	}
	select {
	case chunk := <-c.p.out:
		return chunk, nil
	case <-c.p.done:
		return engine.Chunk{}, io.EOF
	case <-c.closed:
		return engine.Chunk{}, io.ErrClosedPipe
	}
}

func (c *fakeConsole) Send(p []byte) error {
	select {
	case c.p.in <- append([]byte{}, p...):
		return nil
	case <-c.p.done:
		return io.ErrClosedPipe
	}
}

func (c *fakeConsole) CloseSend() error {
	select {
	case c.p.in <- nil:
	case <-c.p.done:
	}
	return nil
}

func (c *fakeConsole) Resize(rows, cols int) error { c.p.size <- [2]int{rows, cols}; return nil }
func (c *fakeConsole) Close() error                { c.once.Do(func() { close(c.closed) }); return nil }

func (f *fake) Logs(_ context.Context, pid int, o engine.LogOptions) (engine.LogReader, error) {
	p, err := f.get(pid, false)
	if err != nil {
		return nil, err
	}
	if !o.Follow {
		for end := time.Now().Add(time.Second); !p.hasWritten() && time.Now().Before(end); { // it may not have begun
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond) // what it writes at once
	}
	p.keptMu.Lock()
	defer p.keptMu.Unlock()
	l := &fakeLog{p: p, follow: o.Follow, closed: make(chan struct{})}
	if o.Lines >= 0 {
		l.next = max(0, len(p.kept)-o.Lines)
	}
	return l, nil
}

// hasWritten tells whether something is kept of it, or never will be.
func (p *fakePVM) hasWritten() bool {
	p.keptMu.Lock()
	defer p.keptMu.Unlock()
	select {
	case <-p.done:
		return true
	default:
		return len(p.kept) > 0
	}
}

type fakeLog struct {
	next   int
	p      *fakePVM
	follow bool
	closed chan struct{}
	once   sync.Once
	taken  uint32 // of its input, when it ended
}

func (l *fakeLog) Recv() (engine.Chunk, error) {
	for {
		ended := !l.follow
		select {
		case <-l.p.done:
			ended = true
		case <-l.closed:
			return engine.Chunk{}, io.ErrClosedPipe
		default:
		}
		l.p.keptMu.Lock()
		kept := l.p.kept
		l.p.keptMu.Unlock()
		if l.next < len(kept) {
			l.next++
			return kept[l.next-1], nil
		}
		if ended {
			return engine.Chunk{}, io.EOF
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (l *fakeLog) Lost() int64 {
	if l.p.Name == "lossy" {
		return 2048
	}
	return 0
}
func (l *fakeLog) Close() error { l.once.Do(func() { close(l.closed) }); return nil }

func (f *fake) Limit(_ context.Context, pid int, l engine.Limits) error {
	p, err := f.get(pid, true)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if l.Weight != nil {
		p.Weight = *l.Weight
	}
	if l.CPUs != nil {
		p.CPUs = *l.CPUs
	}
	if l.MaxMem != nil {
		p.MaxMem = *l.MaxMem
	}
	if l.Spin != nil {
		p.NoSpin = !*l.Spin
	}
	if l.Family != nil {
		p.Members, p.MaxFamily = 1, *l.Family
	}
	return nil
}

func (f *fake) Events(_ context.Context, seq uint64, follow bool) (engine.EventReader, error) {
	return &fakeEvents{list: slices.Clone(f.events), follow: follow, closed: make(chan struct{})}, nil
}

type fakeEvents struct {
	list   []engine.Event
	follow bool
	closed chan struct{}
	once   sync.Once
	taken  uint32 // of its input, when it ended
}

func (e *fakeEvents) Recv() (engine.Event, error) {
	if len(e.list) > 0 {
		ev := e.list[0]
		e.list = e.list[1:]
		return ev, nil
	}
	if e.follow {
		<-e.closed
		return engine.Event{}, io.ErrClosedPipe
	}
	return engine.Event{}, io.EOF
}
func (e *fakeEvents) Close() error { e.once.Do(func() { close(e.closed) }); return nil }

func (f *fake) Metrics(context.Context) ([]byte, error)    { return []byte("# EOF\n"), nil }
func (f *fake) Pool(context.Context) (*engine.Pool, error) { return &f.pool, nil }
func (f *fake) PoolResize(_ context.Context, kind engine.PoolKind, n int) error {
	if kind == engine.PoolPlaceholder {
		f.pool.Placeholders.Want = n
	} else {
		f.pool.Want = n
	}
	return nil
}
func (f *fake) Shutdown(context.Context, bool) error { return nil }
func (f *fake) Close() error                         { f.closed = true; return nil }

func engineRequest(image string) engine.RunRequest {
	return engine.RunRequest{Image: image, Args: []string{image}}
}

func apiOf(f *fake) func() (engine.API, error) {
	return func() (engine.API, error) { return f, nil }
}

// IPC is a family with one queue, 11, one segment, 12, one set, 13, and one pipe, 14. The queue holds what was sent last.
func (f *fake) IPC(ctx context.Context, pid int, r engine.IPCRequest) (*engine.IPCReply, error) {
	p, err := f.get(pid, false)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	reply := &engine.IPCReply{Family: p.Family, ID: r.ID}
	switch r.Op {
	case engine.IPCList:
		reply.Objects = []engine.SharedObject{
			{Family: p.Family, Kind: engine.KindQueue, ID: 11, Key: 42, Mode: 0o644, Bytes: uint64(len(f.message)), Count: len(f.message), Receiver: 7, TotalBytes: math.MaxUint64},
			{Family: p.Family, Kind: engine.KindSegment, ID: 12, Key: 0xfffffffe, Mode: 0o600, UID: 5, Bytes: uint64(len(f.segment)), Count: 2, Removed: true, Readers: []int{1, 2}},
			{Family: p.Family, Kind: engine.KindSemaphores, ID: 13, Count: 3, Mode: 0o7},
			{Family: p.Family, Kind: engine.KindPipe, ID: 14, Bytes: 9, Writers: []int{3, 4}, WriterCount: 5, MaxBytes: 65536, TotalBytes: 5000},
		}
	case engine.IPCKey:
		reply.Key = uint32(r.Project<<24 | len(r.Path))
	case engine.IPCQueue, engine.IPCSegment:
		if reply.ID = int(r.Key) + 1; !r.Create {
			return nil, &engine.Error{Code: engine.CodeInvalid, Msg: fmt.Sprintf("key %#x: family %d has none", r.Key, p.Family)}
		}
	case engine.IPCSend:
		f.message = r.Data
	case engine.IPCReceive:
		if f.message == nil && r.Wait {
			f.mu.Unlock()
			<-ctx.Done()
			f.mu.Lock()
			return nil, ctx.Err()
		}
		if f.message == nil {
			return nil, &engine.Error{Code: engine.CodeBusy, Msg: fmt.Sprintf("(%d): no message", r.ID)}
		}
		reply.Data, reply.Type, f.message = f.message, 5, nil
	case engine.IPCRead:
		from := min(r.Offset, uint64(len(f.segment)))
		reply.Data = f.segment[from:min(from+r.Size, uint64(len(f.segment)))]
		reply.Size = uint64(len(reply.Data))
	case engine.IPCWrite:
		reply.Size = uint64(copy(f.segment[r.Offset:], r.Data))
	case engine.IPCPipe:
		switch to := f.pvms[r.To]; {
		case to == nil:
			return nil, &engine.Error{Code: engine.CodeNoPVM, Msg: fmt.Sprintf("(%d): no such pVM", r.To)}
		case to.Family != p.Family:
			return nil, &engine.Error{Code: engine.CodeInvalid, Msg: fmt.Sprintf("%d and %d are of different families", pid, r.To)}
		}
		reply.ID = 14
	case engine.IPCRemove:
		if r.ID < 11 || r.ID > 13 {
			return nil, &engine.Error{Code: engine.CodeInvalid, Msg: fmt.Sprintf("(%d): no such object", r.ID)}
		}
	}
	return reply, nil
}
