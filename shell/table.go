package shell

import "github.com/spf13/pflag"

// Kind is what an argument names, for completion.
type Kind int

const (
	Nothing   Kind = iota
	PVM            // a PID, name, glob or %family
	PVMName        // a name
	Image          // a pVM image
	PVMOrFile      // a PID or an image
	PVMOrJob       // a PID or a job of the session
	Job            // a job of the session
	Signal         // a signal's name
	File
	Dir
	Topic   // a command's name
	Column  // a column of ps
	Library // a pVM, and then libraries of it, or files
	Shared  // the number of something that a family shares
	Choice  // one of Command.Choices
	Network // none, user or a bridge of the host
)

// Command is one entry of the table.
type Command struct {
	Name     string
	Synopsis string // what follows the name
	Short    string // one line
	Long     string // paragraphs, may be empty
	Examples []string

	Flags    func(f *pflag.FlagSet) // declares the flags; nil: none
	FlagArgs map[string]Kind        // what a flag's value names, by long name
	Args     Kind                   // what the arguments name
	Choices  []string
	About    map[string]string // a line about each of Choices; nil: they say it themselves
	Several  bool              // the arguments are some of Choices, not one

	// Raw passes the arguments as they are, flags included.
	Raw bool
	// Leading ends the flags at the first argument that is none.
	Leading bool
	// Pages is for output that may be longer than a screen and ends by itself, unless --follow is given.
	Pages bool
	// Own is for what starts programs of the host: where there is job control it is run as one itself, so that all of it is stopped.
	Own bool
	// Prepare rewrites the arguments before the flags are parsed, such as kill's -9.
	Prepare func(args []string) []string

	Run func(c *Call) error
}

// commands is the table. A command's entry stands beside its code.
func commands() []Command {
	return []Command{
		runCommand, forkCommand, psCommand, pstreeCommand, pgrepCommand, pkillCommand, pidofCommand,
		killCommand, waitCommand, fgCommand, bgCommand, consoleCommand, logsCommand, inspectCommand, lddCommand, updateCommand, rollbackCommand, eventsCommand,
		statsCommand, watchCommand, limitCommand, reniceCommand, tasksetCommand, poolCommand,
		ftokCommand, msggetCommand, msgsndCommand, msgrcvCommand, shmgetCommand, shmreadCommand, shmwriteCommand, pipeCommand, ipcsCommand, ipcrmCommand,
		infoCommand, configCommand, ccCommand, keygenCommand, signCommand, verifyCommand, abidiffCommand, helpCommand, versionCommand,
	}
}
