package fake

import (
	"maps"
	"slices"

	"kxsh/xen"
)

// Other puts a domain on the host that no engine made, in place of what had its number.
func (h *Host) Other(l xen.Listed) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.others[l.ID] = &l
}

// Touch pauses a domain of an engine, or lets it go on, as somebody else may.
func (h *Host) Touch(id xen.DomID, paused bool) {
	h.mu.Lock()
	g := h.guests[id]
	h.mu.Unlock()
	g.mu.Lock()
	g.paused = paused
	g.moved.Broadcast()
	g.mu.Unlock()
	select {
	case g.touched <- struct{}{}:
	default:
	}
}

// Kill ends a domain of an engine, as somebody else may, and returns when it is gone.
func (h *Host) Kill(id xen.DomID) {
	h.mu.Lock()
	g := h.guests[id]
	h.mu.Unlock()
	(&domain{Guest: g, host: h}).Destroy()
	<-g.gone
}

// List implements xen.Hypervisor: others' domains are listed; each of ours must be asked itself.
func (v *Hypervisor) List() ([]xen.Listed, error) {
	v.host.mu.Lock()
	defer v.host.mu.Unlock()
	var list []xen.Listed
	for _, id := range slices.Sorted(maps.Keys(v.host.others)) {
		list = append(list, *v.host.others[id])
	}
	return list, nil
}

// Force implements xen.Hypervisor.
func (v *Hypervisor) Force(id xen.DomID, uuid xen.UUID, a xen.Action) error {
	v.host.mu.Lock()
	defer v.host.mu.Unlock()
	o := v.host.others[id]
	if o == nil || o.UUID != uuid {
		return xen.ErrNoDomain
	}
	switch a {
	case xen.ActDestroy:
		delete(v.host.others, id)
	case xen.ActPause:
		o.Status.State = xen.StatePaused
	case xen.ActUnpause:
		o.Status.State = xen.StateBlocked
	}
	return nil
}
