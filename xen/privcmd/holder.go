package privcmd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"kxsh/xen"
)

// The read-only pages of a library belong to a domain of their own, the holder, which is never started. It goes when neither the
// engine nor a domain uses the library any more.

// holder is a library's pages; it implements xen.Shared. Hypervisor.mu guards users.
type holder struct {
	h      *Hypervisor
	id     xen.DomID // of the holder
	serial uint32    // in its mark: its number may be another's one day
	mfns   []uint64
	users  int
}

// holdersOf are those of this hypervisor.
func holdersOf(shared []xen.Shared) (list []*holder, err error) {
	for _, s := range shared {
		own, ok := s.(*holder)
		if !ok {
			return nil, fmt.Errorf("library of another hypervisor (%T)", s)
		}
		list = append(list, own)
	}
	return list, nil
}

// Share implements xen.Hypervisor. A second one finds the domain made: that takes longer than all the rest.
func (h *Hypervisor) Share(pages []byte) (xen.Shared, error) {
	s, err := h.takeSpare(), error(nil)
	if s != nil && s.hold(pages) != nil { // somebody has ended it, perhaps
		s = nil
	}
	if s == nil {
		if s, err = h.newHolder(); err == nil {
			err = s.hold(pages)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("library: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.libraries[s.id] = s
	return s, nil
}

// newHolder makes one that has no pages yet.
func (h *Hypervisor) newHolder() (*holder, error) {
	s := &holder{h: h, serial: rand.Uint32(), users: 1}
	var err error
	if s.id, err = h.c.create(&createDomain{handle: s.handle(), evtchnPort: 1}); err == nil {
		h.label(s.id, s.handle(), "kxsh-library")
	}
	return s, err
}

func (s *holder) handle() handle { return s.h.mark(libraryMark, xen.DomID(s.serial)) }

// hold gives it pages, or ends it.
func (s *holder) hold(pages []byte) error {
	c := s.h.c
	s.mfns = make([]uint64, pagesOf(uint64(len(pages))))
	err := domctl(c, domctlMaxMem, s.id, &maxMem{uint64(len(s.mfns)) * pageSize >> 10})
	if err == nil {
		err = c.populate(s.id, s.mfns)
	}
	if err == nil {
		err = c.write(s.id, s.mfns, pages)
	}
	if err != nil {
		s.end()
	}
	return err
}

// takeSpare returns the holder that waits, or nil, and has another one made, if anything is to wait.
func (h *Hypervisor) takeSpare() *holder {
	pool, _ := h.pool.state()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.spare
	h.spare = nil
	if h.sparing || h.closed || pool.Want == 0 {
		return s
	}
	h.sparing = true
	h.spares.Go(func() {
		time.Sleep(refillDelay)
		next, err := h.newHolder()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.sparing = false; err == nil {
			h.spare = next
		}
	})
	return s
}

// closeSpare ends the holder that waits.
func (h *Hypervisor) closeSpare() {
	h.spares.Wait()
	if h.spare != nil {
		h.spare.end()
	}
}

// Close implements xen.Shared.
func (s *holder) Close() error {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	if s.users == 0 {
		return nil
	}
	if s.users--; s.users > 0 {
		return nil
	}
	delete(s.h.libraries, s.id)
	return s.end()
}

// end destroys the domain.
func (s *holder) end() error {
	defer s.h.unlabel(s.id, s.handle())
	err := again(func() error {
		info, err := s.h.c.domainInfo(s.id)
		if serial, ok := s.h.marked(libraryMark, &info); err != nil || !ok || uint32(serial) != s.serial {
			return err
		}
		return s.h.c.destroy(s.id)
	})
	if errors.Is(err, xen.ErrNoDomain) { // somebody else has ended it
		return nil
	}
	return err
}
