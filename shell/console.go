package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"kxsh/engine"
)

// detachKey is Ctrl-], telnet's.
const detachKey = 0x1d

const saidMax = 4 << 10

// errDetached ends a session whose pVM goes on.
var errDetached = errors.New("detached")

var consoleCommand = Command{
	Name:     "console",
	Synopsis: "[-r] PID",
	Short:    "attach to a pVM's console; Ctrl-] detaches",
	Long: "What is typed goes to the pVM, Ctrl-C included, if it was started with a standard input. What it wrote before is in logs.\n" +
		"In a pipeline of the shell, console 3 | console 9 gives 9 what 3 writes; if both are of one family, through a pipe between the two,\n" +
		"for as long as the pipeline runs.",
	Examples: []string{"console web", "console -r 7", "console 3 | console 9"},
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("read-only", "r", false, "watch only")
	},
	Args: PVM,
	Run:  console,
}

func console(c *Call) error {
	if err := c.want(1, 1); err != nil {
		return err
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	left, right := c.jointTo(c.Stdin, sideLeft), c.jointTo(c.Stdout, sideRight)
	defer left.leave(c)
	defer right.leave(c)
	pid, err := c.one(api, c.Args[0], false)
	if err != nil {
		return err
	}
	d, err := api.Inspect(c, pid)
	if err != nil {
		return aboutPVM(c.Args[0], err)
	}
	in, out := terminalOf(c.Stdin), terminalOf(c.Stdout)
	s := &session{
		call: c, api: api, pid: pid, tty: d.TTY && in != nil && out != nil, stdin: !c.flagBool("read-only"), family: d.Family, image: filepath.Base(d.Image),
		joined: left != nil || right != nil,
	}
	right.write(c, pid)
	o := engine.AttachOptions{Stdin: s.stdin, From: left.writer(c)}
	if out != nil {
		o.Cols, o.Rows, _ = term.GetSize(int(out.Fd()))
	}
	con, err := api.Attach(context.Background(), pid, o)
	if codeOf(err) == engine.CodeInvalid && s.stdin { // it has no standard input: watch
		s.stdin, o.Stdin = false, false
		con, err = api.Attach(context.Background(), pid, o)
	}
	if err != nil {
		return aboutPVM(c.Args[0], err)
	}
	left.settle()
	s.con = con
	if in != nil && out != nil {
		s.raw = true
		s.greeting = fmt.Sprintf("[attached to %d; Ctrl-] detaches]", pid)
	} else {
		s.watch = true
	}
	if s.raw && s.tty && s.stdin {
		s.asked = make(chan struct{}, 1)
		c.stopsItself.Store(true)
	}
	if err := c.stay(s); errors.Is(err, errStopped) {
		s.greeting = "" // fg says what it is
		return c.suspend(s)
	} else if err != nil && !errors.Is(err, errDetached) {
		return fmt.Errorf("(%d): console lost: %w", pid, err)
	} else if err == nil {
		if s.raw && s.midLine {
			fmt.Fprintln(c.Stderr)
		}
		fmt.Fprintf(c.Stderr, "[%d has ended]\n", pid)
	}
	return nil
}

// session is a console attached to this command's streams.
type session struct {
	call  *Call
	api   engine.API
	con   engine.Console
	pid   int
	tty   bool // the pVM's console is a terminal: raw mode here
	stdin bool // pass standard input on
	raw   bool // raw mode even if the pVM's console is no terminal
	watch bool // a signal ends this command, not the pVM
	// joined: a neighbour in the pipeline is such a session, too, which the same signal ends.
	joined bool
	// greeting is said when what is typed goes to the pVM: the terminal would echo it as well before.
	greeting string

	family   int           // number of the pVM's
	image    string        // its name
	job      *job          // what Ctrl-Z made of it
	asked    chan struct{} // something asked the pVM to stop; nil: nobody makes a job of it
	inRaw    atomic.Bool
	received atomic.Int64  // time of the last output, ns since the epoch
	over     chan struct{} // closed when err is known: there is no more output; nil: nobody has begun to receive
	err      error

	started chan struct{} // closed when pid is known, or there will be none (0); nil: it is
	interrupts
	midLine bool   // the last output did not end its line
	said    []byte // the last that LibOS and engine had to say, at most saidMax bytes
	ending  sync.WaitGroup
}

// talk copies both ways until the pVM has ended (nil), the user detaches (errDetached), or Ctrl-Z stops what run started (errStopped). Then
// what it writes still comes, and talk may be called again.
func (s *session) talk() error {
	c := s.call
	ctx, stop := context.WithCancel(c)
	defer s.ending.Wait()
	defer stop()
	away := make(chan error, 1)
	in, out := terminalOf(c.Stdin), terminalOf(c.Stdout)
	raw := (s.tty || s.raw) && in != nil && out != nil && c.job.id == 0
	if raw {
		if err := c.shell.makeRaw(in); err != nil {
			return fmt.Errorf("terminal: %w", err)
		}
		defer c.shell.restoreTerminal()
		s.inRaw.Store(true)
		defer s.inRaw.Store(false)
		s.ending.Go(func() { s.followSize(ctx, out) })
		if s.tty && s.asked != nil {
			s.ending.Go(func() { s.watchStop(ctx, away) })
		}
	}
	if end := "\n"; s.greeting != "" {
		if raw && terminalOf(c.Stderr) != nil {
			end = "\r\n"
		}
		fmt.Fprint(c.Stderr, s.greeting, end)
	}
	if s.watch {
		context.AfterFunc(c, func() { s.con.Close() })
	} else {
		c.takeSignals(s.forward)
	}
	if s.stdin || raw {
		s.ending.Go(func() { s.pump(ctx, away, raw) })
	}
	if s.over == nil {
		s.over = make(chan struct{})
		go func() {
			s.err = s.receive(c.Stdout, c.Stderr)
			s.con.Close()
			close(s.over)
		}()
	}
	select {
	case <-s.over:
		if c.Err() != nil {
			return c.Err()
		}
		return s.err
	case err := <-away:
		if raw {
			c.shell.restoreTerminal()
		}
		if errors.Is(err, errDetached) {
			s.con.Close()
			<-s.over
			fmt.Fprintf(c.Stderr, "\n[detached from %d]\n", s.pid)
		}
		return err
	}
}

// forward passes a signal that kxsh got to the pVM; what a terminal's keys send is for all that run in the
// foreground, the children of the pVM included. One that comes after the pVM has ended is not taken.
func (s *session) forward(sig syscall.Signal) (took bool) {
	return s.passOn(sig, func() bool {
		if s.started != nil {
			<-s.started
		}
		send := s.api.Signal
		switch sig {
		case syscall.SIGTSTP:
			defer s.mayStop()
			fallthrough
		case syscall.SIGINT, syscall.SIGQUIT, syscall.SIGCONT:
			if s.started != nil {
				send = s.api.SignalFamily // a root's PID is its family's number
			}
		}
		return s.pid != 0 && send(context.Background(), s.pid, int(sig)) == nil
	})
}

// followSize tells the pVM when the terminal changes its size.
func (s *session) followSize(ctx context.Context, out *os.File) {
	changed, done := s.call.shell.resized()
	defer done()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			if cols, rows, err := term.GetSize(int(out.Fd())); err == nil {
				s.con.Resize(rows, cols)
			}
		}
	}
}

