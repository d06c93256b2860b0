package hosted

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// stray is a running domain that an earlier engine created.
type stray struct {
	pid   int
	start uint64
}

// lives is false also for a process that has ended and that nobody has reaped yet.
func (s stray) lives() bool {
	fields, err := procStat(s.pid)
	return err == nil && startOf(fields) == s.start && fields[0][0] != 'Z' && fields[0][0] != 'X'
}

// scan finds the processes of an earlier engine with this key: domains, and what is left of its
// pool, which it ends. It goes by the program that a process runs and by the names of its files,
// which no guest can change.
func scan(key string) map[xen.DomID]stray {
	strays := map[xen.DomID]stray{}
	for _, pid := range stubs(key) {
		start, err := startTime(pid)
		if err != nil {
			continue
		}
		if id, ok := domainOf(pid); ok {
			s := stray{pid, start}
			if other, twice := strays[id]; twice {
				s = older(id, s, other, key)
			}
			strays[id] = s
		} else {
			endStub(pid, start, key)
		}
	}
	return strays
}

// endWith ends the stub that has a control area, if there is one: a child of ours of which the
// zygote never told.
func endWith(key string, ctl int) {
	for _, pid := range stubs(key) {
		if !isFile(fmt.Sprintf("/proc/%d/fd/%d", pid, fdCtl), ctl) {
			continue
		}
		if pidfd, err := unix.PidfdOpen(pid, 0); err == nil {
			endProcess(pidfd)
			unix.Close(pidfd)
		}
	}
}

// stubs are the processes that are stubs of an engine with this key.
func stubs(key string) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && isStub(pid, key) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isFile tells whether a path leads to a file that we have open.
func isFile(path string, fd int) bool {
	var want, st unix.Stat_t
	return unix.Fstat(fd, &want) == nil && unix.Stat(path, &st) == nil && st.Dev == want.Dev && st.Ino == want.Ino
}

// isStub tells whether a process is a stub of an engine with this key. Others can run a program of
// that name, but not with our identity.
func isStub(pid int, key string) bool {
	if memfdName(fmt.Sprintf("/proc/%d/exe", pid)) != programName(key) {
		return false
	}
	var st unix.Stat_t
	if unix.Stat(fmt.Sprintf("/proc/%d", pid), &st) != nil {
		return false
	}
	own := unix.Geteuid()
	return int(st.Uid) == own || own == 0 && (st.Uid == stubUID || st.Uid == nobodyUID)
}

// memfdName is the name of the memory file that a link in /proc leads to, or "".
func memfdName(link string) string {
	to, err := os.Readlink(link)
	if err != nil {
		return ""
	}
	name, ok := strings.CutPrefix(to, "/memfd:")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(name, " (deleted)")
}

// domainOf tells which domain a stub is; false for a blank and for a zygote. Where a fork made it, its frames' file has
// the name of the first of the family that has it.
func domainOf(pid int) (xen.DomID, bool) {
	for _, f := range []struct {
		fd     int
		prefix string
	}{{fdTag, tagPrefix}, {fdRAM, ramPrefix}} {
		id, ok := strings.CutPrefix(memfdName(fmt.Sprintf("/proc/%d/fd/%d", pid, f.fd)), f.prefix)
		if ok {
			n, err := strconv.ParseUint(id, 10, 32)
			return xen.DomID(n), err == nil
		}
	}
	return 0, false
}

// hasTag tells whether a process is a domain with private memory.
func hasTag(proc string) bool {
	return strings.HasPrefix(memfdName(fmt.Sprintf("%s/fd/%d", proc, fdTag)), tagPrefix)
}

// older decides between two processes that say that they are one domain: it was being moved when its engine died. The
// new one goes on only after the old one has been killed; if that had not come yet, the domain is where it was. The other
// one is ended.
func older(id xen.DomID, a, b stray, key string) stray {
	moved := func(s stray) bool { return hasTag(fmt.Sprintf("/proc/%d", s.pid)) }
	switch {
	case !moved(a) && moved(b):
	case moved(a) && !moved(b), b.start < a.start, b.start == a.start && b.pid < a.pid:
		a, b = b, a // if both: the younger is a child that has not taken its own files yet
	}
	stays, goes := a, b
	if a.dying() {
		stays, goes = b, a
	}
	endStub(goes.pid, goes.start, key)
	return stays
}

// dying tells whether a process has been killed, though its memory may still be being taken apart, or it may not have heard of it yet.
func (s stray) dying() bool {
	const exiting = 4 // PF_EXITING, include/linux/sched.h; the ninth field
	if killPending(s.pid) {
		return true
	}
	fields, err := procStat(s.pid)
	if err != nil || startOf(fields) != s.start || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return true
	}
	flags, _ := strconv.ParseUint(string(fields[9-3]), 10, 64)
	return flags&exiting != 0
}

// killPending tells whether a SIGKILL waits for a process's turn: on a busy machine that can take a while.
func killPending(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(status)) {
		if name, set, _ := strings.Cut(line, ":"); name == "SigPnd" || name == "ShdPnd" { // of its first thread, and of all
			if n, _ := strconv.ParseUint(strings.TrimSpace(set), 16, 64); n&(1<<(unix.SIGKILL-1)) != 0 {
				return true
			}
		}
	}
	return false
}

