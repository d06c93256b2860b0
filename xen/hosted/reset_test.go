package hosted

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/ipc/abi"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// newBuild makes a domain as Reset does, up to its last step.
func newBuild(t *testing.T, h *Hypervisor, c *xen.Config) *build {
	t.Helper()
	b := &build{h: h, c: c, ram: -1}
	if err := b.steps.Run(context.Background(), nil, append([]xen.Step{{Name: "check", Do: b.check}}, b.making()...)...); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestVerify plants something in domains that were just made: each is found.
func TestVerify(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	c := config(xentest.PrepareGuest(t, h), "pong")
	c.Boot.Root = []byte("an archive")
	s := xentest.AddLibrary(t, h, c)
	defer s.Close()
	library := s.(*sealed)
	type leftover struct {
		name  string
		plant func(b *build) error
	}
	find := func(l leftover, running bool, verify func(b *build) error) {
		t.Helper()
		b := newBuild(t, h, c)
		defer remove(t, b.d)
		if err := b.verify(); err != nil {
			t.Errorf("before %s: %v", l.name, err)
		}
		if running { // it does what it is ordered then
			b.d.Unpause()
			<-time.After(time.Millisecond)
		}
		if err := verify(b); running && err != nil {
			t.Errorf("before %s: %v", l.name, err)
		}
		if err := l.plant(b); err != nil {
			t.Errorf("%s: %v", l.name, err)
		}
		err := verify(b)
		if !errors.Is(err, xen.ErrNotBlank) {
			t.Errorf("%s was not found: %v", l.name, err)
		}
		t.Logf("%s: %v", l.name, err)
	}
	for _, l := range []leftover{
		{"RAM", func(b *build) error {
			return writeAt(b.ram, []byte{1}, int64(b.place.ImagePages+b.place.RAMPages/2)*abi.PageSize+100)
		}},
		{"a frame behind the dynamic segment", func(b *build) error { return writeAt(b.ram, []byte{1}, int64(b.offset(c.Dynamic.VA))) }},
		{"a library's own page", func(b *build) error { return writeAt(b.ram, []byte{1}, int64(b.offset(c.Dynamic.Private[0].VA))) }},
		{"a frame behind constants", func(b *build) error { return writeAt(b.ram, []byte{1}, 0) }},
		{"the image's data", func(b *build) error { return writeAt(b.ram, []byte{^b.img.data[0].p[0]}, b.img.data[0].off) }},
		{"less than the image's data", func(b *build) error {
			return unix.Fallocate(b.ram, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, b.img.data[0].off&^(abi.PageSize-1), abi.PageSize)
		}},
		{"the archive", func(b *build) error {
			all := b.contents()
			return writeAt(b.ram, []byte("A"), all[len(all)-1].off)
		}},
		{"the family area", func(b *build) error { return writeAt(b.blank.family, []byte{1}, 5*abi.PageSize) }},
		{"the console", func(b *build) error {
			b.d.Control()[abi.ConoutVa-abi.CtlVa] = 1
			return nil
		}},
		{"an event", func(b *build) error { return b.d.Notify() }},
		{"an argument", func(b *build) error {
			b.d.Control()[abi.ArgsVa-abi.CtlVa]++
			return nil
		}},
		{"a run", func(b *build) error {
			atomic.StoreUint32(&b.d.proc.Load().state().Go, 1)
			return nil
		}},
	} {
		find(l, false, (*build).verify)
	}
	find(leftover{"a library", func(b *build) error {
		m := libraryMap(xen.Mapping{Range: xen.Range{VA: c.Dynamic.VA, Pages: 1}, Prot: elf.Read})
		return b.d.proc.Load().remap(&stubRemap{Number: 1, NMaps: 1, Maps: [maxMaps]stubMap{m}}, []int{library.fd}, nil)
	}}, true, (*build).verifyMaps)
	find(leftover{"another protection", func(b *build) error {
		m := b.d.maps[0]
		m.Prot = unix.PROT_READ
		return b.d.proc.Load().remap(&stubRemap{Number: 1, NMaps: 1, Maps: [maxMaps]stubMap{m}}, nil, nil)
	}}, true, (*build).verifyMaps)
	find(leftover{"a file", func(b *build) error { return b.d.proc.Load().remap(&stubRemap{Number: 1}, []int{library.fd}, nil) }}, true, (*build).verifyFiles)
	find(leftover{"a signal", func(b *build) error {
		b.d.Pause()
		return signalTo(b.d.proc.Load().pidfd, unix.SIGUSR1)
	}}, true, (*build).verifyProcess)
}

// TestResetFailures makes the n-th system call of Reset fail, for every n: nothing is left, and the number is free.
func TestResetFailures(t *testing.T) {
	h := openPool(t, t.Name(), -1)
	defer h.Close()
	c := config(xentest.PrepareGuest(t, h), "status", "0")
	defer xentest.AddLibrary(t, h, c).Close()
	ended := func() *Domain {
		d := create(t, h, c)
		d.Unpause()
		<-d.Gone()
		return d
	}
	remove(t, ended())
	before := things(t)
	for n := 1; ; n++ {
		d := ended()
		var at string
		next, err := failingNth(h, n, &at, func() (xen.Domain, error) { return d.Reset(context.Background(), c) })
		if at == "" { // there are fewer calls
			remove(t, next)
			if n < 8 {
				t.Errorf("only %d calls could fail", n-1)
			}
			return
		}
		if err == nil || !errors.Is(err, xen.ErrNoMemory) {
			t.Errorf("call %d, %s: %v", n, at, err)
		}
		if err := d.Release(); err != nil && !errors.Is(err, xen.ErrNoDomain) {
			t.Error(err)
		}
		h.mu.Lock()
		if _, taken := h.domains[d.id]; taken {
			t.Errorf("call %d, %s: the number is still taken", n, at)
		}
		h.mu.Unlock()
		remove(t, create(t, h, c)) // and a zygote that was given up is there again
		remains(t, fmt.Sprintf("call %d, %s", n, at), before)
	}
}

// resetAndDie resets a domain that has ended, and is killed at one of its system calls. It reports the domain before, and nothing
// more if it comes to the end.
func resetAndDie(h *Hypervisor, im xen.Image, call string) error {
	h.pool.work.Lock() // the filler makes such calls, too
	n, err := strconv.Atoi(call)
	if err != nil {
		return err
	}
	c := config(im, "status", "0")
	d, err := h.Create(context.Background(), c)
	if err != nil {
		return err
	}
	r := engineReport{IDs: []xen.DomID{d.ID()}, Tokens: [][]byte{d.Token()}}
	if err := d.Unpause(); err != nil {
		return err
	}
	<-d.Gone()
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return err
	}
	failing = func(string) error {
		if n--; n == 0 {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
		return nil
	}
	_, err = d.Reset(context.Background(), c)
	return err
}

// TestResetKilled kills an engine at each system call of a reset. The next one never finds the domain before, and whatever it finds instead
// it can end; then nothing is left.
func TestResetKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for n := 1; ; n++ {
		key := fmt.Sprintf("%s %d %d", t.Name(), os.Getpid(), n)
		keys = append(keys, key)
		cmd := exec.Command(self, engineArg, key, xentest.GuestPath(t), strconv.Itoa(n))
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err == nil {
			t.Logf("killed at %d calls, a domain was left %d times", n-1, found)
			if n < 8 {
				t.Error("too few calls were seen")
			}
			break
		}
		var r engineReport
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("call %d: %v", n, err)
		}
		h, err := New(Options{Key: key, Pool: -1})
		if err != nil {
			t.Fatal(err)
		}
		ids, err := h.Domains()
		if err != nil || len(ids) > 1 || len(ids) == 1 && ids[0] != r.IDs[0] {
			t.Errorf("call %d: domains %v, %v, want at most %d", n, ids, err, r.IDs[0])
		}
		if _, err := h.Adopt(r.IDs[0], r.Tokens[0]); !errors.Is(err, xen.ErrNoDomain) {
			t.Errorf("call %d: the domain before was adopted: %v", n, err)
		}
		for _, id := range ids {
			d, err := h.Adopt(id, nil)
			if err != nil {
				t.Fatalf("call %d: %v", n, err)
			}
			xen.End(d)
			found++
		}
		h.Close()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			domains, others := stubsOf(key)
			if domains+others == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("call %d: %d domains and %d others are left", n, domains, others)
			}
		}
	}
}

