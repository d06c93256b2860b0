package shell

import (
	"fmt"

	"kxsh/engine"
)

var pipeCommand = Command{
	Name:     "pipe",
	Synopsis: "FROM TO",
	Short:    "connect the standard output of a running pVM to the standard input of a relative",
	Long: "From then on what FROM writes to its descriptor 1 is what TO reads from its descriptor 0, without the engine; the pipe's number is printed.\n" +
		"What FROM has written before is in its log, and what TO has not read of its console stays there. When FROM has ended TO reads the end, when\n" +
		"TO has ended FROM gets SIGPIPE. Both have to be of one family.",
	Examples: []string{"pipe 3 9"},
	Args:     PVM,
	Run: func(c *Call) error {
		if err := c.want(2, 2); err != nil {
			return err
		}
		api, err := c.Engine()
		if err != nil {
			return err
		}
		var pids [2]int
		for i, arg := range c.Args {
			if pids[i], err = c.one(api, arg, false); err != nil {
				return err
			}
		}
		r, err := api.IPC(c, pids[0], engine.IPCRequest{Op: engine.IPCPipe, To: pids[1]})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.Stdout, r.ID)
		return err
	},
}