// endStub kills a process that is no domain, if it is still the one that was seen.
func endStub(pid int, start uint64, key string) {
	pidfd, err := pidfdOpen(pid)
	if err != nil {
		return
	}
	defer unix.Close(pidfd)
	if now, err := startTime(pid); err == nil && now == start && isStub(pid, key) {
		signalTo(pidfd, unix.SIGKILL)
		reap(pidfd)
	}
}

// startTime is when a process started, in clock ticks since boot.
func startTime(pid int) (uint64, error) {
	fields, err := procStat(pid)
	if err != nil {
		return 0, err
	}
	return startOf(fields), nil
}

// startOf is field 22 of /proc/PID/stat.
func startOf(fields [][]byte) uint64 {
	n, _ := strconv.ParseUint(string(fields[22-3]), 10, 64)
	return n
}

// procStat returns the fields of /proc/PID/stat from the third, the state, on.
func procStat(pid int) ([][]byte, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	// The second field, the name, may hold anything; it ends with the last parenthesis.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 22-2 {
		return nil, fmt.Errorf("/proc/%d/stat: not understood", pid)
	}
	return fields, nil
}

// Adopt implements xen.Hypervisor. Without a token the domain is the one that was found when the
// hypervisor started.
func (h *Hypervisor) Adopt(id xen.DomID, token []byte) (xen.Domain, error) {
	h.mu.Lock()
	s, ok := h.strays[id]
	h.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("adopt domain %d: %w", id, xen.ErrNoDomain)
	}
	d, err := h.adopt(id, s, token)
	if err != nil {
		return nil, fmt.Errorf("adopt domain %d: %w", id, err)
	}
	return d, nil
}

func (h *Hypervisor) adopt(id xen.DomID, s stray, token []byte) (_ *Domain, err error) {
	p := &process{pid: s.pid, pidfd: -1, ctl: -1, ram: -1, bell: -1, sock: -1, family: -1}
	defer func() {
		if err != nil {
			if p.area != nil {
				p.free(false)
			} else {
				closeAll(p.pidfd, p.ctl, p.ram, p.bell, p.sock, p.family)
			}
		}
	}()
	if err = p.reopen(); err != nil {
		return nil, err
	}
	// What was opened was opened of the process that the descriptor stands for, unless that has
	// ended since: then its number may be another's.
	if !s.lives() || hasEnded(p.pidfd) || len(token) > 0 && !bytes.Equal(token, p.token()) {
		return nil, xen.ErrNoDomain
	}
	d := newDomain(h, id, p)
	if d.libraries, err = openLibraries(s.pid); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.libraries.close()
		}
	}()
	if d.maps, err = mappings(s.pid, d.libraries); err != nil {
		return nil, err
	}
	d.dynamic = d.dynamicOf(p)
	h.dismiss(p)
	d.paused.Store(isStopped(s.pid))
	if p.moved() && !d.paused.Load() {
		p.letGo() // it may have moved there when its engine died
	}
	d.limits.adopt(s.pid)
	h.mu.Lock()
	if _, still := h.strays[id]; !still { // somebody was faster
		h.mu.Unlock()
		return nil, xen.ErrNoDomain
	}
	delete(h.strays, id)
	h.domains[id] = d
	h.mu.Unlock()
	if err = h.watcher.add(d, p); err != nil {
		h.mu.Lock()
		delete(h.domains, id)
		h.strays[id] = s
		h.mu.Unlock()
		return nil, err
	}
	// It may have rung, or ended, while nobody listened; and an engine that was killed as it rang has woken nobody.
	d.answer(p)
	p.ringer().RingAnew(portEngine)
	if p.saysEnded() {
		h.watcher.end(d, p)
	}
	return d, nil
}

// reopen opens what the engine needs of a stub, and checks that it is what a stub has.
func (p *process) reopen() (err error) {
	if p.pidfd, err = pidfdOpen(p.pid); err != nil {
		return xen.ErrNoDomain
	}
	proc := fmt.Sprintf("/proc/%d", p.pid)
	if p.ctl, err = reopen(proc, fdCtl, unix.O_RDWR); err != nil {
		return err
	}
	if err = isMemory(p.ctl, ctlSize); err != nil {
		return err
	}
	flags := unix.O_RDWR
	if hasTag(proc) {
		flags = unix.O_RDONLY
	}
	if p.ram, err = reopen(proc, fdRAM, flags); err != nil {
		return err
	}
	if p.bell, err = reopen(proc, fdBell, unix.O_RDONLY|unix.O_NONBLOCK); err != nil {
		return err
	}
	if p.area, err = mapShared(p.ctl, ctlSize); err != nil {
		return err
	}
	p.control = p.area
	p.family = familyOf(proc)
	// Where this is not allowed, the domain runs on, but cannot be forked, and its libraries stay.
	if p.sock, err = unix.PidfdGetfd(p.pidfd, fdEngine, 0); err != nil {
		p.sock = -1
	}
	if p.frozen = hasTag(proc); !p.frozen {
		return nil
	}
	return p.reopenControl(proc)
}

