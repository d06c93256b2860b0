package hosted

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
	"kxsh/xen"
)

// stubPrivate is what a stub's process writes of its own pages, in bytes: its data, its stacks and
// its title. Page tables and the kernel's own records of a process come on top.
const stubPrivate = 6 * abi.PageSize

// usage is what a domain has of the host's memory, in bytes.
type usage struct {
	used, most uint64 // now, and by its size
	shared     uint64 // of used: its image, its libraries, the family area, and cow
	cow        uint64 // of shared: frames that it has not copied since it, or its ancestor, was forked
	own        uint64 // of used: without frames that it shares, for they may be its relatives' doing; that is what a cap is for
}

// memory counts each page once, whether it is still the one in the file of the family's frames or a copy. The frames in the
// file that nobody sees any more stay with the family: they are in nobody's count.
func (d *Domain) memory() (u usage) {
	var ram, ctl unix.Stat_t
	p := d.proc.Load()
	if unix.Fstat(p.ram, &ram) != nil || unix.Fstat(p.ctl, &ctl) != nil {
		return u
	}
	u.shared = d.sharedBytes() + p.familyBytes()
	fixed := u.shared + stubPrivate
	u.most = uint64(ram.Size+ctl.Size) + fixed
	fixed += uint64(ctl.Blocks) * block
	frames := uint64(ram.Blocks) * block
	own := frames
	if p.frozen { // a page that one of them writes to without its having been there before gets one in the file, too
		own = min(p.private(), frames)
		u.cow = frames - own
		u.shared += u.cow
	}
	u.used, u.own = frames+fixed, own+fixed
	return u
}

const block = 512 // of st_blocks

// private is how many bytes of memory a process has to itself, beside its stub's.
func (p *process) private() uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid))
	if err != nil {
		return 0
	}
	var size, resident, shared uint64
	if n, _ := fmt.Sscan(string(b), &size, &resident, &shared); n != 3 || resident < shared {
		return 0
	}
	own := (resident - shared) * abi.PageSize
	return own - min(own, stubPrivate)
}

// sharedBytes is what the domain maps of its image and its libraries: the same pages for all domains that have those.
func (d *Domain) sharedBytes() (n uint64) {
	for _, m := range d.maps {
		if m.FD == fdImage || m.FD >= fdLibrary {
			n += m.Len
		}
	}
	return n
}

// doing tells the domain's state.
func (d *Domain) doing() xen.State {
	s := d.proc.Load().state()
	switch {
	case d.isGone():
		return xen.StateDying
	case d.paused.Load() || atomic.LoadUint32(&s.Go) == 0:
		return xen.StatePaused
	case atomic.LoadUint32(&s.Sleeping) != 0:
		return xen.StateBlocked
	default:
		return xen.StateRunning
	}
}

// cpuTime reads the CPU clock of the process: its number holds the PID (see
// clock_getcpuclockid(3)), which the domain, not being gone, still has.
func (d *Domain) cpuTime() time.Duration {
	const scheduler = 2
	var ts unix.Timespec
	if !d.isGone() && unix.ClockGettime(int32(^d.proc.Load().pid<<3|scheduler), &ts) == nil {
		d.cpu.Store(d.before.Load() + ts.Nano())
	}
	return time.Duration(d.cpu.Load())
}

// hostMemory knows how much memory the host has, and looks at most once a second.
type hostMemory struct {
	mu          sync.Mutex
	at          time.Time
	total, free uint64
}

// reserve is what must be left for the host itself, in bytes.
const reserve = 16 << 20

func (m *hostMemory) sample() (total, free uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.at) > time.Second || m.total == 0 {
		m.total, m.free = readMemInfo()
		m.at = time.Now()
	}
	return m.total, m.free
}

// check refuses a domain that the host could never hold, or none at all when there is hardly
// memory left. Frames are only taken when they are touched, so domains may be promised more
// together than there is.
func (m *hostMemory) check(bytes uint64) error {
	total, free := m.sample()
	if total == 0 { // no /proc/meminfo: nothing is known
		return nil
	}
	if bytes > total {
		return fmt.Errorf("%w: %d bytes asked for, the host has %d", xen.ErrNoMemory, bytes, total)
	}
	if free < reserve {
		return fmt.Errorf("%w: %d bytes are left", xen.ErrNoMemory, free)
	}
	return nil
}

// readIdle returns what all CPUs have been idle, waiting for a disk included, or 0.
func readIdle() time.Duration {
	const tick = time.Second / 100 // USER_HZ of x86-64
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	var user, nice, system, idle, iowait int64
	fmt.Sscanf(string(b[:min(len(b), 256)]), "cpu %d %d %d %d %d", &user, &nice, &system, &idle, &iowait)
	return time.Duration(idle+iowait) * tick
}

// readMemInfo returns MemTotal + SwapTotal and MemAvailable + SwapFree of /proc/meminfo.
func readMemInfo() (total, free uint64) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib uint64
		key, rest, _ := strings.Cut(s.Text(), ":")
		fmt.Sscan(rest, &kib)
		switch key {
		case "MemTotal", "SwapTotal":
			total += kib << 10
		case "MemAvailable", "SwapFree":
			free += kib << 10
		}
	}
	return total, free
}
