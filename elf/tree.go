package elf

import "slices"

// MaxLibraries is how many libraries a pVM can have. Source: guest/include/kx_abi.h.
const MaxLibraries = 16

// Node is a library of an image's dependency tree.
type Node struct {
	Name string // as it is needed
	*Library
	Needs []int // of the tree
}

// Tree finds all libraries that an image needs, and that those need, each once and breadth first: in that order symbols are looked
// for. open is asked for each by its name, and by whom it is needed: the empty string is the image.
func Tree(img *Image, open func(name, neededBy string) (*Library, error)) ([]Node, error) {
	var tree []Node
	if img.Dynamic == nil {
		return nil, nil
	}
	find := func(names []string, by string) (needs []int, err error) {
		for _, name := range names {
			i := slices.IndexFunc(tree, func(n Node) bool { return n.Name == name })
			if i < 0 {
				if i = len(tree); i == MaxLibraries {
					return nil, refuse("needs more than %d libraries", MaxLibraries)
				}
				l, err := open(name, by)
				if err != nil {
					return nil, err
				}
				tree = append(tree, Node{Name: name, Library: l})
			}
			needs = append(needs, i)
		}
		return needs, nil
	}
	if _, err := find(img.Dynamic.Needed, ""); err != nil {
		return nil, err
	}
	for i := 0; i < len(tree); i++ { // it grows
		needs, err := find(tree[i].Needed, tree[i].Name)
		if err != nil {
			return nil, err
		}
		tree[i].Needs = needs
	}
	return tree, nil
}

// initOrder is the order in which the constructors run: each library after those that it needs; of a cycle the one that was reached first
// comes last.
func initOrder(tree []Node) (order []int) {
	seen := make([]bool, len(tree))
	var visit func(i int)
	visit = func(i int) {
		if seen[i] {
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
