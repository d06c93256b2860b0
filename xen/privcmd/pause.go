package privcmd

import (
	"fmt"

	"kxsh/xen"
)

// maxPauses is how many pauses of a domain Xen counts for the host: the counter has a byte.
const maxPauses = 256

// setPaused pauses a domain, or lets it go on, whoever paused it how often: Xen counts.
func (c *conn) setPaused(id xen.DomID, h handle, paused bool) error {
	for range maxPauses {
		info, err := c.domainInfo(id)
		if err == nil && info.Handle != h {
			err = fmt.Errorf("domain %d: %w", id, xen.ErrNoDomain)
		}
		if err != nil || info.Flags&infPaused != 0 == paused {
			return err
		}
		cmd := uint32(domctlUnpause)
		if paused {
			cmd = domctlPause
		}
		if _, err := c.domctl(cmd, id, nil); err != nil {
			return err
		}
	}
	return fmt.Errorf("domain %d: somebody else pauses it again and again", id)
}

// Unpause implements xen.Domain.
func (d *Domain) Unpause() error { return d.setPaused(false) }

// Pause implements xen.Domain.
func (d *Domain) Pause() error { return d.setPaused(true) }

func (d *Domain) setPaused(paused bool) (err error) {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	d.pauses.Lock()
	defer d.pauses.Unlock()
	if d.fresh && !paused {
		// Nobody else knows it yet: one call, and it runs.
		_, err = d.c.domctl(domctlUnpause, d.id, nil)
	} else {
		err = d.c.setPaused(d.id, d.handle, paused)
	}
	if err == nil {
		d.paused.Store(paused)
		d.fresh = d.fresh && paused
	}
	return err
}

// Touched implements xen.Domain.
func (d *Domain) Touched() <-chan struct{} { return d.touched }

// noticePaused compares what Xen said a moment ago with what we did.
func (d *Domain) noticePaused(paused bool) {
	if d.paused.Load() == paused || !d.pauses.TryLock() {
		return // or it is being changed by us
	}
	defer d.pauses.Unlock()
	info, err := d.c.domainInfo(d.id)
	if err != nil || info.Handle != d.handle {
		return
	}
	if paused = info.Flags&infPaused != 0; d.paused.Load() == paused {
		return
	}
	d.paused.Store(paused)
	select {
	case d.touched <- struct{}{}:
	default:
	}
}
