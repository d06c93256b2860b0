package engine

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// A library is replaced, and replaced again, and the last update undone.
func TestUpdate(t *testing.T) {
	s := newScene(t)
	busy := 2
	s.will(func(b body, task *ipc.Task) int64 {
		if busy--; busy >= 0 {
			return fails(unix.EBUSY, abi.KxUpdated{Tid: 3, Value: s.record(s.pid).Libraries[0].Base + 0x20})(b, task)
		}
		return s.switches(b, task)
	})
	var waits []UpdateWait
	before := s.record(s.pid).Libraries[0]
	api := viaSocket(t, s.e)
	r, err := api.Update(context.Background(), s.pid, UpdateRequest{Old: "libwork.so", New: s.path("new.so"), Timeout: time.Minute}, func(w UpdateWait) { waits = append(waits, w) })
	if err != nil {
		t.Fatal(err)
	}
	s.has("new.so")
	var names []string
	for _, step := range r.Steps {
		names = append(names, step.Name)
	}
	if got := strings.Join(names, ", "); got != "check, plan, map, wait, quiescence, own pages, functions, variables, release" {
		t.Errorf("steps: %s", got)
	}
	if r.Pause != 15*time.Microsecond || r.Scanned != 7 || r.Functions != 3 || r.Variables != 2 || r.Pointers != 1 || r.Pinned != 0 {
		t.Errorf("%+v", r)
	}
	if len(waits) != 1 || waits[0].Thread != 3 || !strings.HasPrefix(waits[0].Where, "libwork.so") {
		t.Errorf("waited for %+v", waits)
	}
	after := s.record(s.pid).Libraries[0]
	if after.Base == before.Base || after.Previous == nil || *after.Previous != (LibraryFile{before.Path, before.SHA256}) || r.Old != *after.Previous {
		t.Errorf("%+v", after)
	}
	if evs := eventsOf(t, s.e, "updated"); len(evs) != 1 || evs[0].PID != s.pid || len(evs[0].Steps) != len(r.Steps) {
		t.Errorf("events %+v", evs)
	}
	if r, err := s.update("new.so"); err != nil || !r.Already {
		t.Errorf("the same again: %+v, %v", r, err)
	}
	if _, err := s.update("newer.so", func(r *UpdateRequest) { r.Old = s.path("new.so") }); err != nil {
		t.Fatal(err)
	}
	s.has("newer.so")
	back := func(r *UpdateRequest) { r.New, r.Rollback = "", true }
	if _, err := s.update("", back); err != nil {
		t.Fatal(err)
	}
	s.has("new.so")
	if _, err := s.update("", back); codeOf(err) != CodeInvalid {
		t.Errorf("back twice: %v", err)
	}
	if _, err := s.update("libwork.so"); codeOf(err) != CodeChanged { // it lacks what there is now
		t.Errorf("by an older one: %v", err)
	}
}

