package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"kxsh/engine"
	"kxsh/xen"
)

// upTime is how long a server may take until it answers, and loadTime a client until it has ended: an emulated machine takes its time.
const (
	upTime   = time.Minute
	loadTime = 3 * time.Minute
)

// counts are how many servers of a kind are asked at once.
func (b *Bench) counts(hv *xen.Info) []int {
	switch {
	case b.Quick && hv.Name == "xen":
		return []int{1, 2} // an emulated machine would take minutes for more
	case b.Quick:
		return []int{1, 2, 8}
	}
	return []int{1, 2, 4, 8}
}

// clients is how many connections a server is asked by.
const clients = 50

// contender is one kind of server, of which some run at once.
type contender struct {
	name    string
	peer    int // of its series
	start   func(ctx context.Context) (*server, error)
	servers []*server
}

// server is one that runs.
type server struct {
	addr   string // host:port
	weight func() (all, own float64, err error)
	ended  func() error // why it has; nil: it runs
	end    func()       // nil: it ends with its engine
}

// hello is what is sent to a server, and how its answer begins when it works.
type hello struct{ ask, answer string }

// up starts so many servers of each kind, and waits until all answer.
func up(ctx context.Context, kinds []*contender, n int, h hello) error {
	for _, k := range kinds {
		for range n {
			s, err := k.start(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			k.servers = append(k.servers, s)
			if err := s.up(ctx, h); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
		}
	}
	return nil
}

// down ends what up has started, but for pVMs, which end with their engine.
func down(kinds []*contender) {
	for _, k := range kinds {
		for _, s := range k.servers {
			if s.end != nil {
				s.end()
			}
		}
	}
}

func (s *server) up(ctx context.Context, h hello) error {
	for end := time.Now().Add(upTime); ; time.Sleep(10 * time.Millisecond) {
		err := h.say(s.addr)
		if err == nil {
			return nil
		}
		if why := s.ended(); why != nil {
			return endedEarly(why)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: the server does not answer: %w", s.addr, err)
		}
	}
}

// say has a server answer once.
func (h hello) say(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(c, h.ask); err != nil {
		return err
	}
	got := make([]byte, len(h.answer))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != h.answer {
		return fmt.Errorf("it answers %q", got)
	}
	return nil
}

// freePort is a port of the loopback that nobody has.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// nativeServer starts a server as a Linux process.
func nativeServer(argv func(port string) ([]string, error)) func(context.Context) (*server, error) {
	return func(context.Context) (*server, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		args, err := argv(port)
		if err != nil {
			return nil, err
		}
		var said bytes.Buffer // read when it has ended alone
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		var failed error
		over := make(chan struct{})
		go func() {
			failed = cmd.Wait()
			close(over)
		}()
		return &server{
			addr:   net.JoinHostPort("127.0.0.1", port),
			weight: func() (float64, float64, error) { return inMemory(cmd.Process.Pid) },
			ended: func() error {
				select {
				case <-over:
					return fmt.Errorf("%v: %s", failed, lastLine(said.String()))
				default:
					return nil
				}
			},
			end: func() {
				cmd.Process.Kill()
				<-over
			},
		}, nil
	}
}

// lastLine is what somebody has said last.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// inMemory is what a process has in memory, and what of that is its own, bytes.
func inMemory(pid int) (all, own float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kib float64
		name, rest, _ := strings.Cut(line, ":")
		if n, _ := fmt.Sscanf(rest, "%f kB", &kib); n != 1 {
			continue
		}
		switch name {
		case "Rss":
			all = kib * 1024
		case "Private_Clean", "Private_Dirty":
			own += kib * 1024
		}
	}
	return all, own, nil
}

// pvmServer starts a server as a pVM that listens on a port of its own. The client is on the host: it comes by a published port, or, if routed is not nil, by what that does
// to reach the pVM itself.
func pvmServer(e *engine.Engine, r engine.RunRequest, port string, routed func(ctx context.Context, pid int, ip string) error) func(context.Context) (*server, error) {
	return func(ctx context.Context) (*server, error) {
		r := r
		if routed != nil {
			r.Net = "user"
			return runServer(ctx, e, r, func(d *engine.Detail) (string, error) {
				return net.JoinHostPort(d.IP, port), routed(ctx, d.PID, d.IP)
			})
		}
		free, err := freePort()
		if err != nil {
			return nil, err
		}
		addr := net.JoinHostPort("127.0.0.1", free)
		r.Publish = []string{addr + ":" + port}
		return runServer(ctx, e, r, func(*engine.Detail) (string, error) { return addr, nil })
	}
}

