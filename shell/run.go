package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"kxsh/elf"
	"kxsh/engine"
)

// Exit statuses of run, beside the program's own.
const (
	statusBadImage = 126
	statusNoImage  = 127
)

var runCommand = Command{
	Name:     "run",
	Synopsis: "[-d] [-i] [-t] [--name NAME] [-m SIZE] [-e K=V]… [-v HOSTDIR:PATH[:ro]]… [--restart POLICY] [--root TAR|DIR] [--net NET] [--publish PORTS]… [--ip ADDR] [--dns ADDR] [--recycle] [--lib-path DIR]… [--key FILE] [--require LIST] IMAGE [ARG…]",
	Short:    "start an image as the root of a new family",
	Long: `In the foreground the pVM's console is the terminal: Ctrl-C sends it SIGINT, Ctrl-Z stops it (fg, bg),
Ctrl-] detaches from it and leaves it running; what was typed and it never read is for the prompt. Elsewhere than on a terminal it reads standard input only with -i, and
SIGINT and SIGTERM to kxsh go to the pVM. With & or -d it runs in the background; & sets $! to its PID.

The program's environment is what this session exported itself (export K=V; K=V run …) and -e; nothing
of the host's. Flags after IMAGE are the program's. The exit status is the program's; 128+n when signal
n ended it; 126: not a pVM image, or refused; 127: no such file.

-v lets the pVM see a folder of the host at PATH, and with :ro not change it. Its files are the host's: they are read and written as the user whose engine it is,
nothing outside of the folder is reached, and symbolic links are followed in the pVM. The folder has to be there.

--net user gives it a network: its own address, DNS with the names of other pVMs, and what the host
reaches. --publish [ADDR:]HOST:PORT[/tcp|/udp] gives it a port of the host: the members of its family that listen on PORT take turns, and the
datagrams of a client, by its address, go to one of them.

--net bridge=NAME, on Xen, makes it a station of a bridge of dom0's, with an address from DHCP, or that of --ip ADDR/LEN[,GATEWAY]. Children ask DHCP.

--recycle gives IMAGE, an application, a domain that has booted already (pool): a shared library (kxsh cc -shared) that begins at app_entry(argc, argv, envp),
or at main if it has none. In the end its domain is made blank and used again.

--require holds the image, root archive included, against its signed record, at restarts too: version=N is exactly N, version=N+ that or later,
loader=L that or a stricter one, and no-rollback refuses what is older than the newest that ran so. Any of them, and --key, needs a signature.`,
	Examples: []string{"run hello.kx", "run -d --name web -m 64M web.kx 8080", "echo 'print(6*7)' | run -i lua.kx -", "run x.kx & kill $!; wait $!", "run --require version=3+,no-rollback web.kx", "run --recycle job.so 7", "run -v ./data:/data -v ./site:/srv:ro web.kx", "run -d --publish 8080:80 httpd.kx"},
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("detach", "d", false, "run in the background and print the PID")
		f.BoolP("interactive", "i", false, "give it standard input")
		f.BoolP("tty", "t", false, "its console is a terminal")
		f.String("name", "", "its name (default: the image's)")
		f.StringP("memory", "m", "", "its RAM, such as 64M (default: what the image asks for)")
		f.Int("vcpus", 1, "virtual CPUs; this version has pVMs of one only")
		f.StringArrayP("env", "e", nil, "an environment variable `K=V`, or K to pass this shell's")
		f.StringArrayP("volume", "v", nil, "a folder of the host, `HOSTDIR:PATH[:ro]`")
		f.String("restart", "no", "no, on-failure[:N], always or unless-stopped")
		f.String("root", "", "root file system: a tar archive or a folder")
		f.String("net", "", "its network, `NET`: none, user or bridge=NAME (default none)")
		f.String("ip", "", "its address at a bridge, `ADDR/LEN[,GATEWAY]` (default: what DHCP says)")
		f.String("dns", "", "its name server at a bridge, `ADDR` (default: what DHCP says)")
		f.StringArrayP("publish", "p", nil, "give it a port of the host: `PORTS`, [ADDR:]HOST:PORT[/udp]")
		f.Bool("recycle", false, "run an application, a shared library, in a domain that has booted already")
		libPathFlag(f)
		f.String("key", "", keyUsage)
		f.String("require", "", requireUsage)
	},
	FlagArgs: map[string]Kind{"root": File, "restart": Choice, "key": File, "lib-path": File, "volume": File, "net": Network},
	Choices:  []string{"no", "on-failure", "always", "unless-stopped"},
	Args:     Image,
	Leading:  true,
	Run:      run,
}

