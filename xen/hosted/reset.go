package hosted

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// A guest can write to all memory of its process that is writable, the stub's own included, so nobody in that process can be asked to
// clean it. Reset throws away the process, its files and its control area, and gives the number to a blank in which no guest has run. Then
// what was made is looked at from outside, in what the kernel says of the process.

// Reset implements xen.Domain.
func (d *Domain) Reset(ctx context.Context, c *xen.Config) (xen.Domain, error) {
	d.h.births.RLock()
	defer d.h.births.RUnlock()
	defer d.h.pool.poke()
	b := &build{h: d.h, c: c, ram: -1}
	list := []xen.Step{{Name: "check", Do: b.check}, {Name: "end", Do: func() error { return b.succeed(d) }}}
	list = append(append(list, b.making()...), xen.Step{Name: "verify", Do: b.verify})
	if err := b.steps.Run(ctx, c.Step, list...); err != nil {
		return nil, fmt.Errorf("reset domain %d: %w", d.id, err)
	}
	return b.d, nil
}

// succeed releases a domain and takes over its number.
func (b *build) succeed(d *Domain) error {
	if d.h.isClosed() {
		return os.ErrClosed
	}
	if d.isGone() && d.proc.Load().frozen {
		return fmt.Errorf("%w: it has forked, or was forked", xen.ErrNotBlank)
	}
	if err := d.release(func() { d.h.reserve(d.id) }); err != nil {
		return err
	}
	b.place.ID = d.id
	b.steps.OnFailure(func() { b.h.set(d.id, nil) })
	return nil
}

// verify holds a domain that has not run against what it was to be, once its stub has nothing more to do.
func (b *build) verify() error {
	s := b.d.proc.Load().state()
	for end := time.Now().Add(forkPatience); atomic.LoadUint32(&s.Sleeping) == 0; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			return notBlank("its stub does not come to rest")
		}
	}
	for _, look := range []func() error{b.verifyFrames, b.verifyControl, b.verifyMaps, b.verifyFiles, b.verifyProcess} {
		if err := look(); err != nil {
			return err
		}
	}
	return nil
}

func notBlank(format string, args ...any) error {
	return fmt.Errorf("%w: %s", xen.ErrNotBlank, fmt.Sprintf(format, args...))
}

var zeroes [abi.PageSize]byte

// verifyFrames: the frames are what fill has written, and zero; the family area is empty.
func (b *build) verifyFrames() error {
	want := map[int64][]byte{} // pages
	for _, c := range b.contents() {
		for p, off := c.p, c.off; len(p) > 0; {
			into := off % abi.PageSize
			page := want[off-into]
			if page == nil {
				page = make([]byte, abi.PageSize)
				want[off-into] = page
			}
			n := copy(page[into:], p)
			p, off = p[n:], off+int64(n)
		}
	}
	if err := holds(b.ram, want, "frames"); err != nil {
		return err
	}
	return holds(b.blank.family, nil, "family area")
}

// holds tells whether a memory file has these pages, and else zeroes.
func holds(fd int, want map[int64][]byte, name string) error {
	err := eachPage(fd, func(off int64, page []byte) error {
		expected := want[off]
		if expected == nil {
			expected = zeroes[:]
		}
		if !bytes.Equal(page, expected) {
			return notBlank("page %d of its %s holds something else", off/abi.PageSize, name)
		}
		delete(want, off)
		return nil
	})
	if err != nil {
		return err
	}
	for off, page := range want { // those that the file does not have
		if !bytes.Equal(page, zeroes[:]) {
			return notBlank("page %d of its %s is not there", off/abi.PageSize, name)
		}
	}
	return nil
}

// eachPage calls look for each page of a memory file that is there.
func eachPage(fd int, look func(off int64, page []byte) error) error {
	page := make([]byte, abi.PageSize)
	for end := int64(0); ; {
		off, err := unix.Seek(fd, end, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return nil
		}
		if err == nil {
			end, err = unix.Seek(fd, off, unix.SEEK_HOLE)
		}
		if err != nil {
			return os.NewSyscallError("lseek", err)
		}
		for ; off < end; off += abi.PageSize {
			if n, err := unix.Pread(fd, page, off); n != len(page) {
				return fmt.Errorf("read a frame: %d bytes, %w", n, err)
			}
			if err := look(off, page); err != nil {
				return err
			}
		}
	}
}

