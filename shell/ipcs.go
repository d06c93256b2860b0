package shell

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"kxsh/engine"
)

var ipcsCommand = Command{
	Name:     "ipcs",
	Synopsis: "[-q] [-m] [-s] [-p] [-F PID] [--json] [--no-headers]",
	Short:    "list what families share: message queues, shared memory, semaphores and pipes",
	Long: "COUNT is the messages of a queue, the attachments of a segment, the semaphores of a set. PIDS are a queue's last sender > receiver (0 is this\n" +
		"shell), who has a segment, and who writes > reads a pipe. Pipes are listed from the fork on that shared them, or from pipe on; their ID is for nothing else.",
	Examples: []string{"ipcs -q", "ipcs -F web --json | jq '.[].bytes'"},
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("queues", "q", false, "message queues")
		f.BoolP("shmems", "m", false, "segments of shared memory")
		f.BoolP("semaphores", "s", false, "sets of semaphores")
		f.BoolP("pipes", "p", false, "pipes")
		f.StringP("family", "F", "", "the family, by one of its members (default: all)")
		f.Bool("json", false, "as JSON")
		f.Bool("no-headers", false, "without the line of headers")
	},
	FlagArgs: familyArg,
	Pages:    true,
	Run:      ipcs,
}

// objectKinds is which flag of ipcs and ipcrm is for which kind.
var objectKinds = []struct{ flag, kind string }{
	{"queues", engine.KindQueue}, {"shmems", engine.KindSegment}, {"semaphores", engine.KindSemaphores}, {"pipes", engine.KindPipe},
}

