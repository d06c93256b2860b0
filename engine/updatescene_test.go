package engine

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
	"kxsh/xen/fake"
)

// An image in miniature that uses a library, and the library: nobody runs them here, but the engine links them.
const (
	updateImage = `
	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 2
	.asciz "Xen"
	.quad hypercall_page
	.section .note.KX, "a", @note
	.balign 4
	.long 3, 24, 1
	.asciz "KX"
	.balign 4
	.long %d, 0
	.quad 0x20000, 0x400000
	.text
	.globl start, kx_resolve
start:	call work@plt
	hlt
kx_resolve: hlt
	.balign 4096
hypercall_page:
	.skip 4096, 0xcc
	.bss
	.balign 8
	.globl kx_libraries
	.type kx_libraries, @object
	.size kx_libraries, 1640
kx_libraries: .skip 1640
	.section .note.GNU-stack, "", @progbits
`
	workOld     = "int count = 1; static int calls; int work(int x) { calls++; return count + x; }\n"
	workNew     = "int count = 1; static int calls; int more(void) { return calls; } int work(int x) { calls++; return count * x; }\n"
	workNewer   = "int count = 2; static int calls; int more(void) { return calls; } int work(int x) { calls += 2; return count * x; }\n"
	workRetyped = "long count = 1; int work(int x) { return count * x; }\n"
	workGone    = "int count = 1; int other(int x) { return count * x; }\n"
)

// workshop is a folder with an image and what replaces its library.
type workshop struct {
	dir, image string
}

func (w workshop) path(name string) string { return filepath.Join(w.dir, name) }

// compiledWorkshop is what was compiled, by the names of files: it takes a second.
var compiledWorkshop map[string][]byte

func newWorkshop(t *testing.T) workshop {
	t.Helper()
	w := workshop{dir: t.TempDir()}
	w.image = w.path("app.kx")
	if compiledWorkshop == nil {
		w.compile(t)
	}
	for name, data := range compiledWorkshop {
		if err := os.WriteFile(w.path(name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w workshop) compile(t *testing.T) {
	libs := map[string]string{"libwork.so": workOld, "new.so": workNew, "newer.so": workNewer, "retyped.so": workRetyped, "gone.so": workGone}
	for name, text := range libs {
		w.gcc(t, name, "x.c", text, "-shared", "-g", "-O1", "-fPIC", "-fplt", "-fcf-protection=none", "-Wl,-soname,libwork.so")
	}
	w.gcc(t, "app.kx", "x.S", fmt.Sprintf(updateImage, elf.ABIVersion), "-no-pie", w.path("libwork.so"), "-Wl,--no-dynamic-linker", "-Wl,-E", "-Wl,-e,start",
		"-Wl,-Ttext-segment=0x400000", "-Wl,--allow-shlib-undefined")
	compiledWorkshop = map[string][]byte{}
	for _, name := range append(slices.Collect(maps.Keys(libs)), "app.kx") {
		data, err := os.ReadFile(w.path(name))
		if err != nil {
			t.Fatal(err)
		}
		compiledWorkshop[name] = data
	}
}

func (w workshop) gcc(t *testing.T, out, source, text string, flags ...string) {
	t.Helper()
	src := w.path(source)
	if err := os.WriteFile(src, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-nostdlib", "-fno-stack-protector", "-Wl,-z,lazy", "-Wl,-z,norelro", "-Wl,-z,noexecstack", "-Wl,--hash-style=sysv",
		"-Wl,--build-id=none", "-o", w.path(out), src}, flags...)
	if b, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc %s: %v\n%s", strings.Join(args, " "), err, b)
	}
}

// scene is an engine with a pVM that has a library, and does with tasks what a test wants.
type scene struct {
	workshop
	t     *testing.T
	host  *fake.Host
	e     *Engine
	state string
	pid   int
	guest atomic.Pointer[fake.Guest] // the root
	does  atomic.Pointer[func(b body, t *ipc.Task) int64]
	acts  chan func(b body) // at SIGUSR2
	asked atomic.Int32
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{workshop: newWorkshop(t), t: t, state: t.TempDir(), acts: make(chan func(b body), 1)}
	s.does.Store(new(func(body, *ipc.Task) int64))
	s.host = fake.NewHost(func(*xen.Boot) fake.Program {
		return inhabit(func(b body) { s.guest.Store(b.Guest); s.live(b) })
	})
	s.e = newEngine(t, s.host, s.state)
	t.Cleanup(func() {
		s.e.Shutdown(context.Background(), true)
		s.e.Stop()
	})
	s.pid = s.start()
	return s
}

func (s *scene) start(change ...func(*RunRequest)) int {
	s.t.Helper()
	r := RunRequest{Image: s.image}
	for _, f := range change {
		f(&r)
	}
	reply, err := s.e.Run(context.Background(), r)
	if err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "a guest", func() bool { return s.guest.Load() != nil && int(s.guest.Load().ID) == reply.PID })
	linked := s.e.table[reply.PID].linked.Load()
	s.guest.Load().SetWord(linked.BaseWord(0), linked.Libraries[0].Base)
	return reply.PID
}

