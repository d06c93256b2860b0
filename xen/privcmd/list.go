package privcmd

import (
	"fmt"
	"os"
	"slices"

	"kxsh/xen"
	"kxsh/xen/xenstore"
)

// infXenstore is XEN_DOMINF_xs_domain: xenstored is the domain's only program.
const infXenstore = 1 << 7

// openNames has domains' names kept in xenstore, if there is one.
func (h *Hypervisor) openNames() *xenstore.Register {
	ours := func(u xen.UUID) bool { return [8]byte(u[:8]) == h.key }
	alive := func() (map[xen.DomID]xen.UUID, error) {
		infos, err := h.census()
		alive := map[xen.DomID]xen.UUID{}
		for i := range infos {
			if d := &infos[i]; h.ours(d) && d.Flags&infDying == 0 {
				alive[xen.DomID(d.Domain)] = xen.UUID(d.Handle)
			}
		}
		return alive, err
	}
	apart := func() bool {
		infos, _ := h.census()
		return slices.ContainsFunc(infos, func(d domainInfo) bool { return d.Flags&infXenstore != 0 })
	}
	return xenstore.Open(ours, alive, apart)
}

// census is domainList for a goroutine that Close may not have seen to its end.
func (h *Hypervisor) census() ([]domainInfo, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, os.ErrClosed
	}
	h.c.retain()
	h.mu.Unlock()
	defer h.c.release()
	return h.c.domainList()
}

// register has the domain's name written to xenstore, soon; Release has it removed, also if that comes before and xenstore knows it from elsewhere.
func (d *Domain) register(known bool) {
	d.h.names.Put(xenstore.Entry{ID: d.id, UUID: xen.UUID(d.handle), Name: d.name, Known: known})
}

// label gives a domain of ours that is no pVM a name for xl, where it would be "(null)" without; a start replaces it. unlabel has it removed.
func (h *Hypervisor) label(id xen.DomID, hd handle, name string) {
	h.names.Put(xenstore.Entry{ID: id, UUID: xen.UUID(hd), Name: name})
}

func (h *Hypervisor) unlabel(id xen.DomID, hd handle) { h.names.Drop(id, xen.UUID(hd)) }

// List implements xen.Hypervisor. Weight and affinity would be two hypercalls for each.
func (h *Hypervisor) List() ([]xen.Listed, error) {
	infos, err := h.c.domainList()
	if err != nil {
		return nil, err
	}
	list := make([]xen.Listed, 0, len(infos))
	others := map[xen.DomID]xen.UUID{}
	for i := range infos {
		d := &infos[i]
		if d.Domain == 0 {
			continue
		}
		l := xen.Listed{ID: xen.DomID(d.Domain), UUID: xen.UUID(d.Handle), Ours: h.ours(d), Status: statusOf(d)}
		if !l.Ours {
			others[l.ID] = l.UUID
		} else if own := h.own(d); own != nil && own.useLiving() == nil {
			own.relatives(&l.Status)
			own.mu.RUnlock()
		}
		list = append(list, l)
	}
	if len(others) == 0 {
		return list, nil
	}
	facts := h.names.Facts(others)
	for i := range list {
		if l := &list[i]; !l.Ours {
			l.Name, l.Started = facts[l.ID].Name, facts[l.ID].Started
		}
	}
	return list, nil
}

// own is the domain of Xen's record, if it is in use here.
func (h *Hypervisor) own(info *domainInfo) *Domain {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d := h.domains[xen.DomID(info.Domain)]; d != nil && d.handle == info.Handle {
		return d
	}
	return nil
}

// Force implements xen.Hypervisor.
func (h *Hypervisor) Force(id xen.DomID, uuid xen.UUID, a xen.Action) error {
	info, err := h.c.domainInfo(id)
	if err != nil {
		return err
	}
	if id == 0 || info.Handle != handle(uuid) || h.ours(&info) {
		return fmt.Errorf("domain %d: %w", id, xen.ErrNoDomain)
	}
	if a == xen.ActDestroy {
		return h.c.destroy(id)
	}
	return h.c.setPaused(id, info.Handle, a == xen.ActPause)
}
