package tui

import (
	"fmt"
	"slices"
	"time"

	"kxsh/engine"
)

// view is what is on the screen: the newest snapshot, with rates since the one before, in order.
type view struct {
	snap  *engine.Snapshot
	all   []engine.Process // its pVMs, with CPU time and traffic of the interval
	index map[int]int      // PID to place in all
	rows  []row            // what of them is shown

	states map[string]int // how many there are in each, as x others' domains
	memory uint64         // of ours, bytes

	columns []*column // that are shown, before NAME
	sort    order
	filter  filter
	tree    bool
	folded  pids // whose descendants are not shown in the tree
	marked  pids // that actions are for
}

// newView is a view of the first columns, busiest pVM first.
func newView() view { return view{columns: first(), sort: byCPU, folded: pids{}, marked: pids{}} }

// pids is some of the pVMs that the newest snapshot has.
type pids map[int]bool

func (s pids) toggle(pid int) {
	if s[pid] {
		delete(s, pid)
	} else {
		s[pid] = true
	}
}

// row is a line of the table.
type row struct {
	*engine.Process
	load          // its own; of a folded one, with its descendants'
	below    int  // of a folded one: how many descendants
	parent   int  // its row in the tree, or -1
	youngest bool // the last of its parent's children
}

// load is what is summed up in the tree.
type load struct {
	cpu    float64 // per cent of one CPU
	memory uint64  // bytes
	time   time.Duration
	rx, tx uint64 // bytes a second
}

func loadOf(p *engine.Process) load {
	l := load{cpu: p.CPU, memory: p.Memory, time: p.Time}
	if t := p.Traffic; t != nil && t.ReceiveRate != nil {
		l.rx, l.tx = *t.ReceiveRate, *t.SendRate
	}
	return l
}

func (l *load) add(o load) {
	l.cpu += o.cpu
	l.memory += o.memory
	l.time += o.time
	l.rx += o.rx
	l.tx += o.tx
}

// update takes a snapshot in. A PID that was given again is told by when its pVM was started.
func (v *view) update(s *engine.Snapshot) {
	all, index := slices.Clone(s.Processes), make(map[int]int, len(s.Processes))
	for i := range all {
		p := &all[i]
		index[p.PID] = i
		before := v.find(p.PID)
		if before == nil || !before.Started.Equal(p.Started) {
			delete(v.folded, p.PID)
			delete(v.marked, p.PID)
		} else if since := s.Time.Sub(v.snap.Time); since > 0 {
			p.CPU = float64(p.Time-before.Time) / float64(since) * 100
			p.Traffic = p.Traffic.Since(before.Traffic, since)
		}
	}
	v.snap, v.all, v.index = s, all, index
	v.states, v.memory = map[string]int{}, 0
	for i := range all {
		if p := &all[i]; p.Foreign {
			v.states["x"]++
		} else {
			v.states[p.Stat]++
			v.memory += p.Memory
		}
	}
	for _, set := range []pids{v.folded, v.marked} {
		for pid := range set {
			if v.find(pid) == nil {
				delete(set, pid)
			}
		}
	}
	v.arrange()
}

// find returns the pVM of this PID, or nil.
func (v *view) find(pid int) *engine.Process {
	if i, ok := v.index[pid]; ok {
		return &v.all[i]
	}
	return nil
}

// arrange makes the rows.
func (v *view) arrange() {
	if v.tree {
		v.rows = v.families()
		return
	}
	ranks := make([]rank, 0, len(v.all))
	for i := range v.all {
		if p := &v.all[i]; v.filter.keeps(p) {
			l := loadOf(p)
			ranks = append(ranks, v.sort.rank(p, &l))
		}
	}
	slices.SortFunc(ranks, func(a, b rank) int { return v.sort.compare(&a, &b) })
	v.rows = make([]row, len(ranks))
	for i := range ranks {
		p := v.find(ranks[i].pid)
		v.rows[i] = row{Process: p, load: loadOf(p), parent: -1}
	}
}

// ours is how many pVMs there are.
func (v *view) ours() int { return len(v.all) - v.states["x"] }

// header is what is above a plain table.
func (v *view) header() []string {
	pvms := fmt.Sprintf("pVMs: %d", v.ours())
	for _, c := range []struct{ stat, name string }{{"R", "running"}, {"S", "sleeping"}, {"T", "stopped"}, {"Z", "zombie"}} {
		if n := v.states[c.stat]; n > 0 {
			pvms += fmt.Sprintf(", %d %s", n, c.name)
		}
	}
	others := ""
	if n := v.states["x"]; n > 0 {
		others = fmt.Sprintf("   others' domains: %d", n)
	}
	return []string{
		fmt.Sprintf("kxsh top  %s  %s on %s, up %v", v.snap.Time.Format("15:04:05"), v.snap.Hypervisor, v.snap.Host, v.snap.Uptime.Round(time.Second)),
		fmt.Sprintf("%s   memory: %s   pool: %d of %d%s", pvms, size(v.memory), v.snap.Pool.Ready, v.snap.Pool.Want, others),
		v.filterLine(),
	}
}

// filterLine tells what is shown, and that more is not.
func (v *view) filterLine() string {
	if v.filter.empty() {
		return ""
	}
	n := len(v.rows)
	for i := range v.rows {
		n += v.rows[i].below
	}
	return fmt.Sprintf("filter: %s   %d of %d", printable(v.filter.text), n, len(v.all))
}
