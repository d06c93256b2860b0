//go:build xen

package privcmd

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// resources is what a leak would take: of Xen, of dom0 and of this process. A grant of a domain that
// somebody maps keeps the domain, dying, so domains count maptrack entries as well.
type resources struct {
	domains string // all but dom0, the dying ones too, with what they hold
	frames  uint64 // free
	ports   int    // dom0's
	maps    int    // of /dev/xen/privcmd and /dev/xen/gntdev
	buffers int    // resident ones that are not back
}

func (c *conn) resources() (r resources, err error) {
	list, err := c.domainList()
	if err != nil {
		return r, err
	}
	for _, d := range list {
		if d.Domain != 0 {
			r.domains += fmt.Sprintf(" %d (flags %#x, %d frames)", d.Domain, d.Flags, d.TotPages)
		}
	}
	phys, err := c.physInfo()
	if err != nil {
		return r, err
	}
	r.frames = phys.FreePages + phys.ScrubPages
	if r.ports, err = c.ports(domidSelf); err != nil {
		return r, err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return r, err
	}
	text := string(maps)
	r.maps = strings.Count(text, privcmdPath) + strings.Count(text, "/dev/xen/gntdev")
	r.buffers = strings.Count(text, hypercallPath)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, class := range c.free {
		r.buffers -= len(class)
	}
	return r, nil
}

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// settled is resources once nothing changes any more: Xen frees a domain's frames after a while.
func settled(t testing.TB, c *conn) resources {
	t.Helper()
	var last resources
	same := 0
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		r, err := c.resources()
		if err != nil {
			t.Fatal(err)
		}
		if r != last {
			last, same = r, 0
		} else if same++; same == 5 {
			return r
		}
		if time.Since(begin) > patience {
			t.Fatalf("no peace: %+v", r)
		}
	}
}

// leftovers fails the test unless all is as it was.
func leftovers(t testing.TB, c *conn, before resources, after string) {
	t.Helper()
	var r resources
	for begin := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		var err error
		if r, err = c.resources(); err != nil {
			t.Fatal(err)
		}
		if r == before || r.frames > before.frames && r.but(before) {
			return
		}
		if time.Since(begin) > patience {
			t.Fatalf("%s left something behind: %+v, want %+v", after, r, before)
		}
	}
}

// but tells whether all else than the frames is the same.
func (r resources) but(o resources) bool {
	r.frames = o.frames
	return r == o
}
