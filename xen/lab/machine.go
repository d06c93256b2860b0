package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Names in a machine's folder. QEMU runs in that folder: its options part at commas and spaces,
// which the paths of this machine may contain.
const (
	xenImage    = "xen"
	kernelImage = "vmlinuz"
	initramfs   = "initramfs"
	serialLog   = "serial.log"
)

// A machine is one run of the lab.
type machine struct {
	Options
	parts  parts
	folder string
	nonce  string
}

// prepare fills the machine's folder.
func (m *machine) prepare() error {
	for name, target := range map[string]string{xenImage: m.parts.xen, kernelImage: m.parts.kernel} {
		if err := os.Symlink(target, filepath.Join(m.folder, name)); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
	}
	f, err := os.Create(filepath.Join(m.folder, initramfs))
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return errors.Join(m.image(f), f.Close(), m.linkShares())
}

// arguments of QEMU.
//
// Xen has the first serial line; the second is dom0's and comes to our pipes. So does
// the third: errors of the command to QEMU's file descriptor 3, sizes of a terminal from a named pipe.
//
// eager-fpu: QEMU's xsave and xrstor do not fault where CR0.TS is set, on which Xen's lazy switching of
// vector registers rests; without it dom0 and domains see each other's.
//
// Half of the time to boot went into memory: dom0's kernel sets up tables for all that max: leaves it, Xen
// scrubs what is empty anyway, and rodata= makes the kernel walk all its page tables.
func (m *machine) arguments() []string {
	xen, dom0 := m.caution()
	args := []string{
		"-machine", "q35", "-cpu", m.processor(), "-accel", "tcg", "-smp", strconv.Itoa(m.CPUs),
		"-m", strconv.Itoa(m.Memory), "-display", "none", "-vga", "none", "-no-reboot", "-nodefaults", "-no-user-config",
		"-serial", "file:" + serialLog,
		"-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line",
		"-kernel", xenImage,
		"-append", fmt.Sprintf("console=com1 com1=115200 loglvl=all guest_loglvl=all dom0_mem=%[1]dM,max:%[1]dM dom0_max_vcpus=1", m.Dom0Memory) + xen + m.scrub() + m.pin(),
		"-initrd", kernelImage + " console=hvc0 earlyprintk=xen quiet panic=1 rodata=off" + dom0 + "," + initramfs,
	}
	switch {
	case m.Terminal != nil:
		args = append(args, "-chardev", "pipe,id=third,path="+sizePipe, "-device", "pci-serial,chardev=third")
	case m.Stderr != nil:
		args = append(args, "-chardev", "file,id=third,path=/dev/fd/3", "-device", "pci-serial,chardev=third")
	}
	args = append(args, m.fileDevices()...)
	if m.Icount {
		args = append(args, "-icount", "shift=0")
	}
	return args
}

// processor is what is emulated. Without -smap and -smep dom0 dies at once: QEMU 7.2 makes a wrong SMAP fault on iret in ring 3.
// With ERMS and FSRM dom0's kernel clears and copies pages a byte at a time, which takes an emulated processor four times as long as by eight; where
// figures are wanted it has them, as those that are sold do.
func (m *machine) processor() string {
	const works = "max,-smap,-smep"
	if m.Icount {
		return works
	}
	return works + ",-erms,-fsrm"
}

// caution is what Xen and dom0's kernel are told of guarding against what processors guess, of which an emulated one does nothing, and against pages that tell what was in them: 7 % of
// a set of tests for the first, as much for the second together with the processor's copying. Where figures are wanted both are as shipped.
func (m *machine) caution() (xen, dom0 string) {
	if m.Icount {
		return " spec-ctrl=eager-fpu", ""
	}
	return " spec-ctrl=no,eager-fpu", " mitigations=off init_on_alloc=0"
}