func ipcs(c *Call) error {
	if err := c.want(0, 0); err != nil {
		return err
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	var members []int
	if c.flagString("family") != "" {
		pid, err := c.oneFamily(api)
		if err != nil {
			return err
		}
		members = []int{pid}
	} else if members, err = runningFamilies(c, api); err != nil {
		return err
	}
	var kinds []string
	for _, k := range objectKinds {
		if c.flagBool(k.flag) {
			kinds = append(kinds, k.kind)
		}
	}
	list := []engine.SharedObject{}
	failed := false
	for _, pid := range members {
		r, err := api.IPC(c, pid, engine.IPCRequest{Op: engine.IPCList})
		if err != nil {
			if c.Err() != nil || c.flagString("family") != "" || codeOf(err) == engine.CodeEngine {
				return err
			}
			if codeOf(err) != engine.CodeNoPVM { // else it has ended meanwhile
				failed = true
				c.warnf("%s", oneLine(err.Error()))
			}
			continue
		}
		for _, o := range r.Objects {
			if kinds == nil || slices.Contains(kinds, o.Kind) {
				list = append(list, o)
			}
		}
	}
	if c.flagBool("json") {
		err = writeJSON(c.Stdout, list)
	} else {
		err = c.ipcsTable(list)
	}
	if err == nil && failed {
		return Status(1)
	}
	return err
}

func (c *Call) ipcsTable(list []engine.SharedObject) error {
	g := grid{
		head:  []string{"FAM", "KIND", "ID", "KEY", "PERMS", "UID", "BYTES", "COUNT", "PIDS"},
		right: []bool{true, false, true, false, true, true, true, true, false},
	}
	for i := range list {
		o := &list[i]
		row := []string{strconv.Itoa(o.Family), o.Kind, strconv.Itoa(o.ID), fmt.Sprintf("0x%08x", o.Key), fmt.Sprintf("%03o", o.Mode),
			strconv.FormatUint(uint64(o.UID), 10), strconv.FormatUint(o.Bytes, 10), strconv.Itoa(o.Count), objectPIDs(o)}
		switch {
		case o.Kind == engine.KindPipe:
			row[3], row[4], row[5], row[7] = "-", "-", "-", "-"
		case o.Kind == engine.KindSemaphores:
			row[6] = "-"
		case o.Removed:
			row[3] = "removed"
		}
		g.rows = append(g.rows, row)
	}
	return g.write(c.Stdout, !c.flagBool("no-headers"), width(c.Stdout), c.style().head)
}

// objectPIDs is who has to do with an object.
func objectPIDs(o *engine.SharedObject) string {
	switch o.Kind {
	case engine.KindQueue:
		return fmt.Sprintf("%d > %d", o.Sender, o.Receiver)
	case engine.KindSegment:
		return pidList(o.Readers, len(o.Readers))
	case engine.KindPipe:
		return pidList(o.Writers, o.WriterCount) + " > " + pidList(o.Readers, o.ReaderCount)
	}
	return "-"
}

// pidList writes PIDs, of which there are n in all.
func pidList(pids []int, n int) string {
	if len(pids) == 0 {
		return "-"
	}
	var words []string
	for _, pid := range pids {
		words = append(words, strconv.Itoa(pid))
	}
	if n > len(pids) {
		words = append(words, fmt.Sprintf("and %d more", n-len(pids)))
	}
	return strings.Join(words, ",")
}

var ipcrmCommand = Command{
	Name:     "ipcrm",
	Synopsis: "[-F PID] [-q|-m|-s ID]… [-Q|-M|-S KEY]… [ID…]",
	Short:    "remove message queues, shared memory and semaphores of a family",
	Long: "Who waits for a queue or a semaphore that goes gets EIDRM. A segment goes with its last attachment.\n" +
		"An ID alone is enough: those of different kinds are different.",
	Examples: []string{"ipcrm $q", "ipcrm -Q 42 -M 7"},
	Flags: func(f *pflag.FlagSet) {
		f.IntSliceP("queue-id", "q", nil, "the queue `ID`")
		f.IntSliceP("shmem-id", "m", nil, "the segment `ID`")
		f.IntSliceP("semaphore-id", "s", nil, "the set of semaphores `ID`")
		f.StringSliceP("queue-key", "Q", nil, "the queue of `KEY`")
		f.StringSliceP("shmem-key", "M", nil, "the segment of `KEY`")
		f.StringSliceP("semaphore-key", "S", nil, "the set of semaphores of `KEY`")
		familyFlag(f)
	},
	FlagArgs: map[string]Kind{"family": PVM, "queue-id": Shared, "shmem-id": Shared, "semaphore-id": Shared},
	Args:     Shared,
	Run:      ipcrm,
}

// doomed is one object that ipcrm shall remove: kind "": any.
type doomed struct {
	what, kind string
	id         int
	key        uint32
	byKey      bool
}

func ipcrm(c *Call) error {
	list, named, err := c.doomed()
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return usagef("usage: %s %s", c.Name, c.cmd.Synopsis)
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	pid, err := c.oneFamily(api)
	if err != nil {
		return err
	}
	var there []engine.SharedObject
	if named {
		r, err := api.IPC(c, pid, engine.IPCRequest{Op: engine.IPCList})
		if err != nil {
			return err
		}
		there = r.Objects
	}
	failed := false
	for _, d := range list {
		if d.kind != "" {
			i := slices.IndexFunc(there, func(o engine.SharedObject) bool {
				return o.Kind == d.kind && (d.byKey && d.key != 0 && o.Key == d.key || !d.byKey && o.ID == d.id)
			})
			if i < 0 {
				failed = true
				c.warnf("(%s): no such %s", d.what, d.kind)
				continue
			}
			d.id = there[i].ID
		}
		if _, err := api.IPC(c, pid, engine.IPCRequest{Op: engine.IPCRemove, ID: d.id}); err != nil {
			if c.Err() != nil {
				return err
			}
			failed = true
			c.warnf("%s", oneLine(err.Error()))
		}
	}
	if failed {
		return Status(1)
	}
	return nil
}

// doomed reads what the arguments name; named tells whether any of it has to be looked up.
func (c *Call) doomed() (list []doomed, named bool, err error) {
	for _, f := range []struct{ name, kind string }{
		{"queue", engine.KindQueue}, {"shmem", engine.KindSegment}, {"semaphore", engine.KindSemaphores},
	} {
		ids, _ := c.Flags.GetIntSlice(f.name + "-id")
		for _, id := range ids {
			list = append(list, doomed{what: strconv.Itoa(id), kind: f.kind, id: id})
		}
		keys, _ := c.Flags.GetStringSlice(f.name + "-key")
		for _, k := range keys {
			key, err := parseKey(k)
			if err != nil {
				return nil, false, err
			}
			list = append(list, doomed{what: k, kind: f.kind, key: key, byKey: true})
		}
	}
	named = len(list) > 0
	for _, a := range c.Args {
		id, err := parseID(a)
		if err != nil {
			return nil, false, err
		}
		list = append(list, doomed{what: a, id: id})
	}
	return list, named, nil
}

// sharedIDs lists the numbers of what can be named by one.
func (s *Shell) sharedIDs() (out []string) {
	api := s.peek()
	if api == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
	defer cancel()
	members, err := runningFamilies(ctx, api)
	if err != nil {
		return nil
	}
	for _, pid := range members {
		r, err := api.IPC(ctx, pid, engine.IPCRequest{Op: engine.IPCList})
		if err != nil {
			continue
		}
		for _, o := range r.Objects {
			if o.Kind != engine.KindPipe {
				out = append(out, strconv.Itoa(o.ID)+" ")
			}
		}
	}
	return out
}