// verifyControl: the control area is what boot has written, but for the seed and for the clocks, which the stub keeps. The state page
// behind it says that it waits.
func (b *build) verifyControl() error {
	expected := make([]byte, netOff) // and zeroes
	if err := b.c.Boot.Write(expected[:abi.CtlSize], &b.place); err != nil {
		return err
	}
	p := b.d.proc.Load()
	shared := (*abi.SharedInfo)(unsafe.Pointer(&expected[abi.SharedVa-abi.CtlVa]))
	now := p.shared()
	shared.VcpuInfo[0].Time = now.VcpuInfo[0].Time
	shared.WcVersion, shared.WcSec, shared.WcNsec, shared.WcSecHi = now.WcVersion, now.WcSec, now.WcNsec, now.WcSecHi
	const seed = abi.ControlVa - abi.CtlVa + unsafe.Offsetof(abi.KxControl{}.Seed)
	copy(expected[seed:][:len(abi.KxControl{}.Seed)], p.control[seed:])
	*(*stubState)(unsafe.Pointer(&expected[stateOff])) = stubState{Ready: 1, Built: 1, Waits: 1, Sleeping: 1}
	want := map[int64][]byte{}
	for off := 0; off < len(expected); off += abi.PageSize {
		want[int64(off)] = expected[off:][:abi.PageSize]
	}
	return holds(p.ctl, want, "control area")
}

// verifyMaps: below the stub nothing is mapped but what was ordered, and above nothing that is anybody else's.
func (b *build) verifyMaps() error {
	all, err := procMaps(b.d.proc.Load().pid)
	if err != nil {
		return err
	}
	var want []stubMap
	for _, m := range b.d.maps { // in the order of their addresses
		want = join(want, m)
	}
	got := b.libraries.mappings(all)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return notBlank("piece %d of its memory is another one, from %#x on", i, append(got, stubMap{})[min(i, len(got))].VA)
		}
	}
	const rw = "rw-s"
	own := []procMap{
		{stubMap{VA: abi.CtlVa, Len: abi.CtlSize}, rw, "", ctlName},
		{stubMap{VA: abi.NetVa, Len: netSize, Off: netOff}, rw, "", ctlName},
		{stubMap{VA: abi.FamilyVa, Len: familySize}, rw, "", familyName},
		{stubMap{VA: stateVA, Len: stateSize, Off: stateOff}, rw, "", ctlName},
	}
	for _, m := range all {
		memory := slices.ContainsFunc(want, func(w stubMap) bool { return m.VA >= w.VA && m.VA+m.Len <= w.VA+w.Len })
		i := slices.IndexFunc(own, func(o procMap) bool {
			return m.VA == o.VA && m.Len == o.Len && m.Off == o.Off && m.perm == o.perm && m.name == o.name
		})
		switch {
		case i >= 0:
			own = slices.Delete(own, i, i+1)
		case memory, m.VA >= stubBase && (m.name == "" || m.name == programName(b.h.key) || m.name == "[stack]" || m.name == "[vsyscall]"):
		default:
			return notBlank("%q is mapped at %#x", m.name, m.VA)
		}
	}
	if len(own) > 0 {
		return notBlank("nothing of %q is mapped at %#x", own[0].name, own[0].VA)
	}
	return nil
}

// verifyFiles: the process has no other files than a new one.
func (b *build) verifyFiles() error {
	p := b.d.proc.Load()
	dir := fmt.Sprintf("/proc/%d/fd", p.pid)
	memory := map[int]int{fdCtl: p.ctl, fdRAM: p.ram, fdImage: b.img.fd, fdFamily: p.family}
	others := map[int]string{fdBell: "pipe:", fdListen: "anon_inode:seccomp"}
	if b.place.DynamicPages > 0 {
		memory[fdTag], memory[fdControl] = p.ram, p.ram
		others[fdSock], others[fdEngine] = "socket:", "socket:"
	}
	files := b.libraries.fds() // in their order, wherever they are
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var open []int
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		open = append(open, n)
	}
	slices.Sort(open)
	for _, n := range open {
		path := filepath.Join(dir, strconv.Itoa(n))
		to, _ := os.Readlink(path)
		fd, isMemory := memory[n]
		prefix, isOther := others[n]
		switch {
		case isMemory && isFile(path, fd), isOther && strings.HasPrefix(to, prefix):
			delete(memory, n)
			delete(others, n)
		case len(files) > 0 && isFile(path, files[0]):
			files = files[1:]
		default:
			return notBlank("it has %q open as %d", to, n)
		}
	}
	if delete(others, fdListen); len(memory)+len(others)+len(files) > 0 { // an old kernel has no such thing
		return notBlank("its process lacks files")
	}
	return nil
}

// verifyProcess: it has one thread and no signal, and is confined.
func (b *build) verifyProcess() error {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.d.proc.Load().pid))
	if err != nil {
		return err
	}
	const none = "0000000000000000"
	for _, line := range []string{"Threads:\t1", "SigPnd:\t" + none, "ShdPnd:\t" + none, "SigBlk:\t" + none, "CapEff:\t" + none, "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !bytes.Contains(status, []byte("\n"+line+"\n")) {
			return notBlank("its process is not as a new one: %q is not in its status", line)
		}
	}
	return nil
}
