package hosted

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// zygote is the process that blanks are copies of: started once, it has entered the sandbox for
// all of them. It answers one request at a time.
type zygote struct {
	key string

	mu         sync.Mutex
	pid        int
	sock       int // -1: there is no process
	namespaces uint32
	identity   uint32
	closed     bool
}

func newZygote(key string) (*zygote, error) {
	z := &zygote{key: key, sock: -1}
	z.mu.Lock()
	defer z.mu.Unlock()
	return z, z.start()
}

// programName is the name of the memory file that holds the stub's program. /proc/PID/exe shows it,
// and no guest can change that.
func programName(key string) string { return "kx-stub:" + key }

// start runs the stub's program as a zygote and waits for its greeting.
func (z *zygote) start() error {
	exe, err := openProgram(z.key)
	if err != nil {
		return err
	}
	defer unix.Close(exe)
	ours, theirs, err := socketpair()
	if err != nil {
		return err
	}
	// The socket goes where the stub expects it; all lower descriptors stay closed.
	files := make([]uintptr, fdZygote+1)
	for i := range files {
		files[i] = ^uintptr(0)
	}
	files[fdZygote] = uintptr(theirs)
	// The argument is room for the titles that stubs give themselves later.
	arg := "kx-zygote " + z.key
	arg += strings.Repeat(" ", titleSize-1-len(arg))
	// By our PID: in the new process the number of the descriptor may be taken.
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), exe)
	pid, err := syscall.ForkExec(path, []string{arg},
		&syscall.ProcAttr{Dir: "/", Files: files, Sys: &syscall.SysProcAttr{Setsid: true}})
	unix.Close(theirs)
	if err != nil {
		unix.Close(ours)
		return fmt.Errorf("kxsh: hosted: cannot start the stub: %w", err)
	}
	z.pid, z.sock = pid, ours
	volunteer(pid)
	r, err := z.receive()
	if err != nil {
		z.stop()
		return fmt.Errorf("kxsh: hosted: the stub does not start: %w", err)
	}
	z.namespaces, z.identity = r.Namespaces, r.Identity
	return nil
}

// openProgram puts the stub's program into a sealed memory file and opens it read-only: a file that
// is open for writing cannot be executed.
func openProgram(key string) (int, error) {
	program, err := stubProgram()
	if err != nil {
		return -1, err
	}
	fd, err := memfd(programName(key), unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = memfd(programName(key), 0)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	if err := writeAt(fd, program, 0); err != nil {
		return -1, err
	}
	if err := seal(fd, allSeals); err != nil {
		return -1, err
	}
	return reopen("/proc/self", fd, unix.O_RDONLY)
}

const allSeals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

func (z *zygote) receive() (r zygoteReply, err error) {
	n := 0
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	err = attempt("zygote", func() (err error) {
		n, err = unix.Read(z.sock, buf)
		return err
	})
	if err == nil && n != len(buf) {
		err = fmt.Errorf("zygote: %w", unix.EPIPE)
	}
	return r, err
}

// ask requests a stub that has the files: its socket, control area, doorbell and family area. The caller must
// call answer next, at once if there was an error: until then the zygote is its alone.
func (z *zygote) ask(f inherited) error {
	z.mu.Lock()
	if z.closed {
		return os.ErrClosed
	}
	return z.request(f)
}

// inherited are the files that a stub starts with.
type inherited struct{ sock, ctl, bell, family int }

func (z *zygote) request(f inherited) error {
	if z.sock < 0 {
		if err := z.start(); err != nil {
			return err
		}
	}
	return send(z.sock, []byte{zygoteSpawn, 0, 0, 0}, f.sock, f.ctl, f.bell, f.family)
}

// answer returns the PID of the stub asked for; asked is what ask returned. A zygote that does not
// answer is ended, with the stub that it may have made; one that was killed is started again.
func (z *zygote) answer(asked error, f inherited) (int, error) {
	defer z.mu.Unlock()
	var r zygoteReply
	err := asked
	if err == nil {
		r, err = z.receive()
	}
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		z.giveUp(f)
		if err = z.request(f); err == nil {
			r, err = z.receive()
		}
	}
	if err != nil {
		if asked == nil {
			z.giveUp(f)
		}
		return 0, err
	}
	if r.PID > 0 {
		return int(r.PID), nil
	}
	err = sysError("clone", unix.Errno(-r.PID))
	if errors.Is(err, unix.EAGAIN) {
		err = fmt.Errorf("%w: no more processes allowed: raise the limit (ulimit -u)", xen.ErrNoMemory)
	}
	return 0, err
}

// giveUp ends the process and whatever it made of a request. The next request starts a new one.
func (z *zygote) giveUp(f inherited) {
	if z.sock < 0 {
		return
	}
	z.stop()
	endWith(z.key, f.ctl)
}

// stop ends the process.
func (z *zygote) stop() {
	if z.sock < 0 {
		return
	}
	unix.Close(z.sock)
	z.sock = -1
	unix.Kill(z.pid, unix.SIGKILL)
	wait4(z.pid)
}

func (z *zygote) close() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if !z.closed {
		z.closed = true
		z.stop()
	}
}

// sandbox lists what confines the domains.
func (z *zygote) sandbox() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	s := []string{"seccomp", "no new privileges", "resource limits", "sealed memory"}
	if z.identity != 0 {
		s = append(s, fmt.Sprintf("uid %d", z.identity))
	}
	for _, n := range []struct {
		flag uint32
		name string
	}{
		{unix.CLONE_NEWUSER, "user"}, {unix.CLONE_NEWNET, "network"}, {unix.CLONE_NEWIPC, "ipc"},
		{unix.CLONE_NEWNS, "mount"}, {unix.CLONE_NEWUTS, "uts"}, {unix.CLONE_NEWCGROUP, "cgroup"},
	} {
		if z.namespaces&n.flag != 0 {
			s = append(s, n.name+" namespace")
		}
	}
	return s
}
