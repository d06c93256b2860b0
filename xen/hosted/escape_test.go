package hosted

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// escapes runs guests that try to get out.
type escapes struct {
	t  *testing.T
	h  *Hypervisor
	im xen.Image
}

func newEscapes(t *testing.T) *escapes {
	h := open(t, t.Name())
	t.Cleanup(func() { h.Close() })
	return &escapes{t, h, xentest.PrepareGuest(t, h)}
}

// run runs a guest to its end.
func (e *escapes) run(args ...string) (xen.Exit, uint64) {
	e.t.Helper()
	d := create(e.t, e.h, config(e.im, args...))
	defer remove(e.t, d)
	d.Unpause()
	select {
	case <-d.Gone():
	case <-time.After(10 * time.Second):
		e.t.Errorf("%v: still alive", args)
		d.Destroy()
	}
	return d.Exit(), guestResult(d, 1)
}

// TestSystemCalls has guests make system calls of the host, from their own code: all die of it, and
// the report names the call.
func TestSystemCalls(t *testing.T) {
	e := newEscapes(t)
	for _, nr := range []int{
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_SOCKET, unix.SYS_KILL, unix.SYS_EXECVE,
		unix.SYS_PTRACE, unix.SYS_CLONE, unix.SYS_FORK, unix.SYS_GETPID, unix.SYS_IOCTL, unix.SYS_MMAP, unix.SYS_EXIT_GROUP,
		unix.SYS_RT_SIGRETURN, unix.SYS_PROCESS_VM_READV, unix.SYS_IO_URING_SETUP, unix.SYS_BPF, unix.SYS_UNSHARE,
		unix.SYS_READ | 0x40000000, 0x3fffffff,
	} {
		exit, _ := e.run("syscall", strconv.Itoa(nr))
		if exit.Reason != xen.ExitFault || exit.Crash.Signo != uint32(unix.SIGSYS) || !strings.Contains(exit.Detail, fmt.Sprintf("call %d ", nr)) {
			t.Errorf("call %d: exit %+v", nr, exit)
		}
		if rip := exit.Crash.Regs.Rip; rip < abi.ImageVa || rip >= abi.ImageEnd {
			t.Errorf("call %d: rip %#x", nr, rip)
		}
	}
	for _, way := range []string{"int80", "vsyscall"} {
		if exit, _ := e.run(way); exit.Reason != xen.ExitFault && exit.Reason != xen.ExitKilled {
			t.Errorf("%s: exit %+v", way, exit)
		}
	}
}

// stubSyscall finds a `syscall; ret` in the stub's code, as an attacker would.
func stubSyscall(t *testing.T) uint64 {
	program, err := stubProgram()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		code := make([]byte, p.Filesz)
		p.ReadAt(code, 0)
		if i := bytes.Index(code, []byte{0x0f, 0x05, 0xc3}); p.Flags&elf.PF_X != 0 && i >= 0 {
			return p.Vaddr + uint64(i)
		}
	}
	t.Fatal("no system call instruction in the stub")
	return 0
}

