// Command cmd starts the lab, Xen and a Debian dom0 in QEMU: see docs/how-to/lab.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"kxsh/xen/lab"
)

const usage = `usage: lab run [FLAG...] -- COMMAND [ARGUMENT...]    a command in dom0; a single argument is a line for sh
       lab test [FLAG...] PACKAGE... [-- -test.FLAG...] the Go tests of packages in dom0, one after the other
       lab shell [FLAG...] [-- COMMAND [ARGUMENT...]] this terminal becomes dom0's: kxsh, if given, else sh
       lab fetch [--xl]                               only fetch the packages that the others need`

// kxsh is where a shell looks for the kxsh it was given.
const kxsh = "/usr/bin/kxsh"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	status, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func run(ctx context.Context, args []string) (status int, err error) {
	if len(args) == 0 {
		return 2, errors.New(usage)
	}
	o := lab.Options{Stdout: os.Stdout, Stderr: os.Stderr, Progress: os.Stderr}
	flags := pflag.NewFlagSet("lab", pflag.ContinueOnError)
	flags.Usage = func() { fmt.Fprintf(os.Stderr, "%s\n%s", usage, flags.FlagUsages()) }
	files := flags.StringArrayP("file", "f", nil, "put `HOST[:DOM0]`, a file or folder, into dom0; to /root/NAME if not said")
	timeout := flags.DurationP("timeout", "t", 0, "end the machine after this (run, test: 10m; shell: never)")
	flags.StringArrayVarP(&o.Env, "env", "e", nil, "add `NAME=VALUE` to dom0's environment")
	flags.BoolVar(&o.HostRoot, "host-root", false, "run in this machine's file system and folder; dom0 keeps what is written")
	shares := flags.StringArrayP("share", "s", nil, "let dom0 write to `HOST[:DOM0]`, a folder; /root/NAME if not said")
	flags.IntVar(&o.Memory, "memory", 0, "`MiB` of the machine (4096)")
	flags.IntVar(&o.Dom0Memory, "dom0-memory", 0, "`MiB` of dom0 (1024)")
	flags.IntVar(&o.CPUs, "cpus", 0, "`number` of the machine's processors (2); dom0 has one")
	flags.BoolVar(&o.Icount, "icount", false, "each instruction takes 1 ns: repeatable figures, slower")
	flags.BoolVar(&o.XL, "xl", false, "have xl and xenstored in dom0")
	json := flags.Bool("json", false, "test: print what go test -json prints")
	log := flags.String("log", "", "write the messages of Xen and dom0's kernel to a `FILE`")
	stdin := flags.Bool("stdin", false, "read standard input to its end and give it to the command")
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return 0, nil
		}
		return 2, err
	}
	o.Files, o.Shared = lab.FileArguments(*files), lab.FileArguments(*shares)
	if *stdin {
		o.Stdin = os.Stdin
	}
	if *log != "" {
		f, err := os.Create(*log)
		if err != nil {
			return 2, fmt.Errorf("lab: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		o.Log = f
	}
	if *timeout == 0 && args[0] != "shell" {
		*timeout = 10 * time.Minute
	}
	if *timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	if args[0] == "test" {
		tests := lab.Tests{Packages: flags.Args(), JSON: *json}
		if n := flags.ArgsLenAtDash(); n >= 0 {
			tests.Packages, tests.Args = flags.Args()[:n], flags.Args()[n:]
		}
		if len(tests.Packages) == 0 {
			return 2, errors.New(usage)
		}
		result, err := lab.RunTests(ctx, tests, o)
		return result.Status, err
	}
	result, err := dispatch(ctx, args[0], flags.Args(), o)
	return result.Status, err
}

func dispatch(ctx context.Context, verb string, args []string, o lab.Options) (lab.Result, error) {
	switch {
	case verb == "run" && len(args) == 1 && strings.ContainsAny(args[0], " \t\n;|&<>$"):
		o.Command = []string{"sh", "-c", args[0]}
		return lab.Run(ctx, o)
	case verb == "run" && len(args) > 0:
		o.Command = args
		return lab.Run(ctx, o)
	case verb == "fetch" && len(args) == 0:
		return lab.Result{}, lab.Fetch(ctx, o)
	case verb == "shell":
		o.Terminal, o.Stdout, o.Command = os.Stdin, nil, args
		if len(args) == 0 {
			o.Command = []string{"sh"}
			if _, given := o.Files[kxsh]; given {
				o.Command = []string{kxsh}
			}
		}
		return lab.Run(ctx, o)
	}
	return lab.Result{Status: 2}, errors.New(usage)
}
