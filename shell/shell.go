package shell

import (
	"context"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"kxsh/engine"
)

// Config is what a Shell needs from outside.
type Config struct {
	// Engine returns the engine, starting one if there is none.
	Engine func() (engine.API, error)
	// Peek returns the engine only if one is running; prompt and completion use it. May be nil.
	Peek func() (engine.API, error)
	// CC is the C compiler driver, guest.CC.
	CC func(ctx context.Context, args, env []string, dir string, stdin io.Reader, stdout, stderr io.Writer) int
	// Self is the command line that runs a command of Own; nil: they run here.
	Self []string
	// Version is what kxsh version prints.
	Version string
	// StateDir holds the history and the roots made by run --root DIR.
	StateDir string
	// Libraries are the shared libraries that are part of kxsh, in one folder, by name. May be nil.
	Libraries fs.FS
	// TrustDir is the trust store, a folder of public keys; SignKey the private key that sign takes by default.
	TrustDir, SignKey string
	// RC is the start file of an interactive shell; empty: kxsh/kxshrc in the user's configuration.
	RC string
	// Color is auto, always or never.
	Color string
	// Settings are what config show lists.
	Settings []Setting
	// Extra are commands that other packages bring.
	Extra []Command
	// Stdin, Stdout and Stderr are the process's own if nil.
	Stdin, Stdout, Stderr *os.File
}

// Shell runs commands and scripts. One Shell is one session: its jobs, traps and variables.
type Shell struct {
	cfg   Config
	table map[string]*Command
	order []*Command

	mu       sync.Mutex // guards what follows
	api      engine.API
	peeked   engine.API
	jobs     map[int]*job
	nextJob  int
	nextStop int
	started  []int           // pVMs this session started, not yet waited for
	funcs    map[string]bool // names of functions declared so far
	resizes  map[chan struct{}]bool
	joints   map[pipeID]*joint

	starting sync.RWMutex // read: a program of the host is being started that a signal to its job is to reach; written: the shell leaves

	main        *job // the shell itself
	interactive bool
	single      bool        // one command, without a shell around it
	control     *jobControl // nil: there is none
	under       *execution  // of a script without #!: what runs it
	argv0       string
	traced      bool              // set -x was seen: loops get no checks, which it would show
	trapsUsed   bool              // a trap command was seen: statements get checkpoints
	sources     map[string]string // texts for openHandler, by made-up path
	nextSource  int
	signals     chan os.Signal
	reading     atomic.Bool // the shell waits for its next line
	asksToLeave atomic.Bool // exit or exec was called
	cooked      terminalState
	ahead       typeahead
	words       words  // that the line being typed may begin with
	atExit      func() // puts the terminal back when a signal ends an interactive shell; nil: nothing to do
}

// New makes a Shell.
func New(cfg Config) *Shell {
	if cfg.Stdin == nil {
		cfg.Stdin = os.Stdin
	}
	if cfg.Stdout == nil {
		cfg.Stdout = os.Stdout
	}
	if cfg.Stderr == nil {
		cfg.Stderr = os.Stderr
	}
	s := &Shell{
		cfg:     cfg,
		table:   map[string]*Command{},
		jobs:    map[int]*job{},
		funcs:   map[string]bool{},
		resizes: map[chan struct{}]bool{},
		joints:  map[pipeID]*joint{},
		sources: map[string]string{},
		argv0:   "kxsh",
	}
	s.main = newJob(0, 0, "kxsh", false)
	s.jobs[0] = s.main
	builtin := commands()
	for i := range builtin {
		s.register(&builtin[i])
	}
	for i := range cfg.Extra {
		s.register(&cfg.Extra[i])
	}
	return s
}

func (s *Shell) register(c *Command) {
	if s.table[c.Name] == nil {
		s.order = append(s.order, c)
	}
	s.table[c.Name] = c
}

// Commands returns the table, in the order of help.
func (s *Shell) Commands() []*Command { return s.order }

// Has reports whether kxsh has a command of that name.
func (s *Shell) Has(name string) bool { return s.table[name] != nil }

// engine returns the engine, connecting on first use.
func (s *Shell) engine() (engine.API, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.api != nil {
		return s.api, nil
	}
	api, err := s.cfg.Engine()
	if err != nil {
		return nil, err
	}
	s.api = api
	return api, nil
}

// peek returns the engine if one is connected or running, else nil. It never starts one.
func (s *Shell) peek() engine.API {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.api != nil {
		return s.api
	}
	if s.peeked == nil && s.cfg.Peek != nil {
		if api, err := s.cfg.Peek(); err == nil {
			s.peeked = api
		}
	}
	return s.peeked
}

// Close lets go of the engine. pVMs go on.
func (s *Shell) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.api != nil {
		s.api.Close()
	}
	if s.peeked != nil && s.peeked != s.api {
		s.peeked.Close()
	}
	s.api, s.peeked = nil, nil
}

// Command runs one command without a shell around it: kxsh ps --json. args[0] is its name.
func (s *Shell) Command(args []string) int {
	s.single = true
	s.catchSignals() // for good: the process ends with the command, and to let go of each signal takes two switches of threads
	defer s.restoreTerminal()
	cmd := s.table[args[0]]
	if cmd == nil {
		s.errorf("%s: no such command%s", args[0], s.didYouMean(args[0]))
		return 127
	}
	c := &Call{
		Context: context.Background(),
		Name:    args[0],
		Stdin:   s.cfg.Stdin,
		Stdout:  s.cfg.Stdout,
		Stderr:  s.cfg.Stderr,
		Environ: os.Environ(),
		shell:   s,
		job:     s.main,
	}
	c.Dir, _ = os.Getwd()
	return s.runCommand(c, cmd, args[1:])
}

// dropPeeked lets go of an engine that peek found and that does not answer any more.
func (s *Shell) dropPeeked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peeked != nil {
		s.peeked.Close()
		s.peeked = nil
	}
}
