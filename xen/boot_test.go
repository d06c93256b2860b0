package xen

import (
	"errors"
	"strings"
	"testing"

	"kxsh/ipc/abi"
)

// TestBootLimits holds the limits of what a domain can be given, at their edges.
func TestBootLimits(t *testing.T) {
	const pages = 256
	for _, c := range []struct {
		name string
		boot Boot
		ok   bool
	}{
		{"nothing", Boot{}, true},
		{"full", Boot{Args: []string{strings.Repeat("x", abi.ArgsSize-1)}}, true},
		{"one too many", Boot{Args: []string{strings.Repeat("x", abi.ArgsSize)}}, false},
		{"variable too many", Boot{Args: []string{strings.Repeat("x", abi.ArgsSize-1)}, Env: []string{""}}, false},
		{"NUL", Boot{Env: []string{"A=\x00"}}, false},
		{"half of the memory", Boot{Root: make([]byte, pages*abi.PageSize/2)}, true},
		{"more than half", Boot{Root: make([]byte, pages*abi.PageSize/2+1)}, false},
	} {
		if err := c.boot.Check(pages); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrBoot) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestBootWrite holds that what fits is written whole, and nothing beyond.
func TestBootWrite(t *testing.T) {
	ctl := make([]byte, abi.CtlSize)
	b := Boot{Args: []string{strings.Repeat("x", abi.ArgsSize-3)}, Env: []string{"y"}, Rows: -1}
	p := Place{ID: 5, Evtchn: 1, ImagePages: 7, RAMVA: abi.RamMin, RAMPages: 16}
	if err := b.Write(ctl, &p); err != nil {
		t.Fatal(err)
	}
	c := (*abi.KxControl)(area(ctl, abi.ControlVa))
	if c.ArgsLen != abi.ArgsSize || c.Family != 5 || c.Rows != 0 || c.RootVa != 0 {
		t.Errorf("control %+v", c)
	}
	start := (*abi.StartInfo)(area(ctl, abi.StartVa))
	if start.NrPages != 23 || string(start.Magic[:14]) != "xen-3.0-x86_64" {
		t.Errorf("start_info %+v", start)
	}
	if (*abi.SharedInfo)(area(ctl, abi.SharedVa)).VcpuInfo[0].EvtchnUpcallMask != 1 {
		t.Error("events are not masked")
	}
	if va := p.RootVA(abi.PageSize + 1); va != abi.RamMin+14*abi.PageSize {
		t.Errorf("root at %#x", va)
	}
}

// TestBootRenew holds that a domain that gets its program later finds what it would have found at its start, but for the seed, which is new.
func TestBootRenew(t *testing.T) {
	p := Place{ID: 5, Evtchn: 1, ImagePages: 7, RAMVA: abi.RamMin, RAMPages: 16, Dirty: true, Bells: true}
	b := Boot{Name: "x", Args: []string{"x", "y z"}, Env: []string{"A=b"}, TTY: true, Stdin: true, Look: true, Rows: 24, Cols: 80}
	want, got := make([]byte, abi.CtlSize), make([]byte, abi.CtlSize)
	if err := b.Write(want, &p); err != nil {
		t.Fatal(err)
	}
	waits := Boot{Name: "waits", Waits: true}
	if err := waits.Write(got, &p); err != nil {
		t.Fatal(err)
	}
	before := (*abi.KxControl)(area(got, abi.ControlVa)).Seed
	if err := b.Renew(got); err != nil {
		t.Fatal(err)
	}
	wc, gc := (*abi.KxControl)(area(want, abi.ControlVa)), (*abi.KxControl)(area(got, abi.ControlVa))
	if gc.Seed == before || gc.Seed == wc.Seed || gc.Seed == [32]byte{} {
		t.Errorf("seed %x, before %x", gc.Seed, before)
	}
	gc.Seed = wc.Seed
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("at %#x there is %#x, want %#x", abi.CtlVa+i, got[i], want[i])
		}
	}
}