// TestStubSystemCalls has guests use the stub's own system call instruction. What the stub needs is
// harmless; with other arguments, and everything else, kills.
func TestStubSystemCalls(t *testing.T) {
	e := newEscapes(t)
	via := func(args ...uint64) (xen.Exit, uint64) {
		s := []string{"via", fmt.Sprint(stubSyscall(t))}
		for _, a := range args {
			s = append(s, fmt.Sprint(a))
		}
		return e.run(s...)
	}
	const (
		shared = unix.MAP_SHARED | unix.MAP_FIXED
		rw     = unix.PROT_READ | unix.PROT_WRITE
		rwx    = rw | unix.PROT_EXEC
		va     = 0x200000000000
		stub   = stubBase
		state  = stubBase + 0x100000
	)
	for _, deadly := range [][]uint64{
		{unix.SYS_OPEN, abi.ArgsVa, 0},
		{unix.SYS_GETPID},
		{unix.SYS_WRITE, fdCtl, abi.ArgsVa, 1},
		{unix.SYS_WRITE, fdBell, abi.ArgsVa, 2},
		{unix.SYS_WRITE, fdBell, abi.ArgsVa, 1 << 32},
		{unix.SYS_READ, fdCtl, abi.ArgsVa, 1},
		{unix.SYS_CLOSE, fdCtl},
		{unix.SYS_DUP2, fdCtl, fdRAM},
		{unix.SYS_DUP2, fdCtl, 9},
		{unix.SYS_CLOSE, fdTag},
		{unix.SYS_RECVMSG, fdCtl, abi.ArgsVa},
		{unix.SYS_MMAP, va, 4096, rwx, shared, fdRAM, 0},
		{unix.SYS_MMAP, va, 4096, rw, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0), 0},
		{unix.SYS_MMAP, state, 8192, rw, shared, fdCtl, abi.CtlSize},
		{unix.SYS_MMAP, state + 4096, 4096, rw, shared, fdCtl, abi.CtlSize},
		{unix.SYS_MMAP, state, 4096, rwx, shared, fdCtl, abi.CtlSize},
		{unix.SYS_MMAP, stub, 4096, rw, shared, fdRAM, 0},
		{unix.SYS_MMAP, abi.RamEnd - 4096, 1 << 46, rw, shared, fdRAM, 0},
		{unix.SYS_MMAP, va, 4096, rw, shared, fdBell, 0},
		{unix.SYS_MPROTECT, stub, 4096, rw},
		{unix.SYS_MPROTECT, abi.ImageVa, 4096, rwx},
		{unix.SYS_MPROTECT, abi.ImageVa, 1 << 47, rw},
		{unix.SYS_MPROTECT, abi.ImageVa, 4096, rw | unix.PROT_GROWSDOWN},
		{unix.SYS_MUNMAP, stub, 4096},
		{unix.SYS_FUTEX, abi.CtlVa, 0, 0},
		{unix.SYS_FUTEX, state + 4096, 0, 0},
		{unix.SYS_FUTEX, state, 3, 0},
		{unix.SYS_TIMER_CREATE, 1, abi.ArgsVa, abi.ArgsVa},
		{unix.SYS_SETITIMER, 1, abi.ArgsVa, 0},
		{unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, abi.ArgsVa},
		{unix.SYS_ARCH_PRCTL, 0x1001, 0}, // ARCH_SET_GS
		{unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0},
		{unix.SYS_PRCTL, unix.PR_SET_SECCOMP, 0},
		{unix.SYS_SECCOMP, 1, 0, abi.ArgsVa},
		{unix.SYS_RT_SIGACTION, 31, 0, 0, 8},
		{unix.SYS_CLONE, uint64(unix.SIGCHLD)},
		{unix.SYS_CLONE, unix.CLONE_PARENT | unix.CLONE_VM | uint64(unix.SIGCHLD)},
		{unix.SYS_CLONE, unix.CLONE_PARENT | uint64(unix.SIGCHLD), 0, 0, 0, 0x6b78},
		{unix.SYS_PRLIMIT64, 1, unix.RLIMIT_DATA, abi.ArgsVa, 0},
		{unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NPROC, abi.ArgsVa, 0},
		{unix.SYS_KILL, 1, 9},
		{unix.SYS_TGKILL, 1, 1, 9},
		{unix.SYS_SENDMSG, fdSock, abi.ArgsVa},
		{unix.SYS_FTRUNCATE, fdRAM, 1 << 40},
		{unix.SYS_EXECVE, abi.ArgsVa},
	} {
		if exit, _ := via(deadly...); exit.Reason != xen.ExitFault || exit.Crash.Signo != uint32(unix.SIGSYS) {
			t.Errorf("%d: exit %+v", deadly, exit)
		}
	}
	for _, harmless := range []struct {
		call []uint64
		err  unix.Errno // 0: it works
	}{
		{[]uint64{unix.SYS_WRITE, fdBell, abi.ArgsVa, 1}, 0},
		{[]uint64{unix.SYS_RECVMSG, fdSock, abi.ArgsVa}, unix.EBADF},
		{[]uint64{unix.SYS_CLOSE, fdSock}, unix.EBADF},
		{[]uint64{unix.SYS_MMAP, va, 4096, rw, shared, fdImage, 0}, unix.EACCES},
		{[]uint64{unix.SYS_MMAP, va, 4096, rw, shared, fdRAM, 0}, 0},
		{[]uint64{unix.SYS_MMAP, va, 1 << 24, rw, unix.MAP_PRIVATE | unix.MAP_FIXED, fdRAM, 0}, unix.ENOMEM},
		{[]uint64{unix.SYS_MPROTECT, abi.ImageVa, 4096, rw}, unix.EACCES},
		{[]uint64{unix.SYS_SCHED_YIELD}, 0},
	} {
		exit, r := via(harmless.call...)
		got := unix.Errno(0)
		if int64(r) < 0 {
			got = unix.Errno(-int64(r))
		}
		if exit.Reason != xen.ExitShutdown || got != harmless.err {
			t.Errorf("%d: result %v, want %v; exit %+v", harmless.call, got, harmless.err, exit)
		}
	}
}

// TestProcess looks at a domain's process from outside: what it may, what it has open and mapped.
func TestProcess(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	c := config(xentest.PrepareGuest(t, h), "pong")
	c.Boot.Name = "web server"
	d := create(t, h, c)
	defer remove(t, d)
	d.Unpause()
	d.Notify()
	<-d.Rang()
	proc := fmt.Sprintf("/proc/%d/", d.proc.Load().pid)
	status := procFile(t, proc+"status")
	for _, want := range []string{
		"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000",
		fmt.Sprintf("Name:\tkx-pvm %d web", d.ID()),
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in its status:\n%s", want, status)
		}
	}
	if unix.Getuid() == 0 && os.Getenv(noNamespaces) == "" && strings.Contains(status, "Uid:\t0") {
		t.Error("it runs as root")
	}
	want := fmt.Sprintf("kx-pvm %d web server", d.ID())
	if got := strings.TrimRight(procFile(t, proc+"cmdline"), "\x00"); got != want {
		t.Errorf("ps shows %q, want %q", got, want)
	}
	for line := range strings.Lines(procFile(t, proc+"maps")) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.Contains(f[1], "w") && strings.Contains(f[1], "x") {
			t.Errorf("writable and executable: %s", line)
		}
		if strings.Contains(line, "vdso") || strings.Contains(line, "vvar") || strings.Contains(line, "heap") {
			t.Errorf("mapped: %s", line)
		}
	}
	limits := procFile(t, proc+"limits")
	for _, want := range []string{"Max core file size 0 0", "Max open files 40 40", "Max file size 0 0"} {
		if !strings.Contains(strings.Join(strings.Fields(limits), " "), want) {
			t.Errorf("no %q in its limits:\n%s", want, limits)
		}
	}
}

func procFile(t *testing.T, path string) string {
	t.Helper()
	b := make([]byte, 1<<16)
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(path, err)
	}
	defer unix.Close(fd)
	n := 0
	for {
		m, err := unix.Read(fd, b[n:])
		if m <= 0 || err != nil {
			return string(b[:n])
		}
		n += m
	}
}