func run(c *Call) error {
	r, err := c.runRequest()
	if err != nil {
		return err
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	if c.flagBool("detach") {
		reply, err := api.Run(c, *r)
		if err != nil {
			return c.runFailed(err)
		}
		c.shell.note(reply.PID)
		fmt.Fprintln(c.Stdout, reply.PID)
		return nil
	}
	return c.foreground(api, r)
}

// runFailed words why nothing runs.
func (c *Call) runFailed(err error) error {
	if c.Err() != nil {
		return err
	}
	status := Status(1)
	switch codeOf(err) {
	case engine.CodeNoImage:
		status = statusNoImage
	case engine.CodeBadImage, engine.CodeRestricted:
		status = statusBadImage
	case engine.CodeUsage:
		status = 2
	}
	mend := ""
	if _, err := os.Stat(c.Path(c.Args[0]) + ".kx"); err == nil && status == statusNoImage {
		mend = fmt.Sprintf(": did you mean %s.kx?", c.Args[0])
	}
	c.warnf("%s%s", oneLine(err.Error()), mend)
	return status
}

// runRequest makes a request of flags and arguments.
func (c *Call) runRequest() (*engine.RunRequest, error) {
	if len(c.Args) == 0 {
		return nil, usagef("no image given")
	}
	if n := c.flagInt("vcpus"); n != 1 {
		return nil, usagef("--vcpus %d: a pVM has one vcpu in this version", n)
	}
	r := &engine.RunRequest{
		Image:   c.Path(c.Args[0]),
		Args:    c.Args,
		Name:    c.flagString("name"),
		TTY:     c.flagBool("tty"),
		Stdin:   c.flagBool("interactive"),
		Recycle: c.flagBool("recycle"),
		Net:     c.flagString("net"),
		IP:      c.flagString("ip"),
		DNS:     c.flagString("dns"),
	}
	var err error
	if m := c.flagString("memory"); m != "" {
		if r.Memory, err = parseSize(m); err != nil {
			return nil, usagef("-m %v", err)
		}
	}
	if r.Restart, err = parseRestart(c.flagString("restart")); err != nil {
		return nil, err
	}
	if root := c.flagString("root"); root != "" {
		if r.Root, err = c.shell.rootArchive(c.Path(root)); err != nil {
			return nil, fmt.Errorf("--root %s: %w", root, err)
		}
	}
	r.Publish, _ = c.Flags.GetStringArray("publish")
	r.LibPath = c.libPath()
	if r.Mounts, err = c.mounts(); err != nil {
		return nil, err
	}
	if err := c.require(r); err != nil {
		return nil, err
	}
	in, out := terminalOf(c.Stdin), terminalOf(c.Stdout)
	if !c.flagBool("detach") && in != nil && out != nil && c.job.id == 0 {
		r.TTY, r.Stdin = true, true
	}
	if r.TTY && out != nil {
		r.Cols, r.Rows, _ = term.GetSize(int(out.Fd()))
	}
	vars, _ := c.Flags.GetStringArray("env")
	if r.Env, err = c.environment(vars, r.TTY); err != nil {
		return nil, err
	}
	return r, nil
}

// mounts reads -v.
func (c *Call) mounts() (list []engine.Mount, err error) {
	volumes, _ := c.Flags.GetStringArray("volume")
	for _, v := range volumes {
		parts := strings.Split(v, ":")
		ro := len(parts) == 3 && parts[2] == "ro"
		if len(parts) == 3 && parts[2] != "ro" && parts[2] != "rw" || len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
			return nil, usagef("-v %s: not HOSTDIR:PATH or HOSTDIR:PATH:ro", v)
		}
		list = append(list, engine.Mount{Host: c.Path(parts[0]), Path: parts[1], ReadOnly: ro})
	}
	return list, nil
}

