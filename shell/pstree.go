package shell

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"kxsh/engine"
)

var pstreeCommand = Command{
	Name:     "pstree",
	Synopsis: "[-A | -U] [-p] [PID]",
	Short:    "show pVMs as a tree; its root is domain 0, the host",
	Long:     "On a terminal whose locale is not UTF-8 it is drawn with ASCII characters.",
	Examples: []string{"pstree -p", "pstree web"},
	Flags: func(f *pflag.FlagSet) {
		f.BoolP("ascii", "A", false, "draw with ASCII characters alone")
		f.BoolP("unicode", "U", false, "draw with others, whatever the locale")
		f.BoolP("show-pids", "p", false, "with PIDs")
	},
	Args:  PVM,
	Pages: true,
	Run:   pstree,
}

func pstree(c *Call) error {
	if err := c.want(0, 1); err != nil {
		return err
	}
	api, err := c.Engine()
	if err != nil {
		return err
	}
	snap, err := api.Snapshot(c, false)
	if err != nil {
		return err
	}
	t := tree{pids: c.flagBool("show-pids"), lines: c.treeLines(), children: map[int][]engine.Process{}}
	for _, p := range snap.Processes {
		t.children[p.PPID] = append(t.children[p.PPID], p)
	}
	if len(c.Args) == 0 {
		t.write(snap.Host, 0, "", "")
	} else {
		roots, missing := pick(snap, c.Args)
		if missing != nil {
			return noPVM(c.Args[0])
		}
		drawn := map[int]bool{} // a child of one that is named has its place below it
		for _, p := range roots {
			drawn[p.PID] = true
		}
		for _, p := range roots {
			if !drawn[p.PPID] {
				t.write(printable(p.Name), p.PID, "", "")
			}
		}
	}
	_, err = fmt.Fprint(c.Stdout, t.out.String())
	return err
}

// treeLines are what leads to a child, to the last one, and past one: two characters each.
type treeLines [3]string

// treeLines chooses as pstree(1) does, but for what goes elsewhere than to a terminal.
func (c *Call) treeLines() treeLines {
	if c.flagBool("ascii") || !c.flagBool("unicode") && terminalOf(c.Stdout) != nil && !UTF8(c.variable) {
		return treeLines{"|-", "`-", "| "}
	}
	return treeLines{"├─", "└─", "│ "}
}

// tree draws pVMs below each other.
type tree struct {
	pids     bool
	lines    treeLines
	children map[int][]engine.Process
	out      strings.Builder
}

func (t *tree) write(name string, pid int, branch, below string) {
	t.out.WriteString(branch + name)
	if t.pids {
		fmt.Fprintf(&t.out, "(%d)", pid)
	}
	t.out.WriteByte('\n')
	kids := t.children[pid]
	for i, p := range kids {
		if i == len(kids)-1 {
			t.write(printable(p.Name), p.PID, below+t.lines[1], below+"  ")
		} else {
			t.write(printable(p.Name), p.PID, below+t.lines[0], below+t.lines[2])
		}
	}
}
