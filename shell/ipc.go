package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"kxsh/engine"
)

// familyFlag declares -F.
func familyFlag(f *pflag.FlagSet) {
	f.StringP("family", "F", "", "the family, by one of its members (default: the only one that runs)")
}

var familyArg = map[string]Kind{"family": PVM}

var ftokCommand = Command{
	Name:     "ftok",
	Synopsis: "[-F PID] PATH PROJ",
	Short:    "print the key that ftok() makes of a path in a family's file system",
	Long:     "PROJ is a number or one character. The key is the same for each member that had the file when it was forked.",
	Examples: []string{"msgget -c $(ftok /etc/app A)"},
	Flags:    familyFlag,
	FlagArgs: familyArg,
	Run: func(c *Call) error {
		if err := c.want(2, 2); err != nil {
			return err
		}
		project, err := strconv.ParseInt(c.Args[1], 0, 32)
		if r, n := utf8.DecodeRuneInString(c.Args[1]); err != nil && n == len(c.Args[1]) && n == 1 {
			project, err = int64(r), nil
		}
		if err != nil {
			return usagef("%s: neither a number nor a character", c.Args[1])
		}
		r, err := c.ipc(engine.IPCRequest{Op: engine.IPCKey, Path: c.Args[0], Project: int(project)})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.Stdout, "0x%08x\n", r.Key)
		return err
	},
}

var msggetCommand = Command{
	Name:     "msgget",
	Synopsis: "[-c] [-F PID] KEY",
	Short:    "print the number of a family's message queue",
	Long:     "KEY is a number, also as 0x…, or the word private: a new queue without a key.",
	Examples: []string{"q=$(msgget -c 42)", "msgget -c -F web private"},
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("create", "c", false, "make one if there is none")
		familyFlag(f)
	},
	FlagArgs: familyArg,
	Run: func(c *Call) error {
		if err := c.want(1, 1); err != nil {
			return err
		}
		key, err := parseKey(c.Args[0])
		if err != nil {
			return err
		}
		r, err := c.ipc(engine.IPCRequest{Op: engine.IPCQueue, Key: key, Create: c.flagBool("create")})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.Stdout, r.ID)
		return err
	},
}

var msgsndCommand = Command{
	Name:     "msgsnd",
	Synopsis: "[-n] [-F PID] QID TYPE [TEXT]",
	Short:    "send a message to a family's queue",
	Long: "Without TEXT the message is standard input. It is sent as it is: no byte comes to it, and at most 8192 are taken.\n" +
		"As long as the queue is full it waits.",
	Examples: []string{"msgsnd $q 1 'resize 800'", "msgsnd $q 2 <picture"},
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("nowait", "n", false, "fail if the queue is full")
		familyFlag(f)
	},
	FlagArgs: familyArg,
	Args:     Shared,
	Run: func(c *Call) error {
		if err := c.want(2, 3); err != nil {
			return err
		}
		id, err := parseID(c.Args[0])
		if err != nil {
			return err
		}
		typ, err := strconv.ParseInt(c.Args[1], 0, 64)
		if err != nil || typ < 1 {
			return usagef("%s: a type is a number of at least 1", c.Args[1])
		}
		var text []byte
		if len(c.Args) == 3 {
			text = []byte(c.Args[2])
		} else if text, err = c.input(engine.MaxMessage + 1); err != nil {
			return err
		}
		_, err = c.ipc(engine.IPCRequest{Op: engine.IPCSend, ID: id, Type: typ, Data: text, Wait: !c.flagBool("nowait")})
		return err
	},
}

