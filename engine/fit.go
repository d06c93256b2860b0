package engine

import (
	"slices"
	"time"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// outfit is an application with all libraries that it needs.
type outfit struct {
	nodes []elf.Node   // the application first
	files []*library   // theirs
	uses  []LibraryUse // theirs, without their places
	lazy  bool         // calls are bound when they are made first
	used  time.Time    // when it was wanted last, guarded by placeholders.mu
}

// like tells whether two outfits are linked in the same way: they are of the same files, which nobody has changed in between, by the same names.
func (o *outfit) like(other *outfit) bool {
	same := func(a, b LibraryUse) bool { return a.Name == b.Name && a.Path == b.Path }
	return o.lazy == other.lazy && slices.Equal(o.files, other.files) && slices.EqualFunc(o.uses, other.uses, same)
}

// lasts tells whether another start can have the same pages. It cannot those of a library of which each pVM has its own.
func (o *outfit) lasts() bool {
	return !slices.ContainsFunc(o.uses, func(u LibraryUse) bool { return u.Loader == elf.LoaderSelf.String() })
}

// fit is how an outfit goes into the dynamic segment of a placeholder.
type fit struct {
	*outfit
	uses   []LibraryUse // with their places
	now    *elf.Linked
	shared []xen.Shared // what no pVM writes to
	at     []xen.Mapping
	plan   uint64      // the address where the LibOS finds what else is to do
	inline []byte      // the plan, if it is in the control area
	kept   []xen.Range // else
	pages  xen.Shared  // of kept, to be closed
	mapped bool
}

// fitInto finds out what of an outfit goes where in a placeholder. The caller calls done when it is mapped, or will not be.
func (e *Engine) fitInto(p *pvm, o *outfit) (f *fit, err error) {
	dynamic, was := p.rec.Dynamic, p.linked.Load()
	f = &fit{outfit: o, uses: slices.Clone(o.uses)}
	var changes *elf.Update
	if f.now, changes, err = was.Load(o.nodes, dynamic.VA, o.lazy); err != nil {
		return nil, err
	}
	word, ok := was.Variable(applicationWord, 8)
	if !ok {
		return nil, errf(CodeInternal, "%s has no %s", placeholderImage, applicationWord)
	}
	changes.Set(word, f.now.Libraries[0].Base+entryOf(o.files[0].elf))
	var used []xen.Range
	for i, file := range o.files {
		use := &f.uses[i]
		at, _ := use.place(&f.now.Libraries[i], i)
		pages, err := e.pages(file, use.Path)
		if err != nil {
			return nil, err
		}
		f.at, f.shared, used = append(f.at, at...), append(f.shared, pages), append(used, use.pages())
	}
	if err := f.place(e, planOf(changes), dynamic, used); err != nil {
		return nil, err
	}
	byAddress(f.at)
	return f, nil
}

// place says where the LibOS finds the plan: in the control area, where that has room for a task, or, if it is too large, in pages of the dynamic segment, which stay.
func (f *fit) place(e *Engine, plan *ipc.Update, dynamic xen.Range, used []xen.Range) (err error) {
	if plan.Size() <= abi.TaskSize {
		f.plan, f.inline = abi.TaskVa, plan.Encode(abi.TaskVa)
		return nil
	}
	path := f.uses[0].Path
	if len(f.files) == abi.Libraries { // a hypervisor counts what stays as it does libraries
		return errf(CodeLimit, "%s: it is large, and with %d libraries: at most %d have room then", path, len(f.files)-1, abi.Libraries-2)
	}
	at := xen.Range{Pages: plan.Size() / elf.PageSize}
	if at.VA = room(dynamic, used, at.Pages); at.VA == 0 {
		return errf(CodeLimit, "%s: there is no room for %d pages beside its libraries", path, at.Pages)
	}
	if f.pages, err = e.hv.Share(plan.Encode(at.VA)); err != nil {
		return err
	}
	f.at, f.shared = append(f.at, xen.Mapping{Range: at, Of: len(f.shared), Prot: elf.Read}), append(f.shared, f.pages)
	f.plan, f.kept = at.VA, []xen.Range{at}
	return nil
}

func (f *fit) done() {
	if f.pages != nil {
		f.pages.Close()
	}
}

// begin maps it, if that was not done before, and has a placeholder begin that sleeps until it is told.
func (f *fit) begin(p *pvm, tell func()) error {
	if f.mapped {
		tell()
		return p.dom.Notify()
	}
	return p.dom.MapFor(f.shared, f.at, tell)
}

// prepare maps an outfit in a placeholder that waits. Nothing of it runs, or is written to, before the LibOS is told.
func (e *Engine) prepare(p *pvm, o *outfit) (*fit, error) {
	f, err := e.fitInto(p, o)
	if err != nil {
		return nil, err
	}
	defer f.done()
	if err := p.dom.Map(f.shared, f.at, nil); err != nil {
		return nil, err
	}
	f.mapped = true
	return f, nil
}

// clear takes away what prepare has mapped.
func (f *fit) clear(p *pvm) error {
	var all []xen.Range
	for _, m := range f.at {
		all = append(all, m.Range)
	}
	return p.dom.Unmap(all...)
}
