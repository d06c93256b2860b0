package shell

import (
	"fmt"

	"github.com/spf13/pflag"
)

var forkCommand = Command{
	Name:     "fork",
	Synopsis: "[-n COUNT] PID",
	Short:    "fork a running pVM, and print its children's PIDs",
	Long: "The children go on from the same point as the pVM, wherever in its program that is, with memory of their own. The program\n" +
		"itself has not forked: it does not wait for them. It learns in which of them it is from a handler (kx_on_clone), if it has one.\n" +
		"A stopped pVM cannot be forked, nor one whose family is as large as it may be (limit --family).",
	Examples: []string{"fork web", "fork -n 10 7"},
	Flags: func(f *pflag.FlagSet) {
		f.IntP("count", "n", 1, "how many children")
	},
	Args: PVM,
	Run: func(c *Call) error {
		if err := c.want(1, 1); err != nil {
			return err
		}
		count := c.flagInt("count")
		if count < 1 {
			return usagef("-n %d: at least 1", count)
		}
		api, err := c.Engine()
		if err != nil {
			return err
		}
		pid, err := c.one(api, c.Args[0], false)
		if err != nil {
			return err
		}
		pids, err := api.Fork(c, pid, count)
		for _, child := range pids {
			c.shell.note(child)
			fmt.Fprintln(c.Stdout, child)
		}
		if err != nil {
			return aboutPVM(c.Args[0], err)
		}
		return nil
	},
}