var msgrcvCommand = Command{
	Name:     "msgrcv",
	Synopsis: "[-n] [-t TYPE] [--json] [-F PID] QID",
	Short:    "receive a message from a family's queue, and print it",
	Long: "It waits for one; Ctrl-C ends that. TYPE is as msgrcv() has it: 0: the first message, N: the first of type N, -N: of the least type up to N.\n" +
		"A newline follows a text that does not end in one. In JSON, what is no UTF-8 is replaced.",
	Examples: []string{"msgrcv -t 1 $q", "while m=$(msgrcv -n $q); do echo \"got $m\"; done"},
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("nowait", "n", false, "fail if there is none")
		f.Int64P("type", "t", 0, "which `TYPE`")
		f.Bool("json", false, "as JSON: type and text")
		familyFlag(f)
	},
	FlagArgs: familyArg,
	Args:     Shared,
	Run: func(c *Call) error {
		if err := c.want(1, 1); err != nil {
			return err
		}
		id, err := parseID(c.Args[0])
		if err != nil {
			return err
		}
		typ, _ := c.Flags.GetInt64("type")
		r, err := c.ipc(engine.IPCRequest{Op: engine.IPCReceive, ID: id, Type: typ, Wait: !c.flagBool("nowait")})
		if err != nil {
			return err
		}
		if c.flagBool("json") {
			return writeJSON(c.Stdout, struct {
				Type int64  `json:"type"`
				Text string `json:"text"`
			}{r.Type, string(r.Data)})
		}
		if n := len(r.Data); n == 0 || r.Data[n-1] != '\n' {
			r.Data = append(r.Data, '\n')
		}
		_, err = c.Stdout.Write(r.Data)
		return err
	},
}

var shmgetCommand = Command{
	Name:     "shmget",
	Synopsis: "[-F PID] KEY [SIZE]",
	Short:    "print the number of a family's segment of shared memory",
	Long:     "With SIZE (bytes, or such as 64K) it is made if there is none. KEY is as for msgget.",
	Examples: []string{"s=$(shmget 7 64K)"},
	Flags:    familyFlag,
	FlagArgs: familyArg,
	Run: func(c *Call) error {
		if err := c.want(1, 2); err != nil {
			return err
		}
		key, err := parseKey(c.Args[0])
		if err != nil {
			return err
		}
		r := engine.IPCRequest{Op: engine.IPCSegment, Key: key, Create: len(c.Args) == 2}
		if r.Create {
			if r.Size, err = parseSize(c.Args[1]); err != nil {
				return UsageError(err.Error())
			}
		}
		reply, err := c.ipc(r)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.Stdout, reply.ID)
		return err
	},
}

var shmreadCommand = Command{
	Name:     "shmread",
	Synopsis: "[-F PID] ID [OFFSET [SIZE]]",
	Short:    "print bytes of a family's segment of shared memory, as they are",
	Long:     "Without SIZE, all up to its end. Nobody is kept from writing meanwhile.",
	Examples: []string{"shmread $s | xxd | head", "shmread $s 0x100 16"},
	Flags:    familyFlag,
	FlagArgs: familyArg,
	Args:     Shared,
	Run: func(c *Call) error {
		if err := c.want(1, 3); err != nil {
			return err
		}
		id, at, err := c.place()
		if err != nil {
			return err
		}
		left := ^uint64(0)
		if len(c.Args) == 3 {
			if left, err = parseNumber(c.Args[2]); err != nil {
				return err
			}
		}
		for {
			want := min(left, engine.MaxMoved)
			r, err := c.ipc(engine.IPCRequest{Op: engine.IPCRead, ID: id, Offset: at, Size: want})
			if err != nil {
				return err
			}
			if _, err := c.Stdout.Write(r.Data); err != nil {
				return err
			}
			at, left = at+r.Size, left-r.Size
			if r.Size < want || left == 0 {
				return nil
			}
		}
	},
}