// pump copies standard input to the pVM. On a terminal in raw mode Ctrl-] detaches.
func (s *session) pump(ctx context.Context, away chan<- error, raw bool) {
	in := s.call.Stdin
	if f, ok := in.(*os.File); ok && f != nil {
		in = &reader{f: f, wait: func(f *os.File) error {
			if err := readable(ctx, f); err != nil {
				return err
			}
			s.call.shell.takeTerminal(f)
			return nil
		}}
	}
	if in == nil {
		s.con.CloseSend()
		return
	}
	if raw {
		in = s.call.shell.ahead.before(in)
	}
	buf := make([]byte, 16<<10)
	for {
		n, err := in.Read(buf)
		data := buf[:n]
		detach := false
		if raw {
			if i := bytes.IndexByte(data, detachKey); i >= 0 {
				s.call.shell.ahead.giveBack(data[i+1:])
				data, detach = data[:i], true
			}
		}
		if len(data) > 0 && s.stdin {
			s.passInput(data, raw)
			if s.con.Send(data) != nil {
				return
			}
			if raw && bytes.IndexByte(data, stopKey) >= 0 {
				s.mayStop()
			}
		}
		if detach {
			leaveTalk(away, errDetached)
			return
		}
		if err != nil {
			if err == io.EOF && s.stdin && !raw && !(s.joined && s.call.endsSoon()) {
				s.con.CloseSend()
			}
			return
		}
	}
}