// live does tasks; SIGUSR1 is a fork, whose child lives likewise.
func (s *scene) live(b body) {
	for {
		switch c := b.command(); {
		case c.Op == abi.CmdTask:
			b.someTasks(0, func(t *ipc.Task) int64 {
				s.asked.Add(1)
				return (*s.does.Load())(b, t)
			})
		case c.Op == abi.CmdSignal && c.Arg0 == uint32(unix.SIGUSR1):
			b.printf("forked %d\n", b.fork(s.live))
		case c.Op == abi.CmdSignal && c.Arg0 == uint32(unix.SIGUSR2):
			(<-s.acts)(b)
		}
	}
}

// will has pVMs do that with an update.
func (s *scene) will(f func(b body, t *ipc.Task) int64) { s.does.Store(&f) }

// switches does what the LibOS does, as far as the engine sees it.
func (s *scene) switches(b body, t *ipc.Task) int64 {
	return switchesTo(s.record(int(b.ID)).Updating, b, t)
}

func switchesTo(now *updating, b body, t *ipc.Task) int64 {
	if t.Op != abi.TaskUpdate || now == nil || t.A[0] != now.Plan.VA {
		return -int64(unix.EINVAL)
	}
	if t.A[1] != abi.UpdateTry {
		b.SetWord(now.BaseWord, now.New.Base)
	}
	says(t, &abi.KxUpdated{Ns: [abi.UpdateStages]uint64{1000, 2000, 3000, 4000, 5000}, Bytes: 7, Functions: 3, Variables: 2, Pointers: 1})
	return 0
}

// says is what a task brings back.
func says(t *ipc.Task, u *abi.KxUpdated) {
	t.Data = bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(u)), unsafe.Sizeof(*u)))
}

// fails has the update not be done.
func fails(errno unix.Errno, u abi.KxUpdated) func(body, *ipc.Task) int64 {
	return func(_ body, t *ipc.Task) int64 {
		says(t, &u)
		return -int64(errno)
	}
}

func (s *scene) record(pid int) record {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return s.e.table[pid].rec
}

// update is that of the scene's pVM to a file.
func (s *scene) update(file string, change ...func(*UpdateRequest)) (*UpdateResult, error) {
	return s.updateOf(s.pid, file, change...)
}

func (s *scene) updateOf(pid int, file string, change ...func(*UpdateRequest)) (*UpdateResult, error) {
	r := UpdateRequest{Old: "libwork.so", New: s.path(file), Timeout: time.Minute}
	for _, f := range change {
		f(&r)
	}
	return s.e.Update(context.Background(), pid, r, nil)
}

// updateState is what a failed update must not change.
type updateState struct {
	rec    record
	linked elf.Placed
	mapped []xen.Range
	users  int
}

func (s *scene) now() (u updateState) {
	u.rec = s.record(s.pid)
	u.rec.CPU, u.rec.Time = 0, 0
	if linked := s.e.table[s.pid].linked.Load(); linked != nil {
		u.linked = linked.Libraries[0]
	}
	u.mapped = s.guest.Load().Mapped()
	s.e.libs.mu.Lock()
	defer s.e.libs.mu.Unlock()
	for _, l := range s.e.libs.order {
		u.users += l.users
	}
	return u
}

// ended waits for the end of all updates, until the store has it.
func (s *scene) ended() {
	s.t.Helper()
	eventually(s.t, "the end of an update", func() bool {
		recs, _, err := s.e.store.all()
		s.e.mu.Lock()
		defer s.e.mu.Unlock()
		for _, p := range s.e.table {
			if p.update != nil || p.rec.Updating != nil {
				return false
			}
		}
		return err == nil && !slices.ContainsFunc(recs, func(r *record) bool { return r.Updating != nil })
	})
}

// has wants the pVM to have that file, and nothing else mapped.
func (s *scene) has(file string) {
	s.t.Helper()
	s.ended()
	now := s.now()
	l := now.rec.Libraries[0]
	if l.Path != s.path(file) || now.users != 0 || now.linked.Library != nil && now.linked.Base != l.Base {
		s.t.Errorf("%+v, linked at %#x, %d users", l, now.linked.Base, now.users)
	}
	for _, m := range now.mapped {
		if m.VA < l.Base || m.VA >= l.Base+l.Bytes {
			s.t.Errorf("%#x: still mapped, beside %#x", m.VA, l.Base)
		}
	}
	if len(now.mapped) < 2 {
		s.t.Errorf("mapped: %+v", now.mapped)
	}
	recs, _, err := s.e.store.all()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range recs {
		if r.PID == s.pid && (!reflect.DeepEqual(r.Libraries, now.rec.Libraries) || r.Updating != nil) {
			s.t.Errorf("stored: %+v", r.Libraries)
		}
	}
}
