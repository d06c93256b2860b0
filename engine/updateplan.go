package engine

import (
	"cmp"
	"slices"

	"kxsh/elf"
	"kxsh/ipc"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// prepare finds room for the new library, makes the plan, and room for that.
func (u *update) prepare() error {
	if u.rec.Dynamic.Pages == 0 {
		return u.refuse(CodeInvalid, "was started by an earlier kxsh, which left no room for another library")
	}
	// A hypervisor counts what stays as it does libraries, and so would a fork.
	if n := len(u.rec.Kept); n > 0 && n+len(u.rec.Libraries) >= abi.Libraries {
		return u.refuse(CodeLimit, "uses constants of %d old libraries still: a pVM that is started anew does not", n)
	}
	linked, err := u.e.linkedOf(u.p)
	if err != nil {
		return u.refuse(CodeChanged, "%v", err)
	}
	rooms := u.rec.rooms()
	take := func(pages uint64) (xen.Range, error) {
		r, err := rooms.take(pages)
		if err != nil {
			err = u.refuse(CodeLimit, "%v", err)
		}
		return r, err
	}
	at, err := take(u.file.elf.Pages())
	if err != nil {
		return err
	}
	now, changes, err := linked.Replace(u.index, u.file.elf, at.VA)
	if err != nil {
		return u.refuse(CodeChanged, "%s: %v", u.New.Path, err)
	}
	u.now, u.BaseWord = now, linked.BaseWord(u.index)
	u.Old = u.rec.Libraries[u.index].pages()
	u.at, _ = u.New.place(&now.Libraries[u.index], 0)
	if u.pages, err = u.e.pages(u.file, u.New.Path); err != nil {
		return err
	}
	for _, part := range changes.Parts {
		if part.Kind == elf.UpdateCode {
			u.Code = append(u.Code, xen.Range{VA: part.VA, Pages: (part.End - part.VA) / elf.PageSize})
		}
	}
	plan := planOf(changes)
	if u.Plan, err = take(plan.Size() / elf.PageSize); err != nil {
		return err
	}
	if u.shared, err = u.e.hv.Share(plan.Encode(u.Plan.VA)); err != nil {
		return u.refuse(CodeInternal, "the plan: %v", err)
	}
	u.at = append(u.at, xen.Mapping{Range: u.Plan, Of: 1, Prot: elf.Read})
	byAddress(u.at)
	return nil
}

// rooms is what of a dynamic segment is taken.
type rooms struct {
	in   xen.Range
	used []xen.Range
}

func (rec *record) rooms() *rooms {
	r := &rooms{rec.Dynamic, slices.Clone(rec.Kept)}
	for _, l := range rec.Libraries {
		r.used = append(r.used, l.pages())
	}
	return r
}

// take finds room for so many pages, and takes it.
func (r *rooms) take(pages uint64) (xen.Range, error) {
	at := xen.Range{VA: room(r.in, r.used, pages), Pages: pages}
	if at.VA == 0 {
		return at, errf(CodeLimit, "there is no room for %d pages among its libraries: a pVM that is started anew has some", pages)
	}
	r.used = append(r.used, at)
	return at, nil
}

// room is the first address of a dynamic segment where so many pages have room, after one that is not mapped; 0: there is none.
func room(in xen.Range, used []xen.Range, pages uint64) uint64 {
	used = slices.SortedFunc(slices.Values(used), func(a, b xen.Range) int { return cmp.Compare(a.VA, b.VA) })
	at := in.VA + elf.PageSize
	for _, r := range append(used, xen.Range{VA: in.VA + (in.Pages+1)*elf.PageSize}) {
		if at+(pages+1)*elf.PageSize <= r.VA {
			return at
		}
		at = max(at, r.VA+(r.Pages+1)*elf.PageSize)
	}
	return 0
}

// planOf is what the linker says, as the pVM gets it.
func planOf(u *elf.Update) *ipc.Update {
	word := func(w elf.Word) ipc.UpdateWord { return ipc.UpdateWord(w) }
	return &ipc.Update{
		Old: ipc.UpdateSpan(u.Old), New: ipc.UpdateSpan(u.New),
		Parts:    each(u.Parts, func(p elf.Part) ipc.UpdatePart { return ipc.UpdatePart(p) }),
		Pages:    each(u.Pages, func(p elf.Page) ipc.UpdatePage { return ipc.UpdatePage(p) }),
		Moves:    each(u.Moves, func(m elf.Move) ipc.UpdateMove { return ipc.UpdateMove(m) }),
		Literals: each(u.Literals, word),
		Words:    each(u.Words, word),
	}
}

// byAddress puts mappings in the order in which a hypervisor takes them.
func byAddress(at []xen.Mapping) {
	slices.SortFunc(at, func(a, b xen.Mapping) int { return cmp.Compare(a.VA, b.VA) })
}

func each[A, B any](list []A, to func(A) B) []B {
	result := make([]B, len(list))
	for i, v := range list {
		result[i] = to(v)
	}
	return result
}