func runServer(ctx context.Context, e *engine.Engine, r engine.RunRequest, address func(*engine.Detail) (string, error)) (*server, error) {
	p, err := e.Run(ctx, r)
	if err != nil {
		return nil, err
	}
	d, err := e.Inspect(ctx, p.PID)
	if err != nil {
		return nil, err
	}
	s := &server{
		weight: func() (float64, float64, error) {
			d, err := e.Inspect(ctx, p.PID)
			if err != nil {
				return 0, 0, err
			}
			return float64(d.Memory), float64(d.Private()), nil
		},
		ended: func() error {
			d, err := e.Inspect(ctx, p.PID)
			if err != nil || d.Exit == nil {
				return err
			}
			return fmt.Errorf("exit status %d %s: %s", d.Exit.Code, d.Exit.Reason, lastLine(logged(ctx, e, p.PID)))
		},
	}
	if s.addr, err = address(d); err == nil {
		return s, nil
	}
	// A server that has ended, of which that is to be said, has no device any more.
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if why := s.ended(); why != nil {
			return s, endedEarly(why)
		}
	}
	return s, err
}

func endedEarly(why error) error { return fmt.Errorf("the server ended before it answered: %w", why) }

// logged is what a pVM has printed.
func logged(ctx context.Context, e *engine.Engine, pid int) string {
	l, err := e.Logs(ctx, pid, engine.LogOptions{Lines: -1})
	if err != nil {
		return ""
	}
	defer l.Close()
	var b strings.Builder
	for {
		c, err := l.Recv()
		if err != nil {
			return b.String()
		}
		b.Write(c.Data)
	}
}

// byHand is how dom0 reaches a pVM without anything in between, on Xen: an address on its end of the pVM's device, which goes with that.
func byHand(ctx context.Context, pid int, ip string) error {
	program, err := tool("ip", "iproute2")
	if err != nil {
		return err
	}
	dev := fmt.Sprintf("vif%d.0", pid)
	for _, args := range [][]string{
		{"addr", "replace", dom0Address + "/32", "dev", dev},
		{"route", "replace", ip + "/32", "dev", dev, "src", dom0Address},
	} {
		if out, err := waited(ctx, append([]string{program}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %v: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// dom0Address is free in the network of pVMs: no PID is as high.
const dom0Address = "10.88.255.253"

// tool finds a program of a Debian package.
func tool(name, pkg string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s: not found: install it: apt-get install %s", name, pkg)
	}
	return path, nil
}

// output runs a client to its end.
func output(ctx context.Context, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, loadTime, fmt.Errorf("not over after %v", loadTime))
	defer cancel()
	var errs bytes.Buffer
	cmd := waited(ctx, argv...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, lastLine(errs.String()+string(out)))
	}
	return string(out), nil
}

// together has the first n servers of a kind asked at once; the first error of one.
func (k *contender) together(n int, ask func(addr string) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i, s := range k.servers[:n] {
		all.Go(func() { errs[i] = ask(s.addr) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			return k.failed(k.servers[i], err)
		}
	}
	return nil
}

// failed says why a client of a server has failed: the server's own end, if it has.
func (k *contender) failed(s *server, err error) error {
	if why := s.ended(); why != nil {
		err = fmt.Errorf("the server ended: %w", why)
	}
	return fmt.Errorf("%s: %w", k.name, err)
}

// weightBars are what weights has told.
func weightBars(list []Value, kinds []*contender) bars {
	p := bars{title: "Memory of a server", show: func(v float64) string { return fmt.Sprintf("%g MiB", v) }}
	for i, v := range list {
		p.rows = append(p.rows, bar{name: v.Name, figure: fmt.Sprintf("%.1f MiB", v.Value), peer: kinds[i/2].peer, value: v.Value})
	}
	return p
}

// weights are what a server of each kind has in memory after all that.
func weights(what string, kinds []*contender) (list []Value, err error) {
	for _, k := range kinds {
		all, own, err := k.servers[0].weight()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		list = append(list, Value{Name: what + ", memory: " + k.name, Value: all / (1 << 20), Unit: "MiB"},
			Value{Name: what + ", memory of its own: " + k.name, Value: own / (1 << 20), Unit: "MiB"})
	}
	return list, nil
}