// leaveTalk ends talk, unless something else has.
func leaveTalk(away chan<- error, why error) {
	select {
	case away <- why:
	default:
	}
}

// receive copies the console's output until the pVM has ended. When nobody reads standard output
// any more the pVM gets SIGPIPE, as a process that writes would, and the rest goes nowhere.
func (s *session) receive(stdout, stderr io.Writer) error {
	broken := false
	for {
		chunk, err := s.con.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if chunk.Stream == engine.Kernel {
			s.said = append(s.said, chunk.Data...)
			s.said = s.said[max(0, len(s.said)-saidMax):]
		}
		if n := len(chunk.Data); n > 0 {
			s.midLine = chunk.Data[n-1] != '\n'
		}
		if broken && chunk.Stream == engine.Stdout {
			continue
		}
		if err := writeChunk(stdout, stderr, chunk, s.inRaw.Load()); err != nil && chunk.Stream == engine.Stdout {
			broken = true
			if !(s.joined && s.call.endsSoon()) {
				s.forward(syscall.SIGPIPE)
			}
		}
		s.received.Store(chunk.Time.UnixNano())
	}
}

// writeChunk writes a chunk where its stream belongs. The kernel stream's newlines need a carriage
// return in raw mode; those of the program have passed the pVM's own line discipline.
func writeChunk(stdout, stderr io.Writer, chunk engine.Chunk, raw bool) error {
	w, data := stdout, chunk.Data
	if chunk.Stream != engine.Stdout {
		w = stderr
	}
	if raw && chunk.Stream == engine.Kernel {
		data = bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
	}
	_, err := w.Write(data)
	return err
}

var logsCommand = Command{
	Name:     "logs",
	Synopsis: "[-f] [-n N] [--since T] PID",
	Short:    "read the kept console of a pVM, also after its death",
	Long:     "Standard output and standard error go where they belong; the LibOS's and the engine's words go to standard error.\nT is a span such as 10m or 1h30m, or a time such as 15:04, 2006-01-02 or 2006-01-02T15:04:05Z.",
	Examples: []string{"logs web", "logs -f -n 5 --since 10m 7"},
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("follow", "f", false, "go on until the pVM ends")
		f.IntP("lines", "n", -1, "the last `N` lines only")
		f.String("since", "", "what was written since `T`")
		f.BoolP("timestamps", "t", false, "put the time before each line")
	},
	Args:  PVM,
	Pages: true,
	Run:   logs,
}

func logs(c *Call) error {
	if err := c.want(1, 1); err != nil {
		return err
	}
	o := engine.LogOptions{Follow: c.flagBool("follow"), Lines: c.flagInt("lines")}
	var err error
	if o.Since, err = parseSince(c.flagString("since"), time.Now()); err != nil {
		return usagef("--since %v", err)
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	pid, err := c.one(api, c.Args[0], true)
	if err != nil {
		return err
	}
	r, err := api.Logs(c, pid, o)
	if err != nil {
		return aboutPVM(c.Args[0], err)
	}
	defer r.Close()
	defer context.AfterFunc(c, func() { r.Close() })()
	if lost := r.Lost(); lost > 0 {
		c.warnf("(%d): the first %s were rotated away", pid, humanBytes(uint64(lost)))
	}
	stamp := stamper{on: c.flagBool("timestamps"), fresh: map[int]bool{engine.Stdout: true, engine.Stderr: true, engine.Kernel: true}}
	for {
		chunk, err := r.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return aboutPVM(strconv.Itoa(pid), err)
		}
		chunk.Data = stamp.stamp(chunk)
		if err := writeChunk(c.Stdout, c.Stderr, chunk, false); err != nil {
			return err
		}
	}
}

// stamper puts a time before each line of each stream.
type stamper struct {
	on    bool
	fresh map[int]bool // the stream is at the beginning of a line
}

func (s *stamper) stamp(c engine.Chunk) []byte {
	if !s.on {
		return c.Data
	}
	var out []byte
	for _, b := range c.Data {
		if s.fresh[c.Stream] {
			out = append(out, c.Time.Local().Format("2006-01-02T15:04:05.000 ")...)
		}
		out = append(out, b)
		s.fresh[c.Stream] = b == '\n'
	}
	return out
}

// parseSince reads a span before now or a moment.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			y, m, d := now.Date()
			return t.AddDate(y, int(m)-1, d-1), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s: neither a span such as 10m nor a time such as 15:04", s)
}
