// Package lab boots Xen and a Debian dom0 in an emulated machine and runs a command there: on any
// Linux machine with apt, by any user, without KVM. Nothing of it is installed; the packages (Xen,
// the dom0 kernel, busybox, and QEMU where it is missing) are fetched once into the user's cache.
//
// The dom0 lives in memory: an initramfs made for each run. What the command writes comes back over
// serial lines of its own, so neither Xen's nor the kernel's messages get into it.
package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Options say what to run and on what machine. The zero value of a number means its default.
type Options struct {
	Command []string          // its arguments, as in execve(2); looked up in PATH
	Files   map[string]string // path in dom0 → file or folder of this machine, copied
	Env     []string          // NAME=VALUE, added to the environment

	// HostRoot runs the command in this machine's file system and current folder, with its PATH and HOME:
	// every program of this machine works in dom0. What is written stays in dom0's memory.
	HostRoot bool
	// Shared are folders that the command may write to: path in dom0 → folder of this machine.
	Shared map[string]string

	Stdin  io.Reader // read to its end before the start; nil is empty
	Stdout io.Writer // gets the command's output as it arrives; nil keeps it in Result
	Stderr io.Writer // gets its errors; nil sends them the way of the output, in the order written

	// Terminal makes this terminal that of the command: Stdin and Stdout are not used.
	Terminal *os.File

	Memory     int  // of the machine, MiB: 4096
	Dom0Memory int  // of dom0, MiB: 1024
	CPUs       int  // of the machine; dom0 has one: 2
	Icount     bool // each instruction takes one ns: figures repeat, the run is slower
	XL         bool // xl and xenstored in dom0, started

	Progress io.Writer // told what takes long; nil for silence
	Log      io.Writer // gets the serial log of Xen and dom0 at the end; nil drops it
}

// A Result is what a command that ran left behind.
type Result struct {
	Status int    // exit status, 128 + signal as in sh
	Output []byte // unless Options.Stdout took it
}

// Defaults of Options.
const (
	defaultMemory     = 4096
	defaultDom0Memory = 1024
	defaultCPUs       = 2
)

func (o *Options) setDefaults() error {
	if len(o.Command) == 0 {
		return errors.New("lab: no command given")
	}
	for number, usual := range map[*int]int{&o.Memory: defaultMemory, &o.Dom0Memory: defaultDom0Memory, &o.CPUs: defaultCPUs} {
		if *number == 0 {
			*number = usual
		}
	}
	if o.Memory < o.Dom0Memory+256 {
		return fmt.Errorf("lab: memory %d MiB: dom0 takes %d of it and Xen needs 256 more: give more", o.Memory, o.Dom0Memory)
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	if o.Terminal != nil {
		o.Stderr = nil
	}
	return nil
}

// Fetch gets the packages that Run would, so that it need not: for a machine about to lose its network.
func Fetch(ctx context.Context, o Options) error {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	_, err := findParts(ctx, o.XL, o.Progress)
	return err
}

// Run boots the machine, runs the command and returns its result. The machine is gone when Run
// returns. An error means that the command did not run to its end: no package, no boot, a crash of
// dom0 or Xen, or the end of ctx; it then carries the end of the serial log.
func Run(ctx context.Context, o Options) (Result, error) {
	if err := o.setDefaults(); err != nil {
		return Result{}, err
	}
	if !o.HostRoot {
		if err := checkPrograms(o.Files); err != nil {
			return Result{}, err
		}
	}
	parts, err := findParts(ctx, o.XL, o.Progress)
	if err != nil {
		return Result{}, err
	}
	folder, err := os.MkdirTemp("", "kxsh-lab-")
	if err != nil {
		return Result{}, fmt.Errorf("lab: %w", err)
	}
	defer os.RemoveAll(folder)

	nonce := make([]byte, 8)
	if _, err := rand.Read(nonce); err != nil {
		return Result{}, fmt.Errorf("lab: %w", err)
	}
	m := machine{Options: o, parts: parts, folder: folder, nonce: hex.EncodeToString(nonce)}
	if err := m.prepare(); err != nil {
		return Result{}, err
	}
	result, err := m.run(ctx)
	log, logErr := os.ReadFile(filepath.Join(folder, serialLog))
	if o.Log != nil && logErr == nil {
		if _, err := o.Log.Write(log); err != nil {
			return result, fmt.Errorf("lab: serial log: %w", err)
		}
	}
	if err != nil {
		return result, fmt.Errorf("%w; the end of the serial log:\n%s", err, lastLines(log, 40))
	}
	return result, nil
}

// lastLines returns the last n lines of a log, without the control characters a terminal would obey.
func lastLines(log []byte, n int) string {
	log = bytes.TrimSpace(log)
	at := len(log)
	for ; n > 0 && at > 0; n-- {
		at = max(0, bytes.LastIndexByte(log[:at], '\n'))
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, string(log[at:]))
}
