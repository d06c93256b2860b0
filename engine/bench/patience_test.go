package bench

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kxsh/xen"
)

// A benchmark that finishes nothing for so long is ended, and says so; one that goes on is not, however long it takes.
func TestPatience(t *testing.T) {
	const limit = 3 * time.Second
	b := &Bench{Stderr: io.Discard, root: t.TempDir()}
	s := b.measure(t.Context(), kind{name: "stuck", run: func(b *Bench, ctx context.Context) error {
		<-ctx.Done()
		return errors.New("what follows from it")
	}}, limit)
	if s.err == nil || s.err.Error() != "given up: nothing was finished in 3s" {
		t.Errorf("%v", s.err)
	}
	s = b.measure(t.Context(), kind{name: "slow", run: func(b *Bench, ctx context.Context) error {
		next := b.begin(33, "slow rounds")
		for range 33 {
			next()
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(limit / 30):
			}
		}
		return nil
	}}, limit)
	if s.err != nil || s.took < limit {
		t.Errorf("%v after %v", s.err, s.took)
	}
	interrupted, interrupt := context.WithCancel(t.Context())
	s = b.measure(interrupted, kind{name: "interrupted", run: func(b *Bench, ctx context.Context) error {
		interrupt()
		<-ctx.Done()
		return ctx.Err()
	}}, time.Minute)
	if !errors.Is(s.err, context.Canceled) {
		t.Errorf("%v", s.err)
	}
	if b.dog != nil {
		t.Error("the watchdog is there when nothing is measured")
	}
}

// A peer that says nothing, and has children that hold its output, ends with the benchmark; a pVM's end is tested in shell/e2e.
func TestSilentPeer(t *testing.T) {
	dir := t.TempDir()
	b := &Bench{Stderr: io.Discard, Programs: dir}
	silent := "#!/bin/sh\nsleep 1000 &\necho $! >" + filepath.Join(dir, "child") + ".new; mv " + filepath.Join(dir, "child") + ".new " + filepath.Join(dir, "child") + "\nsleep 1000\n"
	for _, name := range []string{"forks", "silent", "spawn", "stamp"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(silent), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, ask := range map[string]func(context.Context) error{
		"forks": func(ctx context.Context) error {
			_, err := b.process(ctx, "forks")
			return err
		},
		"client": func(ctx context.Context) error {
			_, err := output(ctx, filepath.Join(dir, "silent"))
			return err
		},
		"spawn": func(ctx context.Context) error {
			s, err := b.spawner(ctx, "spawn", "stamp")
			if err != nil {
				return err
			}
			_, err = s.once()
			return errors.Join(err, s.close())
		},
	} {
		ctx, end := context.WithCancel(t.Context())
		asked := make(chan error, 1)
		go func() { asked <- ask(ctx) }()
		var child []byte
		for deadline := time.Now().Add(time.Minute); len(child) == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			child, _ = os.ReadFile(filepath.Join(dir, "child"))
		}
		end()
		select {
		case err := <-asked:
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s goes on", name)
		}
		os.Remove(filepath.Join(dir, "child"))
		if name == "client" { // what it has started is its own affair
			pid, err := strconv.Atoi(strings.TrimSpace(string(child)))
			if err := errors.Join(err, syscall.Kill(pid, syscall.SIGKILL)); err != nil {
				t.Error(err)
			}
			continue
		}
		stat := filepath.Join("/proc", strings.TrimSpace(string(child)), "comm")
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if comm, err := os.ReadFile(stat); err != nil || string(comm) != "sleep\n" || zombie(stat) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: its child goes on", name)
			}
		}
	}
}

// zombie tells that a process of which this is a file in /proc has ended, and nobody has waited for it.
func zombie(file string) bool {
	b, err := os.ReadFile(filepath.Join(filepath.Dir(file), "stat"))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// A crowd that does not fit is asked for what its size can tell.
func TestSmallerCrowd(t *testing.T) {
	for n, want := range map[int]crowd{
		200: {pvms: 200, part: 20, slower: 1.2, ps: 20}, 50: {pvms: 50, part: 20, slower: 1.2}, 7: {pvms: 7, part: 4, slower: 1.2}, 1: {pvms: 1, part: 1, slower: 1.2}, 0: {slower: 1.2},
	} {
		if got := (crowd{pvms: 200, part: 20, slower: 1.2, ps: 20}).of(n); got != want {
			t.Errorf("%d: %+v", n, got)
		}
	}
}

// poor is a hypervisor with so much memory left.
type poor struct {
	xen.Hypervisor
	info xen.Info
}

func (p poor) Info() (xen.Info, error) { return p.info, nil }

// On Xen it is Xen's memory that pVMs need, however much dom0 has, and what is left out says so.
func TestMemoryShort(t *testing.T) {
	free, err := memAvailable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		info  xen.Info
		short bool
		says  string
	}{
		{xen.Info{Name: "xen", FreeMemory: spare - 1}, true, "Xen has less than 512 MiB left, or dom0 less than 128"},
		{xen.Info{Name: "xen", FreeMemory: spare}, free < spareDom0, "Xen has less than 512 MiB left, or dom0 less than 128"},
		{xen.Info{Name: "hosted"}, free < spare, "the host has less than 512 MiB left"},
	} {
		if short, err := memoryShort(poor{info: c.info}); err != nil || short != c.short || shortOf(&c.info) != c.says {
			t.Errorf("%+v: %v, %v, %q", c.info, short, err, shortOf(&c.info))
		}
	}
}
