package privcmd

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
	"kxsh/xen/xenstore"
)

// A network device is Linux's netback in dom0 and a front end in the domain. The domain gets memory for it here, and finds it granted: dom0 has the right to
// fill in a domain's grant table, as libxl does for the rings of console and xenstore. So a domain needs neither grants nor xenstore itself.

const (
	// firstGrant is the reference of the first page: Xen's tools keep those below for themselves (GNTTAB_NR_RESERVED_ENTRIES).
	firstGrant = 8

	grantPermit = 1 // GTF_permit_access

	// ioctlMapResource is IOCTL_PRIVCMD_MMAP_RESOURCE of include/uapi/xen/privcmd.h.
	ioctlMapResource = unsafe.Sizeof(mapResource{})<<16 | 'P'<<8 | 7

	resourceGrants = 1 // XENMEM_resource_grant_table
)

// mapResource is struct privcmd_mmap_resource.
type mapResource struct {
	Domain uint16
	Type   uint32
	ID     uint32
	Index  uint32
	Num    uint64
	Addr   uint64
}

// grantEntry is struct grant_entry_v1 of public/grant_table.h.
type grantEntry struct {
	Flags, Domain uint16
	Frame         uint32
}

// Plug implements xen.Domain.
func (d *Domain) Plug(n *xen.NIC) (err error) {
	if err := d.useLiving(); err != nil {
		return err
	}
	defer d.mu.RUnlock()
	info, err := d.c.domainInfo(d.id)
	if err != nil {
		return err
	}
	if err := domctl(d.c, domctlMaxMem, d.id, &maxMem{(info.MaxPages + abi.NetPages) * pageSize >> 10}); err != nil {
		return err
	}
	d.base += abi.NetPages
	mfns := make([]uint64, abi.NetPages)
	if err := d.c.populate(d.id, mfns); err != nil {
		return err
	}
	if d.h.dirty {
		if err := d.c.clearFrames(d.id, mfns); err != nil {
			return err
		}
	}
	err = d.c.withFrames(d.id, mfns[:2], protWrite, func(area []byte) error {
		n.Begin(area)
		return nil
	})
	if err == nil {
		err = d.mapNet(mfns)
	}
	if err == nil {
		err = d.grant(mfns)
	}
	if err != nil {
		return err
	}
	port, err := d.c.allocUnbound(d.id)
	if err != nil {
		return err
	}
	n.Describe(d.area[:abi.CtlSize], port, firstGrant)
	defer d.register(true) // what has failed may have been done
	return xenstore.Plug(&xenstore.Entry{ID: d.id, UUID: xen.UUID(d.handle), Name: d.name},
		&xenstore.VIF{MAC: n.MAC, TX: firstGrant, RX: firstGrant + 1, Port: port})
}

// mapNet maps the device's memory into the domain.
func (d *Domain) mapNet(mfns []uint64) error {
	w := newWalker(d.c, d.id, d.top)
	table, err := w.table(abi.NetVa)
	w.close()
	if err != nil {
		return err
	}
	ops := make([]mmuUpdate, len(mfns))
	for i, mfn := range mfns {
		ops[i] = mmuUpdate{Ptr: table<<pageShift + (abi.NetVa/pageSize+uint64(i))%perTable*8, Val: mfn<<pageShift | spanData}
	}
	_, err = d.c.mmuUpdates(d.id, d.id, ops)
	return err
}

// grant lets dom0 use the frames.
func (d *Domain) grant(mfns []uint64) error {
	area, err := d.c.mmap(privcmdPath, d.c.privcmd, 0, pageSize, protWrite)
	if err != nil {
		return err
	}
	defer d.c.munmap(area)
	r := mapResource{Domain: uint16(d.id), Type: resourceGrants, Num: 1, Addr: address(area)}
	if _, err := d.c.ioctl("privcmd map_resource", d.c.privcmd, ioctlMapResource, unsafe.Pointer(&r)); err != nil {
		return fmt.Errorf("grant table of domain %d: %w", d.id, err)
	}
	table := unsafe.Slice((*uint64)(unsafe.Pointer(&area[0])), pageSize/8)
	for i, mfn := range mfns {
		e := grantEntry{Flags: grantPermit, Frame: uint32(mfn)}
		atomic.StoreUint64(&table[firstGrant+i], *(*uint64)(unsafe.Pointer(&e)))
	}
	return nil
}

// wireWait is how long the back end has to make its interface.
const wireWait = 10 * time.Second

// Wire implements xen.Domain.
func (d *Domain) Wire() (*xen.Wire, error) {
	name := fmt.Sprintf("vif%d.0", d.id)
	for end := time.Now().Add(wireWait); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat("/sys/class/net/" + name); err == nil {
			return &xen.Wire{Interface: name}, nil
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("domain %d: %w: Linux has made no %s: load xen-netback", d.id, xen.ErrNoWire, name)
		}
	}
}