// Constants of the old library that are used still stay, with their addresses.
func TestUpdatePinned(t *testing.T) {
	s := newScene(t)
	s.will(func(b body, task *ipc.Task) int64 {
		r := s.switches(b, task)
		says(task, &abi.KxUpdated{Pinned: 2})
		return r
	})
	old := s.record(s.pid).Libraries[0].pages()
	r, err := s.update("new.so")
	if err != nil || r.Pinned != 2 {
		t.Fatal(r, err)
	}
	rec := s.record(s.pid)
	if len(rec.Kept) != 1 || rec.Kept[0] != old {
		t.Errorf("kept: %+v, want %+v", rec.Kept, old)
	}
	if _, err := s.update("newer.so"); err != nil {
		t.Fatal(err)
	}
	now := s.record(s.pid).Libraries[0].pages()
	if now.VA < old.VA+old.Pages*elf.PageSize && old.VA < now.VA+now.Pages*elf.PageSize {
		t.Errorf("%+v is over %+v", now, old)
	}
	for i := 2; i < abi.Libraries-1; i++ {
		if _, err := s.update([]string{"new.so", "newer.so"}[i%2]); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, err := s.update("newer.so"); codeOf(err) != CodeLimit || !strings.Contains(err.Error(), "constants of 15 old libraries") {
		t.Errorf("too many stay: %v", err)
	}
}

// Whatever fails, the pVM has what it had, and the next update works.
func TestUpdateFails(t *testing.T) {
	s := newScene(t)
	none := func(*UpdateRequest) {}
	at := func(off uint64) abi.KxUpdated {
		return abi.KxUpdated{Tid: 4, At: 0x1234, Value: s.record(s.pid).Libraries[0].Base + off}
	}
	for _, c := range []struct {
		name   string
		file   string
		does   func(body, *ipc.Task) int64
		change func(*UpdateRequest)
		code   Code
		words  string
	}{
		{"no such library", "new.so", nil, func(r *UpdateRequest) { r.Old = "libother.so" }, CodeInvalid, "has no library libother.so: ldd"},
		{"no such file", "none.so", nil, none, CodeNoImage, "no such file"},
		{"relative", "", nil, func(r *UpdateRequest) { r.New = "new.so" }, CodeInvalid, "absolute path"},
		{"no library", "app.kx", nil, none, CodeBadImage, "link it with kxsh cc -shared"},
		{"retyped", "retyped.so", nil, none, CodeChanged, "cannot take the place of"},
		{"gone", "gone.so", nil, none, CodeChanged, "cannot take the place of"},
		{"never updated", "", nil, func(r *UpdateRequest) { r.New, r.Rollback = "", true }, CodeInvalid, "nothing to go back to"},
		{"busy", "new.so", fails(unix.EBUSY, at(16)), func(r *UpdateRequest) { r.Timeout = 30 * time.Millisecond }, CodeBusy, "is in use: thread 4 in libwork.so"},
		{"dry and busy", "new.so", fails(unix.EBUSY, at(16)), func(r *UpdateRequest) { r.DryRun = true }, CodeBusy, "is in use"},
		{"dry", "new.so", s.switches, func(r *UpdateRequest) { r.DryRun = true }, "", ""},
		{"pointer", "new.so", fails(unix.EXDEV, at(32)), none, CodeChanged, "there is a pointer to libwork.so"},
		{"memory", "new.so", fails(unix.ENOMEM, at(0)), none, CodeLimit, "memory"},
		{"strange", "new.so", fails(unix.EINVAL, at(0)), none, CodeInternal, "invalid argument"},
		{"positive", "new.so", func(body, *ipc.Task) int64 { return 7 }, none, CodeInternal, "makes no sense"},
		{"no data", "new.so", func(_ body, t *ipc.Task) int64 { t.Data = nil; return -int64(unix.EBUSY) }, none, CodeInternal, "its answer"},
		{"large data", "new.so", func(b body, t *ipc.Task) int64 {
			t.Op = 0
			*(*uint32)(unsafe.Pointer(&b.Control()[abi.TaskVa-abi.CtlVa+4])) = 1 << 20
			return 0
		}, none, CodeInternal, "its answer"},
	} {
		if c.does == nil {
			c.does = func(body, *ipc.Task) int64 { t.Errorf("%s: it was asked", c.name); return -1 }
		}
		s.will(c.does)
		before := s.now()
		_, err := s.update(c.file, c.change)
		if codeOf(err) != c.code || err != nil && (!strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "\n")) || c.code == "" && err != nil {
			t.Errorf("%s: %s: %v", c.name, codeOf(err), err)
		}
		var own *Error
		if errors.As(err, &own) && (len(own.Reasons) > 0) != strings.Contains(c.words, "take the place") {
			t.Errorf("%s: reasons %q", c.name, own.Reasons)
		}
		s.same(c.name, before)
	}
	for _, step := range []string{"map", "unmap"} {
		s.will(fails(unix.ENOMEM, at(0)))
		before := s.now()
		s.host.Fail(func(name string) error {
			if name == step {
				return xen.ErrNoMemory
			}
			return nil
		})
		if _, err := s.update("new.so"); codeOf(err) != CodeLimit {
			t.Errorf("%s: %v", step, err)
		}
		s.host.Fail(nil)
		if step == "map" {
			s.same(step, before)
			continue
		}
		for _, r := range s.record(s.pid).Kept { // what could not be taken away nobody will use
			s.e.table[s.pid].dom.Unmap(r)
		}
		if n := len(s.record(s.pid).Kept); n != 2 {
			t.Errorf("%d ranges are kept", n)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.will(func(b body, t *ipc.Task) int64 { cancel(); return fails(unix.EBUSY, at(16))(b, t) })
	before := s.now()
	if _, err := s.e.Update(ctx, s.pid, UpdateRequest{Old: "libwork.so", New: s.path("new.so"), Timeout: time.Minute}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits: %v", err)
	}
	s.same("nobody waits", before)
	s.e.Signal(context.Background(), s.pid, int(unix.SIGSTOP))
	if _, err := s.update("new.so"); codeOf(err) != CodeBusy || !strings.Contains(err.Error(), "kill -CONT") {
		t.Errorf("stopped: %v", err)
	}
	s.e.Signal(context.Background(), s.pid, int(unix.SIGCONT))
	s.same("stopped", before)
	s.will(s.switches)
	if _, err := s.update("new.so"); err != nil {
		t.Error(err)
	}
	s.has("new.so")
	s.will(func(b body, t *ipc.Task) int64 { b.Guest.Exit(1); return 0 })
	if _, err := s.update("newer.so"); codeOf(err) != CodeNoPVM {
		t.Errorf("ends: %v", err)
	}
	wait(t, s.e, s.pid)
	s.ended()
	if _, err := s.update("newer.so"); codeOf(err) != CodeNoPVM {
		t.Errorf("ended: %v", err)
	}
	if n := s.now().users; n != 0 {
		t.Errorf("%d users are left", n)
	}
}

func (s *scene) same(name string, before updateState) {
	s.t.Helper()
	if after := s.now(); !reflect.DeepEqual(after, before) {
		s.t.Errorf("%s: %+v, before %+v", name, after, before)
	}
}

// What has not said how it went is neither updated nor forked until it has; then it is as it says.
func TestUpdateUnsettled(t *testing.T) {
	for _, switched := range []bool{false, true} {
		s := newScene(t)
		s.e.patience = 100 * time.Millisecond
		goOn := make(chan struct{})
		s.will(func(b body, task *ipc.Task) int64 {
			<-goOn
			if switched {
				return s.switches(b, task)
			}
			return fails(unix.ENOMEM, abi.KxUpdated{})(b, task)
		})
		eventually(t, "an update that has begun", func() bool { // it may not even have been fetched so soon
			_, err := s.update("new.so")
			if codeOf(err) != CodeBusy {
				t.Fatal(err)
			}
			return strings.Contains(err.Error(), "has not said how it went")
		})
		if _, err := s.update("new.so"); codeOf(err) != CodeBusy || !strings.Contains(err.Error(), "by somebody else") {
			t.Error(err)
		}
		close(goOn)
		if switched {
			s.has("new.so")
		} else {
			s.has("libwork.so")
		}
		s.will(s.switches)
		eventually(t, "another update", func() bool { _, err := s.update("newer.so"); return err == nil })
		s.has("newer.so")
	}
}

// A fork comes before an update that waits, and after one that is done; each is of its own from then on.
func TestUpdateAndFork(t *testing.T) {
	s := newScene(t)
	s.will(fails(unix.EBUSY, abi.KxUpdated{}))
	done := make(chan error)
	go func() {
		_, err := s.update("new.so", func(r *UpdateRequest) { r.Timeout = 20 * time.Second })
		done <- err
	}()
	eventually(t, "a try", func() bool { return s.asked.Load() > 0 })
	s.e.Signal(context.Background(), s.pid, int(unix.SIGUSR1))
	child := saidNumber(t, s.e, s.pid, "forked ")
	s.will(s.switches)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.has("new.so")
	if rec := s.record(child); rec.Libraries[0].Path != s.path("libwork.so") || rec.Updating != nil {
		t.Errorf("child: %+v", rec.Libraries)
	}
	mapped := s.e.table[child].dom.(interface{ Mapped() []xen.Range }).Mapped()
	if l := s.record(child).Libraries[0]; slices.ContainsFunc(mapped, func(m xen.Range) bool { return m.VA < l.Base || m.VA >= l.Base+l.Bytes }) || len(mapped) < 2 {
		t.Errorf("the child has %+v, beside %#x", mapped, l.Base)
	}
	if _, err := s.updateOf(child, "newer.so"); err != nil {
		t.Fatal(err)
	}
	s.has("new.so")
	if pids, err := s.e.Fork(context.Background(), child, 1); err == nil { // nobody there takes that command
		t.Error(pids)
	}
	s.e.Signal(context.Background(), child, int(unix.SIGUSR1))
	grandchild := saidNumber(t, s.e, child, "forked ")
	if l := s.record(grandchild).Libraries[0]; l.Path != s.path("newer.so") || l.Previous == nil {
		t.Errorf("grandchild: %+v", l)
	}
	if _, err := s.updateOf(grandchild, "", func(r *UpdateRequest) { r.New, r.Rollback = "", true }); err != nil {
		t.Error(err)
	}
	if l := s.record(child).Libraries[0]; l.Path != s.path("newer.so") {
		t.Errorf("child, after its child went back: %+v", l)
	}
}

// An engine that dies in an update is followed by one that finds out what the pVM has.
func TestUpdateAdopted(t *testing.T) {
	for _, c := range []struct {
		name     string
		switched bool
		late     bool // it is still at it when the next engine comes
	}{{"before", false, false}, {"after", true, false}, {"in the middle", true, true}, {"not at all", false, true}} {
		s := newScene(t)
		goOn := make(chan struct{})
		s.will(func(b body, task *ipc.Task) int64 {
			now := s.record(s.pid).Updating
			s.asked.Add(1)
			<-goOn
			if c.switched {
				return switchesTo(now, b, task)
			}
			return fails(unix.EBUSY, abi.KxUpdated{})(b, task)
		})
		updated := make(chan error)
		go func() {
			_, err := s.update("new.so")
			updated <- err
		}()
		eventually(t, "a try", func() bool { return s.asked.Load() > 1 })
		if err := s.e.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := <-updated; err == nil {
			t.Error("no engine, no error")
		}
		if !c.late {
			close(goOn)
		}
		s.e = newEngine(t, s.host, s.state)
		if c.late {
			if _, err := s.update("new.so"); codeOf(err) != CodeBusy {
				t.Errorf("%s: %v", c.name, err)
			}
			close(goOn)
		}
		if c.switched {
			s.ended()
			rec := s.record(s.pid)
			if rec.Libraries[0].Path != s.path("new.so") || len(rec.Kept) != 0 || len(eventsOf(t, s.e, "updated")) != 1 {
				t.Errorf("%s: %+v", c.name, rec)
			}
		} else {
			s.has("libwork.so")
		}
		s.will(s.switches)
		if _, err := s.update("newer.so"); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if l := s.record(s.pid).Libraries[0]; l.Path != s.path("newer.so") {
			t.Errorf("%s: %+v", c.name, l)
		}
	}
}

// Where the image had to be signed so has the library that comes, in the pVM's children, too.
func TestUpdateSigned(t *testing.T) {
	s := newScene(t)
	s.will(s.switches)
	key, keys := signer(t, 1)
	sign := func(file, name string, version uint64) {
		data, err := os.ReadFile(s.path(file))
		if err != nil {
			t.Fatal(err)
		}
		out, err := elf.Sign(data, elf.Record{Name: name, Version: version, Loader: elf.LoaderApp}, key)
		if err != nil {
			t.Fatal(err)
		}
		replace(t, s.path(file), out)
	}
	sign("app.kx", "app", 1)
	sign("libwork.so", "libwork.so", 3)
	pid := s.start(func(r *RunRequest) { r.Require, r.Keys = "signed", keys })
	s.e.Signal(context.Background(), pid, int(unix.SIGUSR1))
	child := saidNumber(t, s.e, pid, "forked ")
	for _, pid := range []int{pid, child} {
		if _, err := s.updateOf(pid, "new.so"); codeOf(err) != CodeRestricted || !strings.Contains(err.Error(), "rule signed") {
			t.Errorf("not signed: %v", err)
		}
	}
	sign("new.so", "other", 4)
	if _, err := s.updateOf(pid, "new.so"); codeOf(err) != CodeRestricted || !strings.Contains(err.Error(), "rule name") {
		t.Errorf("of another name: %v", err)
	}
	sign("newer.so", "libwork.so", 2)
	if _, err := s.updateOf(pid, "newer.so"); codeOf(err) != CodeChanged {
		t.Errorf("of an older version: %v", err)
	}
	sign("new.so", "libwork.so", 4)
	for _, pid := range []int{pid, child} {
		if _, err := s.updateOf(pid, "new.so"); err != nil {
			t.Error(err)
		}
		if _, err := s.updateOf(pid, "", func(r *UpdateRequest) { r.New, r.Rollback = "", true }); err != nil {
			t.Errorf("back: %v", err)
		}
	}
}

// Libraries that come find room beside those that are there, each after a page that is left out.
func TestUpdateRoom(t *testing.T) {
	const page = elf.PageSize
	in := xen.Range{VA: 100 * page, Pages: 20}
	at := func(va, pages uint64) xen.Range { return xen.Range{VA: va * page, Pages: pages} }
	for _, c := range []struct {
		used  []xen.Range
		pages uint64
		want  uint64
	}{
		{nil, 19, 101}, {nil, 20, 0},
		{[]xen.Range{at(101, 3)}, 4, 105}, {[]xen.Range{at(105, 3)}, 3, 101}, {[]xen.Range{at(105, 3)}, 4, 109},
		{[]xen.Range{at(113, 7), at(105, 3)}, 3, 101}, {[]xen.Range{at(113, 7), at(105, 3)}, 4, 0}, {[]xen.Range{at(101, 19)}, 1, 0},
	} {
		if got := room(in, c.used, c.pages); got != c.want*page {
			t.Errorf("%d pages beside %+v: %d, want %d", c.pages, c.used, got/page, c.want)
		}
	}
}
