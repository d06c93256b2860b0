package engine

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
)

// newLoadScene has a pVM, with libwork.so, and beside its image plug.so, which needs need.so, which needs libwork.so.
func newLoadScene(t *testing.T) *scene {
	s := newScene(t)
	s.will(s.switches)
	build := func(name, text string, more ...string) {
		s.gcc(t, name, "x.c", text, append([]string{"-shared", "-g", "-O1", "-fPIC", "-fplt", "-fcf-protection=none", "-Wl,-soname," + name}, more...)...)
	}
	build("need.so", "int work(int); int need(void) { return work(1); }\n")
	build("plug.so", "int need(void); int plug(void) { return need(); }\n", s.path("need.so"))
	build("wants.so", "int nobody(void); int wants(void) { return nobody(); }\n")
	return s
}

// act has the pVM do something; done is closed when it has.
func (s *scene) act(f func(b body)) (done chan struct{}) {
	done = make(chan struct{})
	s.acts <- func(b body) {
		f(b)
		close(done)
	}
	s.e.Signal(context.Background(), s.pid, int(unix.SIGUSR2))
	return done
}

// asks is a CallLoad.
func (b body) asks(name string, flags uint64) (result int64, item uint64, why string) {
	ipc.PutTask(b.Control(), &ipc.Task{Data: []byte(name)})
	result = b.call(abi.CallLoad, uint64(len(name)), flags)
	t, err := ipc.TakeTask(b.Control())
	if err != nil {
		panic(err)
	}
	return result, t.A[0], string(t.Data)
}

// uses does what a plan says, as far as the engine sees it.
func (s *scene) uses(b body) {
	now := s.record(s.pid).Loading
	b.SetWord(now.BaseWord, now.New[0].Base)
}

// holds wants the pVM to have libraries of these names, in this order, and nothing else mapped; and no library to be in use.
func (s *scene) holds(names ...string) {
	s.t.Helper()
	eventually(s.t, "the end of a load", func() bool {
		recs, _, err := s.e.store.all()
		return err == nil && s.record(s.pid).Loading == nil && !slices.ContainsFunc(recs, func(r *record) bool { return r.PID == s.pid && r.Loading != nil })
	})
	now := s.now()
	var has []string
	mapped := 0
	for _, l := range now.rec.Libraries {
		has = append(has, l.Name)
		for _, m := range now.mapped {
			if m.VA >= l.Base && m.VA < l.Base+l.Bytes {
				mapped++
			}
		}
	}
	if !slices.Equal(has, names) || mapped != len(now.mapped) || now.users != 0 {
		s.t.Errorf("has %q, want %q; %d of %d ranges are libraries'; %d users", has, names, mapped, len(now.mapped), now.users)
	}
	linked, err := s.e.linkedOf(s.e.table[s.pid])
	if err != nil || len(linked.Libraries) != len(names) {
		s.t.Errorf("linked: %v", err)
		return
	}
	for i, l := range linked.Libraries {
		if u := now.rec.Libraries[i]; l.Base != u.Base || l.Item != u.Item || l.Name != u.Name {
			s.t.Errorf("linked %s at %#x, item %d: %+v", l.Name, l.Base, l.Item, u)
		}
	}
}