var shmwriteCommand = Command{
	Name:     "shmwrite",
	Synopsis: "[-F PID] ID OFFSET [TEXT]",
	Short:    "write bytes to a family's segment of shared memory",
	Long:     "Without TEXT, standard input. It fails if the segment ends before, and then has what there was room for.",
	Examples: []string{"shmwrite $s 0 go", "shmwrite $s 0x1000 <table"},
	Flags:    familyFlag,
	FlagArgs: familyArg,
	Args:     Shared,
	Run: func(c *Call) error {
		if err := c.want(2, 3); err != nil {
			return err
		}
		id, at, err := c.place()
		if err != nil {
			return err
		}
		for first := true; ; first = false {
			var part []byte
			if len(c.Args) == 2 {
				part, err = c.input(engine.MaxMoved)
			} else if first {
				part = []byte(c.Args[2])
			}
			if err != nil || len(part) == 0 && !first {
				return err
			}
			r, err := c.ipc(engine.IPCRequest{Op: engine.IPCWrite, ID: id, Offset: at, Data: part})
			if err != nil {
				return err
			}
			at += r.Size
			if r.Size < uint64(len(part)) {
				return fmt.Errorf("(%d): the segment ends at %d", id, at)
			}
		}
	},
}

// place reads ID and, if it is there, OFFSET.
func (c *Call) place() (id int, offset uint64, err error) {
	if id, err = parseID(c.Args[0]); err == nil && len(c.Args) > 1 {
		offset, err = parseNumber(c.Args[1])
	}
	return id, offset, err
}

// parseKey reads a key: as unsigned or as C's int, or private.
func parseKey(s string) (uint32, error) {
	if s == "private" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil || n < -1<<31 || n > 1<<32-1 {
		return 0, usagef("%s: not a key: a number of 32 bits, or private", s)
	}
	return uint32(n), nil
}

func parseID(s string) (int, error) {
	n, err := strconv.ParseUint(s, 0, 31)
	if err != nil {
		return 0, usagef("%s: not a number of a queue, a segment or a set: ipcs lists them", s)
	}
	return int(n), nil
}

func parseNumber(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 0, 63)
	if err != nil {
		return 0, usagef("%s: not a number of bytes", s)
	}
	return n, nil
}

// input reads standard input, until its end or max bytes.
func (c *Call) input(max int) ([]byte, error) {
	in := c.Stdin
	if f, ok := in.(*os.File); ok && f != nil {
		in = &reader{f: f, wait: c.execution().readable}
	} else if ok || in == nil {
		return nil, nil
	}
	return io.ReadAll(io.LimitReader(in, int64(max)))
}

// ipc asks the family that -F names.
func (c *Call) ipc(r engine.IPCRequest) (*engine.IPCReply, error) {
	api, err := c.Engine()
	if err != nil {
		return nil, err
	}
	pid, err := c.oneFamily(api)
	if err != nil {
		return nil, err
	}
	return api.IPC(c, pid, r)
}

// oneFamily is a member of the family that -F names, or of the only one that runs.
func (c *Call) oneFamily(api engine.API) (int, error) {
	arg := c.flagString("family")
	if arg == "" {
		list, err := runningFamilies(c, api)
		switch {
		case err != nil:
			return 0, err
		case len(list) == 0:
			return 0, errors.New("no pVM runs")
		case len(list) > 1:
			return 0, fmt.Errorf("%d families run: say which with -F PID", len(list))
		}
		return list[0], nil
	}
	list, err := targets(c, api, []string{arg}, true)
	if err != nil {
		return 0, err
	}
	for _, t := range list {
		if t.err != nil {
			return 0, t.err
		}
		if t.family != list[0].family {
			return 0, fmt.Errorf("(%s): names pVMs of several families; say which PID", arg)
		}
	}
	return list[0].pid, nil
}

// runningFamilies are the numbers of families that have a living member.
func runningFamilies(ctx context.Context, api engine.API) (list []int, err error) {
	snap, err := api.Snapshot(ctx, false)
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	for _, p := range snap.Processes {
		if !p.Foreign && p.Exit == nil && !seen[p.Family] {
			seen[p.Family] = true
			list = append(list, p.Family)
		}
	}
	return list, nil
}
