package elf

import "slices"

// MaxLibraries is how many libraries a pVM can have. Source: guest/include/kx_abi.h.
const MaxLibraries = 16

// Node is a library of an image's dependency tree.
type Node struct {
	Name string // as it is needed
	*Library
	Needs []int // of the tree
	Own   bool  // what it refers to is its own, if it has that, even if the image has it too
}

// Opener finds a library by its name, and by whom it is needed: the empty string is the program. One that is there by another name is the same one.
type Opener func(name, neededBy string) (*Library, error)

// Tree finds all libraries that an image needs, and that those need, each once and breadth first: in that order symbols are looked for.
func Tree(img *Image, open Opener) ([]Node, error) {
	if img.Dynamic == nil {
		return nil, nil
	}
	g := grower{open: open}
	if _, err := g.find(img.Dynamic.Needed, ""); err != nil {
		return nil, err
	}
	return g.tree, g.grow(0)
}

// Grow finds a library for a program that runs, and those that it needs. The result are the program's, which stay as they are, those that are new behind
// them, and which of them is the one that is wanted.
func (l *Linked) Grow(name string, open Opener) (tree []Node, wanted int, err error) {
	g := grower{open: open}
	for _, p := range l.Libraries {
		g.tree = append(g.tree, p.Node)
	}
	at, err := g.find([]string{name}, "")
	if err != nil {
		return nil, 0, err
	}
	return g.tree, at[0], g.grow(len(l.Libraries))
}

// grower makes a tree.
type grower struct {
	open Opener
	tree []Node
}

// find is where in the tree libraries are that one needs.
func (g *grower) find(names []string, by string) (needs []int, err error) {
	for _, name := range names {
		i := slices.IndexFunc(g.tree, func(n Node) bool { return n.Name == name })
		if i < 0 {
			l, err := g.open(name, by)
			if err != nil {
				return nil, err
			}
			if i = slices.IndexFunc(g.tree, func(n Node) bool { return n.Library == l }); i < 0 {
				i = len(g.tree)
				g.tree = append(g.tree, Node{Name: name, Library: l})
			}
		}
		if i >= MaxLibraries {
			return nil, refuse("needs more than %d libraries", MaxLibraries)
		}
		needs = append(needs, i)
	}
	return needs, nil
}

// grow finds what the libraries from the first on need.
func (g *grower) grow(first int) error {
	for i := first; i < len(g.tree); i++ { // it grows
		needs, err := g.find(g.tree[i].Needed, g.tree[i].Name)
		if err != nil {
			return err
		}
		g.tree[i].Needs = needs
	}
	return nil
}

// initOrder is the order in which the constructors of those from the first on run: each library after those that it needs; of a cycle the one that
// was reached first comes last.
func initOrder(tree []Node, first int) (order []int) {
	seen := make([]bool, len(tree))
	var visit func(i int)
	visit = func(i int) {
		if i < first || seen[i] {
			return
		}
		seen[i] = true
		for _, n := range tree[i].Needs {
			visit(n)
		}
		order = append(order, i)
	}
	for i := range tree {
		visit(i)
	}
	return order
}