// A library comes with those that it needs and that are not there, once; and can be updated, and is a child's, too.
func TestLoad(t *testing.T) {
	s := newLoadScene(t)
	<-s.act(func(b body) {
		result, item, why := b.asks("plug.so", 0)
		now := s.record(s.pid).Loading
		if now == nil || result != int64(now.Plan.VA) || item != 2 || why != "" || len(now.New) != 2 || now.New[0].Name != "plug.so" || now.New[1].Item != 1 {
			t.Errorf("%#x, %d, %q: %+v", result, item, why, now)
			return
		}
		if _, err := s.update("new.so"); codeOf(err) != CodeBusy || !strings.Contains(err.Error(), "is loading a library") {
			t.Errorf("an update meanwhile: %v", err)
		}
		s.uses(b)
		if r := b.call(abi.CallLoaded, 0); r != 0 {
			t.Errorf("loaded: %d", r)
		}
		for name, want := range map[string]uint64{"plug.so": 2, "./plug.so": 2, s.path("plug.so"): 2, "need.so": 1, "libwork.so": 0} {
			if result, item, why := b.asks(name, abi.LoadPresent); result != 0 || item != want {
				t.Errorf("%s again: %d, %d, %s", name, result, item, why)
			}
		}
	})
	s.holds("libwork.so", "plug.so", "need.so")
	s.guest.Load().SetWord(s.e.table[s.pid].linked.Load().BaseWord(0), s.record(s.pid).Libraries[0].Base)
	if _, err := s.update("new.so"); err != nil {
		t.Error(err)
	}
	if err := s.e.Stop(); err != nil {
		t.Fatal(err)
	}
	s.e = newEngine(t, s.host, s.state)
	s.holds("libwork.so", "plug.so", "need.so")
	if n := len(eventsOf(t, s.e, "loaded")); n != 2 {
		t.Errorf("%d events", n)
	}
}