// reopenControl opens the control area of a domain that may have moved.
func (p *process) reopenControl(proc string) error {
	ctl, err := reopen(proc, fdControl, unix.O_RDWR)
	if err != nil {
		return err
	}
	var first, this unix.Stat_t
	if unix.Fstat(p.ctl, &first) == nil && unix.Fstat(ctl, &this) == nil && first.Ino == this.Ino {
		closeAll(ctl)
		return nil
	}
	if err = isMemory(ctl, ctlSize); err == nil {
		var control []byte
		if control, err = mapShared(ctl, ctlSize); err == nil {
			closeAll(p.ctl)
			p.ctl, p.control = ctl, control
			return nil
		}
	}
	closeAll(ctl)
	return err
}

// isMemory checks that a file cannot become shorter than its mapping.
func isMemory(fd int, size int64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_SHRINK == 0 || st.Size != size {
		return fmt.Errorf("its control area is not one")
	}
	return nil
}

// mappings reads what of a stub's memory files is mapped where, from /proc/PID/maps.
func mappings(pid int, l libraries) ([]stubMap, error) {
	all, err := procMaps(pid)
	return l.mappings(all), err
}

// mappings are those of the domain's memory among all maps.
func (l libraries) mappings(all []procMap) (maps []stubMap) {
	for _, m := range all {
		switch {
		case strings.HasPrefix(m.name, ramPrefix):
			m.FD = fdRAM
		case strings.HasPrefix(m.name, imagePrefix):
			m.FD = fdImage
		case strings.HasPrefix(m.name, libraryPrefix):
			i := l.byInode(m.inode)
			if i < 0 {
				continue
			}
			m.FD = fdLibrary + uint32(i)
		default:
			continue
		}
		maps = join(maps, m.stubMap)
	}
	return maps
}

// procMap is a line of /proc/PID/maps; FD is not set.
type procMap struct {
	stubMap
	perm, inode string
	name        string // of a memory file, else as it is there
}

func procMaps(pid int) (maps []procMap, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		var m procMap
		var end uint64
		var dev string
		if n, _ := fmt.Sscanf(line, "%x-%x %s %x %s %s %s", &m.VA, &end, &m.perm, &m.Off, &dev, &m.inode, &m.name); n < 6 {
			return nil, fmt.Errorf("/proc/%d/maps has a line %q", pid, line)
		}
		m.name = strings.TrimPrefix(m.name, "/memfd:")
		m.Len, m.Prot = end-m.VA, protOf(m.perm)
		maps = append(maps, m)
	}
	return maps, nil
}

// protOf reads what a mapping allows, as /proc/PID/maps has it: "rw-p".
func protOf(perm string) (prot uint32) {
	for i, bit := range []uint32{unix.PROT_READ, unix.PROT_WRITE, unix.PROT_EXEC} {
		if i < len(perm) && perm[i] != '-' {
			prot |= bit
		}
	}
	return prot
}

// join appends a mapping, or extends the last one.
func join(maps []stubMap, m stubMap) []stubMap {
	if n := len(maps); n > 0 {
		if l := &maps[n-1]; l.FD == m.FD && l.Prot == m.Prot && l.VA+l.Len == m.VA && l.Off+l.Len == m.Off {
			l.Len += m.Len
			return maps
		}
	}
	return append(maps, m)
}

func isStopped(pid int) bool {
	f, err := procStat(pid)
	return err == nil && len(f[0]) == 1 && (f[0][0] == 'T' || f[0][0] == 't')
}

// endUnborn ends a process that a stub made for an engine that has died, if it is one.
func (h *Hypervisor) endUnborn(pid int) {
	if pid > 0 && isStub(pid, h.key) && !h.knows(pid) {
		unix.Kill(pid, unix.SIGKILL)
		wait4(pid)
	}
}

// knows tells whether a process is one of those that this engine made or found.
func (h *Hypervisor) knows(pid int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.domains {
		if d != nil && d.proc.Load().pid == pid {
			return true
		}
	}
	for _, s := range h.strays {
		if s.pid == pid {
			return true
		}
	}
	_, ok := domainOf(pid)
	return !ok // a blank or the zygote
}

// sweepAfter are the times, from the start of an engine on, at which it looks for what its predecessor has left unborn: a stub that
// was allowed to fork may have come to it only after the first look.
var sweepAfter = []time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second, time.Minute}

// sweep ends such processes, between the births of others.
func (h *Hypervisor) sweep() {
	defer close(h.swept)
	begin := time.Now()
	for _, after := range sweepAfter {
		select {
		case <-h.leaving:
			return
		case <-time.After(after - time.Since(begin)):
		}
		for !h.births.TryLock() { // one who waits for it holds up all births, and a hostile one takes its time
			select {
			case <-h.leaving:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			if pid, err := strconv.Atoi(e.Name()); err == nil {
				h.endUnborn(pid)
			}
		}
		h.births.Unlock()
	}
}
