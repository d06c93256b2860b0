package xentest

import (
	"testing"
	"time"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

func testStatus(t *testing.T, b *bench) {
	d := b.create("touch", "200")
	before, err := d.Status()
	b.must(err)
	b.must(d.Unpause())
	await(t, d.Rang(), "the touching of memory")
	eventually(t, "a blocked domain", func() bool {
		st, err := d.Status()
		return err == nil && st.State == xen.StateBlocked
	})
	after, err := d.Status()
	b.must(err)
	if grown := after.Memory - before.Memory; !b.Populated && (grown < 190*abi.PageSize || grown > 300*abi.PageSize) {
		t.Errorf("memory went from %d to %d, want 200 pages more", before.Memory, after.Memory)
	}
	if after.MaxMem < 1<<20 || after.Memory > after.MaxMem || after.VCPUs != 1 || after.Weight != 256 || after.CPUs != nil {
		t.Errorf("status %+v", after)
	}
	s := b.start("spin")
	await(t, s.Rang(), "the start")
	one, err := s.Status()
	b.must(err)
	eventually(t, "5 ms of CPU time", func() bool {
		two, err := s.Status()
		b.must(err)
		return two.CPUTime-one.CPUTime > 5*time.Millisecond
	})
	if one.State != xen.StateRunning {
		t.Errorf("spinning domain: %+v", one)
	}
}

func testLimits(t *testing.T, b *bench) {
	d := b.start("touch", "20")
	await(t, d.Rang(), "the start")
	b.must(d.SetWeight(128))
	b.must(d.SetAffinity([]int{0}))
	st, err := d.Status()
	b.must(err)
	if st.Weight != 128 || len(st.CPUs) != 1 || st.CPUs[0] != 0 {
		t.Errorf("status %+v", st)
	}
	b.must(d.SetAffinity(nil))
	cap := st.Memory + 40*abi.PageSize
	b.must(d.SetMaxMem(cap))
	if st, err = d.Status(); err != nil || st.MaxMem != cap || st.CPUs != nil {
		t.Errorf("status %+v, %v", st, err)
	}
	for name, err := range map[string]error{
		"weight 0": d.SetWeight(0), "weight 65536": d.SetWeight(65536), "CPU -1": d.SetAffinity([]int{-1}),
		"CPU 100000": d.SetAffinity([]int{100000}), "cap below use": d.SetMaxMem(1), "cap above size": d.SetMaxMem(1 << 40),
	} {
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func testReadMemory(t *testing.T, b *bench) {
	d := b.create("status", "0")
	magic := make([]byte, 4)
	b.must(d.ReadMemory(abi.ControlVa, magic))
	if string(magic) != "KXCT" {
		t.Errorf("read %q", magic)
	}
	for _, va := range []uint64{0, abi.ImageEnd - 1, abi.RamEnd, 0x7ff000000000, 1<<64 - 1} {
		if err := d.ReadMemory(va, magic); err == nil {
			t.Errorf("read %#x", va)
		}
	}
}
