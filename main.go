// Command kxsh is a shell on a hypervisor whose processes are pVMs. This file is wiring only: which
// hypervisor, which front end, by the flags and the configuration that config.go reads.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"kxsh/completions"
	"kxsh/engine"
	"kxsh/engine/bench"
	"kxsh/engine/netswitch"
	"kxsh/guest"
	"kxsh/shell"
	"kxsh/tui"
	"kxsh/xen"
	"kxsh/xen/hosted"
	"kxsh/xen/privcmd"
)

// version is set by the Makefile.
var version = "unknown"

const usage = `usage: kxsh [FLAGS]                      an interactive session
       kxsh [FLAGS] -c 'SCRIPT' [ARG0 ARG…]  run a script, exit with its status
       kxsh [FLAGS] FILE [ARG…]          run a script from a file
       kxsh [FLAGS] COMMAND [ARG…]       one command: kxsh help lists them

`

func main() {
	// The network's process, which an engine starts; it reads no configuration, and is not for people.
	if len(os.Args) > 1 && os.Args[1] == netswitch.Command {
		os.Exit(netswitch.Main(os.Args[2:]))
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	flags := globalFlags()
	flags.Usage = func() { fmt.Fprint(os.Stdout, usage, flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return 0
		}
		fmt.Fprintf(os.Stderr, "kxsh: %v; see: kxsh --help\n", shell.FlagError(flags, err))
		return 2
	}
	if show, _ := flags.GetBool("version"); show {
		fmt.Println("kxsh", version)
		return 0
	}
	set, err := configure(flags)
	if err != nil {
		fmt.Fprintf(os.Stderr, "kxsh: %v\n", err)
		return 2
	}
	rest := flags.Args()
	if len(rest) > 0 && rest[0] == engineCommand.Name && !flags.Changed("command") {
		return serve(set, rest[1:])
	}
	script, _ := flags.GetString("command")
	return front(set, flags.Changed("command"), script, rest)
}

// opener opens the hypervisor of that name for an engine whose state folder is key. auto is Xen in its
// control domain, else hosted.
func opener(name string) func(key string, first xen.DomID) (xen.Hypervisor, error) {
	if name == "xen" || name == "auto" && privcmd.Available() {
		// Xen numbers domains itself, and starts again only when it has come to the last number.
		return func(key string, _ xen.DomID) (xen.Hypervisor, error) {
			return privcmd.New(privcmd.Options{Key: key})
		}
	}
	return func(key string, first xen.DomID) (xen.Hypervisor, error) {
		return hosted.New(hosted.Options{Key: key, FirstID: first})
	}
}

// engineCommand is `kxsh engine`: in the foreground for a service manager, or as one of our own
// commands started it in the background, with --background. It is not in the shell's table, whose
// commands are clients of an engine.
var engineCommand = shell.Command{
	Name: "engine", Synopsis: "[--background]", Short: "be the engine, for a service manager",
	Flags: func(f *pflag.FlagSet) {
		f.Bool("background", false, "leave when the last pVM and the last client have gone")
	},
}

func serve(s *settings, args []string) int {
	flags := pflag.NewFlagSet(engineCommand.Name, pflag.ContinueOnError)
	engineCommand.Flags(flags)
	flags.Usage = func() {
		fmt.Printf("%s\n\nusage: engine %s\n\nflags:\n%s", engineCommand.Short, engineCommand.Synopsis, flags.FlagUsages())
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return 0
		}
		fmt.Fprintf(os.Stderr, "engine: %v; see: kxsh engine --help\n", shell.FlagError(flags, err))
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "usage: engine %s\n", engineCommand.Synopsis)
		return 2
	}
	background, _ := flags.GetBool("background")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintf(os.Stderr, "engine: %v\n", err)
		return 1
	}
	err = engine.Daemon(ctx, engine.Options{
		Open:    func(first xen.DomID) (xen.Hypervisor, error) { return opener(s.hypervisor)(s.state, first) },
		State:   s.state,
		Socket:  s.socket,
		Version: version,
		Log:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: s.level})),

		FamilyLimit: s.familyLimit,
		Metrics:     s.metrics,
		Self:        []string{self},
		Libraries:   guest.Libraries(),
	}, background)
	if err != nil {
		fmt.Fprintf(os.Stderr, "engine: %v\n", err)
		return 1
	}
	return 0
}