// scrub has Xen clear what domains give back, without which forks share nothing. What the firmware left is left so, except
// where figures are wanted: a builder that has to clear frames itself is slow.
func (m *machine) scrub() string {
	const always = " scrub-domheap"
	if m.Icount {
		return always
	}
	return always + " bootscrub=0"
}

// pin keeps dom0's vcpu on one processor: Xen 4.17's credit2 has left it waiting in its queue for ever, with both
// processors idle. Where figures are wanted dom0 runs as on a Xen as it is shipped.
func (m *machine) pin() string {
	if m.Icount {
		return ""
	}
	return " dom0_vcpus_pin"
}

// errEnded: the command's status is known and the machine may go.
var errEnded = errors.New("ended")

func (m *machine) run(ctx context.Context) (Result, error) {
	machineCtx, end := context.WithCancelCause(ctx)
	defer end(nil)
	cmd := exec.CommandContext(machineCtx, m.parts.qemu[0], append(m.parts.qemu[1:], m.arguments()...)...)
	cmd.Dir = m.folder
	cmd.Env = append(os.Environ(), m.parts.qemuEnv...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // the machine never outlives the lab
	cmd.WaitDelay = 5 * time.Second
	var stderr, kept bytes.Buffer
	cmd.Stderr = &stderr

	line := &markers{nonce: m.nonce, out: m.Stdout, begin: func() {}, end: func() { end(errEnded) }}
	if line.out == nil {
		line.out = &kept
	}
	if m.Stderr != nil {
		var open atomic.Int32
		open.Store(2)
		line.end = func() {
			if open.Add(-1) == 0 {
				end(errEnded)
			}
		}
		wait, err := m.carryErrors(cmd, line.end)
		if err != nil {
			return Result{}, err
		}
		defer wait()
	}
	if m.Terminal != nil {
		forget, err := m.carrySize()
		if err != nil {
			return Result{}, err
		}
		defer forget()
		keys, err := cmd.StdinPipe()
		if err != nil {
			return Result{}, fmt.Errorf("lab: %w", err)
		}
		restore, err := rawTerminal(m.Terminal)
		if err != nil {
			return Result{}, err
		}
		k := &keyboard{terminal: m.Terminal, line: keys, leave: func() { end(errLeft) }}
		line.out = m.Terminal
		line.begin = func() { k.open.Store(true) }
		done := make(chan struct{})
		go func() { k.run(machineCtx); close(done) }()
		defer func() { end(nil); <-done; restore() }()
	}
	cmd.Stdout = line
	fmt.Fprintf(m.Progress, "lab: booting Xen and dom0\r\n")
	err := errors.Join(cmd.Run(), line.finish())
	result := Result{Status: line.status, Output: kept.Bytes()}
	switch cause := context.Cause(machineCtx); {
	case line.ended:
		return result, nil
	case errors.Is(cause, errLeft):
		return result, nil
	case ctx.Err() != nil && line.begun:
		return result, fmt.Errorf("lab: %s: did not end in time: %w", m.Command[0], context.Cause(ctx))
	case ctx.Err() != nil:
		return result, fmt.Errorf("lab: dom0 did not boot in time: %w", context.Cause(ctx))
	case err == nil && line.begun:
		return result, errors.New("lab: the machine went down before the command ended")
	case err == nil:
		return result, errors.New("lab: the machine went down before dom0 was up")
	}
	return result, fmt.Errorf("lab: qemu: %w: %s", err, strings.TrimSpace(stderr.String()))
}

// carryErrors has what comes over the third line written to Stderr; end is called at its end marker. The
// function returned waits until all is written, after QEMU's end.
func (m *machine) carryErrors(cmd *exec.Cmd, end func()) (wait func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	cmd.ExtraFiles = []*os.File{w}
	line := &markers{nonce: m.nonce, out: m.Stderr, begin: func() {}, end: end}
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(line, r)
		line.finish()
	}()
	return func() { w.Close(); <-done; r.Close() }, nil
}