func libPathFlag(f *pflag.FlagSet) {
	f.StringArray("lib-path", nil, "a folder, `DIR`, in which to look for shared libraries before the image's own")
}

// libPath are the folders of --lib-path, and those of KXSH_LIBRARY_PATH, with colons between.
func (c *Call) libPath() (folders []string) {
	named, _ := c.Flags.GetStringArray("lib-path")
	list, _ := c.variable("KXSH_LIBRARY_PATH")
	named = append(named, filepath.SplitList(list)...)
	for _, dir := range named {
		if dir != "" {
			folders = append(folders, c.Path(dir))
		}
	}
	return folders
}

// require puts into a request what the image must meet, and the keys to check it with.
func (c *Call) require(r *engine.RunRequest) error {
	key := c.flagString("key")
	if r.Require = c.flagString("require"); r.Require == "" && key != "" {
		r.Require = "signed"
	}
	if r.Require == "" && !c.Flags.Changed("require") {
		return nil
	}
	if _, err := elf.ParseRequirement(r.Require); err != nil {
		return usagef("--require %v", err)
	}
	trust, err := c.trust(key)
	if err != nil {
		return err
	}
	if len(trust.keys) == 0 {
		return fmt.Errorf("--require: no key in the trust store %s: give one with --key, or put it there", c.shell.cfg.TrustDir)
	}
	for _, k := range trust.keys {
		r.Keys = append(r.Keys, k.DER())
	}
	return nil
}

// environment is what the program sees: the variables that this session exported itself, and -e. The
// host's own say nothing about a pVM, and may be secret.
func (c *Call) environment(extra []string, tty bool) ([]string, error) {
	host := map[string]bool{}
	for _, kv := range os.Environ() {
		host[kv] = true
	}
	var list []string
	set := func(kv string) {
		k, _, _ := strings.Cut(kv, "=")
		for i, old := range list {
			if strings.HasPrefix(old, k+"=") {
				list[i] = kv
				return
			}
		}
		list = append(list, kv)
	}
	here := map[string]string{}
	for _, kv := range c.Environ {
		k, v, _ := strings.Cut(kv, "=")
		here[k] = v
		if !host[kv] && !shellsOwn[k] {
			set(kv)
		}
	}
	if t, ok := here["TERM"]; ok && tty {
		set("TERM=" + t)
	}
	for _, kv := range extra {
		k, _, given := strings.Cut(kv, "=")
		if k == "" {
			return nil, usagef("-e %s: not K=V", kv)
		}
		if v, ok := here[k]; !given && ok {
			kv = k + "=" + v
		} else if !given {
			continue
		}
		set(kv)
	}
	return list, nil
}

// shellsOwn are variables that the shell itself changes as it goes, or that are for kxsh.
var shellsOwn = map[string]bool{"KXSH_LIBRARY_PATH": true, "PWD": true, "OLDPWD": true, "SHLVL": true, "_": true}

// parseRestart reads a policy: no, on-failure[:N], always, unless-stopped.
func parseRestart(s string) (engine.Restart, error) {
	policy, count, counted := strings.Cut(s, ":")
	r := engine.Restart{Policy: policy}
	switch policy {
	case "no", "always", "unless-stopped", "on-failure":
	default:
		return r, usagef("--restart %s: no, on-failure[:N], always or unless-stopped", s)
	}
	if counted {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 || policy != "on-failure" {
			return r, usagef("--restart %s: only on-failure takes a count, of 1 or more", s)
		}
		r.Max = n
	}
	return r, nil
}

