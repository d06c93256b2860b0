package privcmd

import (
	"kxsh/xen"
)

// Listed is a domain as Xen knows it, whoever made it.
type Listed struct {
	ID     xen.DomID
	Handle [16]byte // its UUID
	Ours   bool     // made by an engine with this key
	Status xen.Status
}

// List describes all domains of the host, dom0 and the dying ones included, by number. Weight and
// affinity are left out: they would be two hypercalls for each.
func (h *Hypervisor) List() ([]Listed, error) {
	infos, err := h.c.domainList()
	if err != nil {
		return nil, err
	}
	list := make([]Listed, len(infos))
	for i := range infos {
		d := &infos[i]
		list[i] = Listed{xen.DomID(d.Domain), d.Handle, h.ours(d), statusOf(d)}
	}
	return list, nil
}
