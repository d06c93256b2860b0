// Command hvrun runs one image on the hosted hypervisor, without an engine: the console goes to
// standard output and error, standard input to the pVM, and its exit status is hvrun's own. It is
// for people who work on the LibOS or on the hypervisor.
//
//	go run ./xen/hosted/hvrun [-m BYTES] [-v] [-t] IMAGE [ARG...]
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
	"kxsh/xen/hosted"
)

var (
	memory  = flag.Uint64("m", 64<<20, "bytes of the RAM window; an image that asks for more gets more")
	verbose = flag.Bool("v", false, "tell what is done and how long it takes")
	tty     = flag.Bool("t", false, "tell the pVM that its console is a terminal")
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: hvrun [-m BYTES] [-v] [-t] IMAGE [ARG...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	code, err := run(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "hvrun:", err)
		code = 1
	}
	os.Exit(code)
}

func run(args []string) (int, error) {
	hv, err := hosted.New(hosted.Options{Key: fmt.Sprintf("hvrun-%d", os.Getpid()), Pool: 1})
	if err != nil {
		return 0, err
	}
	defer hv.Close()
	d, err := create(hv, args)
	if err != nil {
		return 0, err
	}
	r := &runner{
		d: d, out: ipc.NewOutput(d.Control()), in: ipc.NewInput(d.Control()),
		cmds: ipc.NewCommands(d.Control()), room: make(chan struct{}, 1),
	}
	r.forwardSignals()
	go r.feed(os.Stdin)
	if err := d.Unpause(); err != nil {
		return 0, err
	}
	err = r.copyOutput()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hvrun:", err)
		d.Destroy()
	}
	<-d.Gone()
	return report(d)
}

func create(hv xen.Hypervisor, args []string) (xen.Domain, error) {
	f, err := os.Open(args[0])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	img, err := elf.ParseImage(f, st.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", args[0], err)
	}
	root := make([]byte, img.Root.Len)
	if _, err := f.ReadAt(root, int64(img.Root.Off)); err != nil && len(root) > 0 {
		return nil, err
	}
	im, err := hv.Prepare(img, f)
	if err != nil {
		return nil, err
	}
	defer im.Close()
	return hv.Create(context.Background(), &xen.Config{
		Image:  im,
		Memory: max(*memory, img.Memory),
		Boot: xen.Boot{
			Name: args[0], Args: args, Env: os.Environ(), Stdin: true, TTY: *tty, Rows: 24, Cols: 80, Root: root,
		},
		Step: func(name string, took time.Duration) { say("%-8s %v", name, took) },
	})
}

func say(format string, args ...any) {
	if *verbose {
		fmt.Fprintf(os.Stderr, "hvrun: "+format+"\n", args...)
	}
}

type runner struct {
	d    xen.Domain
	out  *ipc.Output
	in   *ipc.Input
	cmds *ipc.Commands
	room chan struct{} // the pVM has rung: there may be room for input
}

// copyOutput writes the console until the pVM is gone and everything was read.
func (r *runner) copyOutput() error {
	for gone := false; ; {
		chunks, err := r.out.Read()
		for _, c := range chunks {
			to := os.Stderr
			if c.Stream == abi.Stdout {
				to = os.Stdout
			}
			to.Write(c.Data)
		}
		if r.out.Release() {
			r.d.Notify()
		}
		switch {
		case err != nil:
			return err
		case len(chunks) > 0:
			continue
		case gone:
			return nil
		case !r.out.Sleep():
			continue
		}
		select {
		case <-r.d.Rang():
			select {
			case r.room <- struct{}{}:
			default:
			}
		case <-r.d.Gone():
			gone = true
		}
	}
}

// feed copies standard input to the pVM, and then says that it has ended.
func (r *runner) feed(from io.Reader) {
	buf := make([]byte, abi.ConinSize)
	for {
		n, err := from.Read(buf)
		if !r.write(buf[:n]) {
			return
		}
		if err != nil {
			r.send(r.cmds.EOF())
			return
		}
	}
}

func (r *runner) write(p []byte) bool {
	for len(p) > 0 {
		n, notify, err := r.in.Write(p)
		if err != nil {
			return false
		}
		if notify {
			r.d.Notify()
		}
		if p = p[n:]; len(p) == 0 {
			break
		}
		if sleep, err := r.in.Sleep(); err != nil || !sleep {
			continue
		}
		select {
		case <-r.room:
		case <-r.d.Gone():
			return false
		}
	}
	return true
}

func (r *runner) send(notify bool, err error) {
	if err == nil && notify {
		r.d.Notify()
	}
}

// forwardSignals passes on what a terminal sends.
func (r *runner) forwardSignals() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	go func() {
		for s := range c {
			r.send(r.cmds.Signal(int(s.(syscall.Signal)), 0))
		}
	}()
}

// report says how it ended, and returns the exit status. The domain is not released: feed may still
// use its control area, and hvrun ends now anyway.
func report(d xen.Domain) (int, error) {
	e := d.Exit()
	if st, err := d.Status(); err == nil {
		say("CPU time %v, memory %d KiB", st.CPUTime, st.Memory>>10)
	}
	crash := &e.Crash
	if own, err := ipc.ReadCrash(d.Control()); err == nil && own != nil && e.Reason != xen.ExitFault {
		crash = own
	}
	if crash.Signo != 0 {
		printCrash(crash)
	}
	if e.Detail != "" {
		fmt.Fprintln(os.Stderr, "hvrun:", e.Detail)
	}
	if e.Reason == xen.ExitFault {
		return 128 + int(e.Crash.Signo), nil
	}
	status, ok, err := ipc.ReadStatus(d.Control())
	if err != nil || !ok {
		return 0, fmt.Errorf("the pVM ended (reason %d) without an exit status: %v", e.Reason, err)
	}
	return status.Code(), nil
}

func printCrash(c *abi.KxCrash) {
	r := &c.Regs
	fmt.Fprintf(os.Stderr, "hvrun: signal %d, vector %d, error %#x, address %#x\n", c.Signo, c.Vector, c.Error, c.Addr)
	fmt.Fprintf(os.Stderr, "rip %016x rsp %016x rflags %08x\n", r.Rip, r.Rsp, r.Rflags)
	fmt.Fprintf(os.Stderr, "rax %016x rbx %016x rcx %016x rdx %016x\n", r.Rax, r.Rbx, r.Rcx, r.Rdx)
	fmt.Fprintf(os.Stderr, "rsi %016x rdi %016x rbp %016x\n", r.Rsi, r.Rdi, r.Rbp)
	fmt.Fprintf(os.Stderr, "r8  %016x r9  %016x r10 %016x r11 %016x\n", r.R8, r.R9, r.R10, r.R11)
	fmt.Fprintf(os.Stderr, "r12 %016x r13 %016x r14 %016x r15 %016x\n", r.R12, r.R13, r.R14, r.R15)
}
