package tui

import (
	"slices"
	"strings"

	"kxsh/engine"
)

// node is a pVM in the tree of families.
type node struct {
	*engine.Process
	kids  []*node
	sum   load // with all descendants
	rank  rank // by the sum
	below int  // how many descendants
}

// link makes the trees of all pVMs. Roots are those whose parent is the host.
func link(all []engine.Process) (nodes map[int]*node, roots []*node) {
	nodes = make(map[int]*node, len(all))
	store := make([]node, len(all))
	for i := range all {
		store[i].Process = &all[i]
		nodes[all[i].PID] = &store[i]
	}
	for i := range store {
		if up := nodes[store[i].PPID]; up != nil {
			up.kids = append(up.kids, &store[i])
		} else {
			roots = append(roots, &store[i])
		}
	}
	return nodes, roots
}

// plot turns trees into rows. Children are sorted by what their subtrees need together: so folding
// one does not move it.
type plot struct {
	sort   order
	filter filter
	folded pids
	rows   []row
}

// families is the rows of the tree view.
func (v *view) families() []row {
	_, roots := link(v.all)
	p := plot{sort: v.sort, filter: v.filter, folded: v.folded, rows: make([]row, 0, len(v.all))}
	tops := p.tops(roots, nil)
	for _, n := range tops {
		p.gather(n)
	}
	p.order(tops)
	for _, n := range tops {
		p.add(n, -1, true)
	}
	return p.rows
}

// tops appends to out the roots of what the filter leaves of trees.
func (p *plot) tops(list, out []*node) []*node {
	for _, n := range list {
		switch {
		case p.filter.dropped(n.Process):
		case p.filter.wanted(n.Process):
			out = append(out, n)
		default:
			out = p.tops(n.kids, out)
		}
	}
	return out
}

// gather sums up a tree, without what the filter drops.
func (p *plot) gather(n *node) {
	n.kids = slices.DeleteFunc(n.kids, func(k *node) bool { return p.filter.dropped(k.Process) })
	n.sum = loadOf(n.Process)
	for _, k := range n.kids {
		p.gather(k)
		n.sum.add(k.sum)
		n.below += 1 + k.below
	}
	p.order(n.kids)
}

func (p *plot) order(list []*node) {
	for _, n := range list {
		n.rank = p.sort.rank(n.Process, &n.sum)
	}
	slices.SortFunc(list, func(a, b *node) int { return p.sort.compare(&a.rank, &b.rank) })
}

// add appends the rows of a tree whose parent has the given row.
func (p *plot) add(n *node, parent int, youngest bool) {
	r := row{Process: n.Process, load: loadOf(n.Process), parent: parent, youngest: youngest}
	if p.folded[n.PID] && n.below > 0 {
		r.load, r.below = n.sum, n.below
	}
	at := len(p.rows)
	p.rows = append(p.rows, r)
	if r.below > 0 {
		return
	}
	for i, k := range n.kids {
		p.add(k, at, i == len(n.kids)-1)
	}
}

// branch draws what connects a row of the tree with its parent.
func branch(rows []row, i int) string {
	r := &rows[i]
	if r.parent < 0 {
		return ""
	}
	out := "├─"
	if r.youngest {
		out = "└─"
	}
	var above []string
	for r = &rows[r.parent]; r.parent >= 0; r = &rows[r.parent] {
		if r.youngest {
			above = append(above, "  ")
		} else {
			above = append(above, "│ ")
		}
	}
	slices.Reverse(above)
	return strings.Join(above, "") + out
}

// fold hides the descendants of a pVM, or shows them again. Without any there is nothing to fold.
func (v *view) fold(pid int) {
	nodes, _ := link(v.all)
	if n := nodes[pid]; n != nil && len(n.kids) > 0 || v.folded[pid] {
		v.folded.toggle(pid)
		v.arrange()
	}
}

// foldAll folds every family at every generation, or, when all are, unfolds them.
func (v *view) foldAll() {
	nodes, _ := link(v.all)
	open := 0
	for pid, n := range nodes {
		if len(n.kids) > 0 && !v.folded[pid] {
			open++
			v.folded[pid] = true
		}
	}
	if open == 0 {
		clear(v.folded)
	}
	v.arrange()
}
