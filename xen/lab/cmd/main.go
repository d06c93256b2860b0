// Command cmd starts the lab: Xen and a dom0 in QEMU.
//
//	lab run [flags] -- COMMAND [ARGUMENT...]   a command in dom0; one word with spaces is a line for sh
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"kxsh/xen/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, os.Kill)
	defer stop()
	status, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 || args[0] != "run" {
		return 2, errors.New("usage: lab run [flags] -- COMMAND [ARGUMENT...]")
	}
	o := lab.Options{Stdout: os.Stdout, Progress: os.Stderr}
	flags := pflag.NewFlagSet("lab", pflag.ContinueOnError)
	files := flags.StringArrayP("file", "f", nil, "HOST[:DOM0], a file or folder to put into dom0; /root/NAME if not said")
	timeout := flags.DurationP("timeout", "t", 5*time.Minute, "end the machine after this")
	flags.BoolVar(&o.Icount, "icount", false, "each instruction takes 1 ns: repeatable figures, slower")
	flags.BoolVar(&o.XL, "xl", false, "xl and xenstored in dom0")
	flags.IntVar(&o.Memory, "memory", 0, "of the machine, MiB")
	flags.IntVar(&o.Dom0Memory, "dom0-memory", 0, "of dom0, MiB")
	flags.StringArrayVarP(&o.Env, "env", "e", nil, "NAME=VALUE for dom0's environment")
	log := flags.String("log", "", "write the serial log of Xen and dom0 to a file")
	if err := flags.Parse(args[1:]); err != nil {
		return 2, err
	}
	o.Command = flags.Args()
	if len(o.Command) == 1 && strings.ContainsAny(o.Command[0], " ;|&<>$") {
		o.Command = []string{"sh", "-c", o.Command[0]}
	}
	o.Files = lab.FileArguments(*files)
	if *log != "" {
		f, err := os.Create(*log)
		if err != nil {
			return 2, err
		}
		defer f.Close()
		o.Log = f
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	result, err := lab.Run(ctx, o)
	return result.Status, err
}