// What cannot be had leaves nothing, and says why.
func TestLoadFails(t *testing.T) {
	s := newLoadScene(t)
	if err := os.WriteFile(s.path("text.so"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	<-s.act(func(b body) {
		for _, c := range []struct {
			name  string
			flags uint64
			errno unix.Errno
			why   string
		}{
			{"nowhere.so", 0, unix.ENOENT, "nowhere.so: is in none of " + s.dir + ": name its folder with --lib-path"},
			{"/etc/passwd", 0, unix.ENOENT, "/etc/passwd: is in none of "},
			{"../" + s.dir + "/plug.so", 0, unix.ENOENT, ": is in none of "},
			{"plug.so", abi.LoadPresent, unix.ENOENT, "plug.so: is not loaded"},
			{"a\x1bb", 0, unix.ENOEXEC, `"a\x1bb": not a library's name`},
			{strings.Repeat("x", maxLoadName+1), 0, unix.ENOEXEC, "not a library's name, or unknown flags"},
			{"plug.so", 1 << 40, unix.ENOEXEC, "not a library's name, or unknown flags"},
			{"text.so", 0, unix.ENOEXEC, "text.so: not a library of pVMs"},
			{"wants.so", 0, unix.ENOEXEC, "wants.so: needs nobody, which neither the image nor any of its libraries has"},
			{"app.kx", 0, unix.ENOEXEC, "app.kx: not a library of pVMs: a program, not a library"},
		} {
			if result, _, why := b.asks(c.name, c.flags); result != -int64(c.errno) || !strings.Contains(why, c.why) || strings.Contains(why, "\n") {
				t.Errorf("%.20q: %d, %q, want %v, %q", c.name, result, why, c.errno, c.why)
			}
		}
		s.host.Fail(func(step string) error {
			if step == "map" {
				return errors.New("no map")
			}
			return nil
		})
		if result, _, why := b.asks("plug.so", 0); result != -int64(unix.ENOEXEC) || why != "plug.so: map: no map" {
			t.Errorf("no map: %d, %q", result, why)
		}
		s.host.Fail(nil)
		if result, _, why := b.asks("plug.so", 0); result <= 0 {
			t.Errorf("%d, %q", result, why)
		}
		b.call(abi.CallLoaded, uint64(1<<64-12))    // it has no memory
		if r := b.call(abi.CallLoaded, 0); r != 0 { // of nothing
			t.Errorf("%d", r)
		}
	})
	s.holds("libwork.so")
}

// An engine that dies in a load is followed by one that finds out what the pVM has; and so does an engine whose pVM makes another call.
func TestLoadAdopted(t *testing.T) {
	kill := func(b body) { b.call(abi.CallKill, uint64(1<<64-1), 0) }
	for _, c := range []struct {
		name   string
		uses   bool
		then   func(b body)
		engine bool // another one comes
		loaded bool
	}{
		{"it says that it does", true, func(b body) { b.call(abi.CallLoaded, 0) }, true, true},
		{"it says that it does not", false, func(b body) { b.call(abi.CallLoaded, uint64(1<<64-12)) }, true, false},
		{"it does, and says nothing", true, kill, true, true},
		{"it does not, and says nothing", false, kill, true, false},
		{"it does, and says something else", true, kill, false, true},
		{"it does not, and says something else", false, kill, false, false},
		{"it forks", false, func(b body) { b.fork(func(b body) { b.sleep() }) }, false, false},
		{"it asks for another", false, func(b body) { b.asks("nowhere.so", 0) }, true, false},
	} {
		s := newLoadScene(t)
		asked, goOn := make(chan struct{}), make(chan struct{})
		done := s.act(func(b body) {
			if result, _, why := b.asks("plug.so", 0); result <= 0 {
				t.Errorf("%s: %d, %s", c.name, result, why)
			}
			if c.uses {
				s.uses(b)
			}
			close(asked)
			<-goOn
			c.then(b)
		})
		<-asked
		if c.engine {
			if err := s.e.Stop(); err != nil {
				t.Fatal(err)
			}
			s.e = newEngine(t, s.host, s.state)
			if _, err := s.update("new.so"); codeOf(err) != CodeBusy {
				t.Errorf("%s: an update meanwhile: %v", c.name, err)
			}
		}
		close(goOn)
		<-done
		if want := []string{"libwork.so", "plug.so", "need.so"}; c.loaded {
			s.holds(want...)
		} else {
			s.holds(want[:1]...)
		}
		<-s.act(func(b body) { // and the next one works
			if result, _, why := b.asks("need.so", 0); c.loaded == (result > 0) {
				t.Errorf("%s: the next: %d, %s", c.name, result, why)
			} else if result > 0 {
				s.uses(b)
				b.call(abi.CallLoaded, 0)
			}
		})
	}
}

// While a library is being replaced none comes.
func TestLoadInUpdate(t *testing.T) {
	s := newLoadScene(t)
	tried := make(chan [2]any, 1)
	s.will(func(b body, task *ipc.Task) int64 {
		t, err := ipc.TakeTask(b.Control())
		if err != nil {
			panic(err)
		}
		result, _, why := b.asks("plug.so", 0)
		ipc.PutTask(b.Control(), t)
		select {
		case tried <- [2]any{result, why}:
		default:
		}
		return s.switches(b, task)
	})
	if _, err := s.update("new.so"); err != nil {
		t.Error(err)
	}
	if got := <-tried; got != [2]any{-int64(unix.EBUSY), ""} {
		t.Errorf("in an update: %v", got)
	}
	s.holds("libwork.so")
	if s.record(s.pid).Libraries[0].Path != s.path("new.so") {
		t.Errorf("not updated")
	}
}

// Where the image had to be signed so has what comes.
func TestLoadSigned(t *testing.T) {
	s := newLoadScene(t)
	key, keys := signer(t, 1)
	sign := func(file, name string) {
		data, err := os.ReadFile(s.path(file))
		if err != nil {
			t.Fatal(err)
		}
		out, err := elf.Sign(data, elf.Record{Name: name, Version: 1, Loader: elf.LoaderApp}, key)
		if err != nil {
			t.Fatal(err)
		}
		replace(t, s.path(file), out)
	}
	sign("app.kx", "app")
	sign("libwork.so", "libwork.so")
	sign("plug.so", "plug.so")
	s.pid = s.start(func(r *RunRequest) { r.Require, r.Keys = "signed", keys })
	<-s.act(func(b body) {
		if result, _, why := b.asks("plug.so", 0); result != -int64(unix.EPERM) || !strings.Contains(why, "need.so: refused by rule signed") {
			t.Errorf("what it needs is not signed: %d, %q", result, why)
		}
	})
	sign("need.so", "need.so")
	<-s.act(func(b body) {
		if result, _, why := b.asks("plug.so", 0); result <= 0 {
			t.Errorf("signed: %d, %q", result, why)
			return
		}
		s.uses(b)
		b.call(abi.CallLoaded, 0)
	})
	s.holds("libwork.so", "plug.so", "need.so")
}