// front is everything a person or a script types.
func front(s *settings, hasScript bool, script string, rest []string) int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintf(os.Stderr, "kxsh: %v\n", err)
		return 1
	}
	ctx := context.Background()
	dial := func(start func(context.Context) error) (engine.API, error) {
		if s.noStart {
			start = nil
		}
		c, err := engine.Connect(ctx, s.socket, start)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	sh := shell.New(shell.Config{
		Engine: func() (engine.API, error) {
			return dial(func(ctx context.Context) error {
				return engine.StartBackground(ctx, s.socket, s.state, []string{
					self, "--hypervisor", s.hypervisor, "--socket", s.socket, "--state", s.state,
					"--log-level", s.level.String(), "--family-limit", strconv.Itoa(s.familyLimit), "--metrics", s.metrics, "engine", "--background",
				})
			})
		},
		Peek:      func() (engine.API, error) { return dial(nil) },
		CC:        guest.CC,
		Self:      []string{self, "--hypervisor", s.hypervisor, "--color", s.color},
		Version:   version,
		StateDir:  s.state,
		Libraries: guest.Libraries(),
		TrustDir:  s.trust,
		SignKey:   filepath.Join(configDir(), "sign.key"),
		RC:        filepath.Join(configDir(), "kxshrc"),
		Color:     s.color,
		Settings:  s.list,
		Extra:     []shell.Command{topCommand(s.theme, filepath.Join(s.state, "top.json")), benchCommand(self, s.hypervisor), completionCommand()},
	})
	defer sh.Close()
	if len(rest) > 0 && !hasScript && sh.Has(rest[0]) {
		// One command is over before collecting garbage would pay.
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(64 << 20)
		return sh.Command(rest)
	}
	debug.SetGCPercent(400) // little lives on in a session: memory is dearer to search than to have
	switch {
	case hasScript && len(rest) > 0:
		return sh.Script(script, rest[0], rest[1:])
	case hasScript:
		return sh.Script(script, "kxsh", nil)
	case len(rest) > 0:
		return sh.File(rest[0], rest[1:])
	case term.IsTerminal(int(os.Stdin.Fd())):
		return sh.Interactive()
	}
	return sh.Stdin()
}

// Bounds of the seconds between frames of top.
const (
	minDelay = 0.01
	maxDelay = 1_000_000
)

// topCommand and benchCommand bring in what the shell does not know of. theme is that of the configuration,
// layout the file that remembers the last screen.
func topCommand(theme, layout string) shell.Command {
	return shell.Command{
		Name: "top", Synopsis: "[--read-only] [--theme NAME] [--ascii] [-b] [--json] [-n N] [-d SECS]", Short: "watch pVMs live",
		Long: "On a terminal a live table, or a tree of families (t), with a filter (f), a search (/), marks (space) and a menu of signals (x); ? lists all keys.\n" +
			"Without colours, or with NO_COLOR, the theme is monochrome; where the locale is not one of UTF-8, as with --ascii.\n" +
			"A filter is words and comparisons, as cpu>40 & (lib=libm | name~web.*): help in top tells more.\n" +
			"With -b, into a pipe or with TERM=dumb plain frames; with --json each frame is a line, an object whose processes are as in ps --json.\n" +
			"%CPU is that of the time since the frame before, in the first frame that of each pVM's life.",
		Examples: []string{"top", "top --read-only --theme high-contrast", "top -b -n 1 | head", "top --json -n 2 -d 0.5 | jq '.processes[0].name'"},
		FlagArgs: map[string]shell.Kind{"theme": shell.Choice}, Choices: tui.Themes(),
		Flags: func(f *pflag.FlagSet) {
			f.Bool("read-only", false, "send no signals")
			f.String("theme", "", "`name` of the theme: "+strings.Join(tui.Themes(), ", "))
			f.Bool("ascii", false, "draw with ASCII characters alone")
			f.BoolP("batch", "b", false, "print plain frames")
			f.Bool("json", false, "print frames as JSON, one a line")
			f.IntP("number", "n", 0, "leave after so many frames")
			f.Float64P("delay", "d", 2, "seconds between frames")
		},
		Run: func(c *shell.Call) error {
			frames, _ := c.Flags.GetInt("number")
			seconds, _ := c.Flags.GetFloat64("delay")
			switch {
			case frames < 0:
				return shell.UsageError(fmt.Sprintf("-n %d: must not be negative", frames))
			case !(seconds >= minDelay && seconds <= maxDelay): // nor NaN
				return shell.UsageError(fmt.Sprintf("-d %v: must be from %v to %v", seconds, minDelay, maxDelay))
			}
			o := tui.Options{In: c.Stdin, Out: c.Stdout, Color: c.Color(), Frames: frames, Interval: time.Duration(seconds * float64(time.Second)), Theme: theme}
			if name, _ := c.Flags.GetString("theme"); name != "" {
				if err := tui.CheckTheme(name); err != nil {
					return shell.UsageError("--theme " + err.Error())
				}
				o.Theme = name
			}
			api, err := c.Engine()
			if err != nil {
				return err
			}
			o.Layout = layout
			o.ReadOnly, _ = c.Flags.GetBool("read-only")
			o.ASCII, _ = c.Flags.GetBool("ascii")
			o.Batch, _ = c.Flags.GetBool("batch")
			o.JSON, _ = c.Flags.GetBool("json")
			if o.JSON || shell.Terminal(c.Stdout) == nil || shell.Terminal(c.Stdin) == nil || os.Getenv("TERM") == "dumb" {
				o.Batch = true
			}
			if !o.Batch && !shell.UTF8(os.LookupEnv) {
				o.ASCII = true
			}
			if !o.Batch {
				o.Out = shell.Terminal(c.Stdout)
				c.StopsBySignal()
			}
			return tui.Top(c, api, o)
		},
	}
}