// BenchmarkReset compares it with an end and a start; both with a pool.
func BenchmarkReset(b *testing.B) {
	for _, way := range []string{"end and create", "reset"} {
		b.Run(way, func(b *testing.B) {
			h := openPool(b, b.Name(), 4)
			defer h.Close()
			c := config(xentest.PrepareGuest(b, h), "status", "0")
			c.Memory = 64 << 20
			defer xentest.AddLibrary(b, h, c).Close()
			var d xen.Domain = create(b, h, c)
			var took []time.Duration
			steps := map[string][]time.Duration{}
			c.Step = func(name string, d time.Duration) { steps[name] = append(steps[name], d) }
			for b.Loop() {
				d.Unpause()
				<-d.Gone()
				for h.Pool().Ready == 0 {
					time.Sleep(100 * time.Microsecond)
				}
				begin := time.Now()
				var err error
				if way == "reset" {
					d, err = d.Reset(context.Background(), c)
				} else {
					xen.End(d)
					d, err = h.Create(context.Background(), c)
				}
				took = append(took, time.Since(begin))
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(median(took).Microseconds()), "µs/median")
			for name, s := range steps {
				sort.Slice(s, func(i, j int) bool { return s[i] < s[j] })
				b.Logf("%s %v", name, s[len(s)/2])
			}
			remove(b, d)
		})
	}
}