// foreground runs the pVM with its console here. An interrupt that killed the pVM, or that it did not
// live to hear of, ends the line or the script too: so does a loop over short pVMs.
func (c *Call) foreground(api engine.API, r *engine.RunRequest) error {
	r.Hold = true
	s := &session{call: c, api: api, asked: make(chan struct{}, 1), tty: r.TTY, stdin: r.Stdin, started: make(chan struct{})}
	c.stopsItself.Store(r.TTY && terminalOf(c.Stdin) != nil && terminalOf(c.Stdout) != nil)
	c.takeSignals(s.forward)
	reply, err := api.Run(c, *r)
	if err != nil {
		close(s.started)
		return c.runFailed(err)
	}
	s.pid, s.family = reply.PID, reply.PID
	close(s.started)
	c.job.name(reply.PID)
	con, err := api.Attach(context.Background(), reply.PID, engine.AttachOptions{Stdin: r.Stdin, Rows: r.Rows, Cols: r.Cols, FromStart: true})
	if err != nil {
		return aboutPVM(strconv.Itoa(reply.PID), err)
	}
	s.con = con
	s.image = filepath.Base(r.Image)
	return c.attend(s)
}

// attend stays with a pVM in the foreground until it has ended or is left alone.
func (c *Call) attend(s *session) error {
	err := c.stay(s)
	switch {
	case errors.Is(err, errStopped):
		return c.suspend(s)
	case errors.Is(err, errDetached):
		if s.job != nil { // its console has been given up
			c.shell.disown(s.job)
		}
		c.shell.note(s.pid)
		return nil
	case err != nil:
		return fmt.Errorf("(%d): console lost: %w", s.pid, err)
	}
	exit, err := s.api.Wait(context.Background(), s.pid)
	if err != nil {
		return aboutPVM(strconv.Itoa(s.pid), err)
	}
	if exit.Reason == "" || !bytes.Contains(s.said, []byte(exit.Reason)) { // else its console said so
		c.sayHowItEnded(s.image, s.pid, exit)
	}
	if s.interrupted() && (exit.Signal == int(syscall.SIGINT) || s.unheard(exit)) {
		j := jobNow(c, c.job)
		if j.hasTrap(syscall.SIGINT) && !j.interrupted() { // typed in raw mode: only the pVM has heard of it
			j.deliver(syscall.SIGINT)
		}
		j.endInterrupted()
	} else {
		c.shell.ahead.giveBack(s.unread(exit))
	}
	return Status(exit.Code)
}

// stay is talk; where no prompt could come back, this process stops with the pVM.
func (c *Call) stay(s *session) error {
	err := s.talk()
	for errors.Is(err, errStopped) && !c.shell.interactive {
		s.stopSelf()
		err = s.talk()
	}
	return err
}

// sayHowItEnded says in a line what a shell says about a process that a fault ended, and what the
// engine knows beyond the signal.
func (c *Call) sayHowItEnded(name string, pid int, e *engine.Exit) {
	sig := syscall.Signal(e.Signal)
	fault := false
	switch sig {
	case syscall.SIGSEGV, syscall.SIGILL, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGABRT, syscall.SIGTRAP, syscall.SIGSYS:
		fault = true
	}
	if !fault && (e.Reason == "" || sig == syscall.SIGINT || sig == syscall.SIGPIPE) {
		return
	}
	text := printable(oneLine(e.Reason))
	if text == "" {
		text = sig.String()
	}
	c.warnf("%s (%d): %s", printable(name), pid, text)
}

// rootArchive returns a tar archive of the root file system at path: path itself, or the archive made
// of a folder, kept in the state folder under the hash of its contents because a restart needs it.
func (s *Shell) rootArchive(path string) (string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return "", errors.Unwrap(err)
	}
	if !fi.IsDir() {
		return path, nil
	}
	dir := filepath.Join(s.cfg.StateDir, "roots")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	sum, err := tarFolder(tmp, path)
	if err != nil {
		return "", err
	}
	final := filepath.Join(dir, sum+".tar")
	return final, os.Rename(tmp.Name(), final)
}