func benchCommand(self, hypervisor string) shell.Command {
	return shell.Command{
		Name: "bench", Synopsis: "[--json] [--quick] [--csv FILE] [--html FILE] [--programs DIR] NAME… | --list | --prepare DIR", Short: "measure, beside what the machine has",
		Long: "Medians with the 10th, 90th and 99th percentile, interleaved with the peer; a ratio is to the peer's median. Several are run in the order below; what one\n" +
			"cannot do is said, the others go on, and the status is 1. A peer that is missing is said, too, and left out.\n\n" + benchList() + "\n" +
			"redis and web ask servers in pVMs, and the same ones as processes, by redis-benchmark (apt-get install redis-tools) and wrk (apt-get install wrk); they\n" +
			"need the programs that make ports builds.",
		Examples: []string{"bench memory", "bench --quick --json update recycle | jq .series", "bench --quick --csv ipc.csv --html ipc.html ipc", "bench --quick --html report.html all", "bench --prepare programs"},
		Own:      true,
		Args:     shell.Choice, Choices: append(bench.Names(), bench.All), Several: true, About: bench.About(),
		FlagArgs: map[string]shell.Kind{"csv": shell.File, "html": shell.File, "prepare": shell.Dir, "programs": shell.Dir},
		Flags: func(f *pflag.FlagSet) {
			f.Bool("list", false, "only list the benchmarks, each with a line of what it measures")
			f.Bool("json", false, "print JSON, an object for each")
			f.Bool("quick", false, "a tenth of the rounds, and fewer numbers of servers")
			f.String("csv", "", "write every sample to this `file`")
			f.String("html", "", "write a report with plots to this `file`, which needs nothing beside itself")
			f.String("prepare", "", "only put the programs that are run into this `folder`")
			f.String("programs", "", "run those that --prepare put into this `folder`")
		},
		Run: func(c *shell.Call) error {
			if dir, _ := c.Flags.GetString("prepare"); dir != "" {
				return bench.Prepare(dir, self, guest.CC, c.Stderr)
			}
			if list, _ := c.Flags.GetBool("list"); list {
				_, err := io.WriteString(c.Stdout, benchList())
				return err
			}
			if len(c.Args) == 0 {
				return shell.UsageError("name some of " + strings.Join(bench.Names(), ", ") + ", or " + bench.All)
			}
			b := bench.Bench{Stdout: c.Stdout, Stderr: c.Stderr, Open: opener(hypervisor), CC: guest.CC, Libraries: guest.Libraries(), Self: self, Version: version}
			b.JSON, _ = c.Flags.GetBool("json")
			b.Quick, _ = c.Flags.GetBool("quick")
			b.Programs, _ = c.Flags.GetString("programs")
			for flag, to := range map[string]*string{"csv": &b.CSV, "html": &b.HTML} {
				if name, _ := c.Flags.GetString(flag); name != "" {
					*to = c.Path(name)
				}
			}
			return b.Run(c, c.Args...)
		},
	}
}

// benchList is a line for each benchmark.
func benchList() string {
	var b strings.Builder
	for _, name := range append(bench.Names(), bench.All) {
		fmt.Fprintf(&b, "%-10s %s\n", name, bench.About()[name])
	}
	return b.String()
}

// completionCommand prints the scripts of package completions, with the global flags that only this
// file knows.
func completionCommand() shell.Command {
	return shell.Command{
		Name: "completion", Synopsis: strings.Join(completions.Shells, "|"), Short: "print a script that completes kxsh in another shell",
		Examples: []string{"source <(kxsh completion bash)", "kxsh completion fish > ~/.config/fish/completions/kxsh.fish"},
		Args:     shell.Choice, Choices: completions.Shells,
		Run: func(c *shell.Call) error {
			if len(c.Args) != 1 || !slices.Contains(completions.Shells, c.Args[0]) {
				return shell.UsageError("name one of " + strings.Join(completions.Shells, ", "))
			}
			return completions.Write(c.Stdout, c.Args[0], &completions.Program{
				Flags:    globalFlags(),
				FlagArgs: map[string]shell.Kind{"socket": shell.File, "state": shell.Dir, "trust": shell.Dir, "config": shell.File},
				Choices:  choices,
				Table:    c.Shell(),
				Others:   []*shell.Command{&engineCommand},
			})
		},
	}
}
