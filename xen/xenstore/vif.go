package xenstore

import (
	"fmt"
	"strconv"

	"kxsh/xen"
)

// VIF is a network device, as its front end tells of it.
type VIF struct {
	MAC    [6]byte
	TX, RX uint32 // grant references of the rings
	Port   uint32 // of the domain's end of the event channel
}

// States of a device: enum xenbus_state of public/io/xenbus.h.
const (
	stateInitialising = "1"
	stateConnected    = "4"
)

// Plug writes what Linux's netback looks for: both ends of the device, the front end's for the domain. That names the domain, too. Drop removes both.
//
// Source: public/io/netif.h, and drivers/net/xen-netback/xenbus.c of Linux. The back end calls no script that it was not told of, and
// waits for one unless hotplug-status is there.
func Plug(e *Entry, v *VIF) error {
	c, err := dialSocket(devicePatience)
	if err != nil {
		return fmt.Errorf("xenstore: %w: a network device needs xenstored: start it", err)
	}
	defer c.close()
	dom, front, back := domainPath(e.ID), domainPath(e.ID)+"/device/vif/0", backPath(e.ID)+"/0"
	id, number := strconv.Itoa(int(e.ID)), func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	m := v.MAC
	mac := fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
	return c.transaction(func(tx uint32) error {
		return c.change(tx,
			remove(dom), remove(backPath(e.ID)), // of a domain that had the number before
			set(dom+"/vm", vmPath(e.UUID)), set(dom+"/domid", id),
			set(front+"/backend", back), set(front+"/backend-id", "0"), set(front+"/handle", "0"), set(front+"/mac", mac),
			set(front+"/tx-ring-ref", number(v.TX)), set(front+"/rx-ring-ref", number(v.RX)), set(front+"/event-channel", number(v.Port)),
			set(front+"/request-rx-copy", "1"), set(front+"/feature-rx-notify", "1"), set(front+"/feature-no-csum-offload", "1"),
			set(front+"/state", stateConnected),
			set(back+"/frontend", front), set(back+"/frontend-id", id), set(back+"/online", "1"), set(back+"/handle", "0"),
			set(back+"/mac", mac), set(back+"/script", "/bin/true"), set(back+"/type", "vif"), set(back+"/hotplug-status", "connected"),
			set(back+"/state", stateInitialising),
		)
	})
}

func backPath(id xen.DomID) string { return "/local/domain/0/backend/vif/" + strconv.Itoa(int(id)) }
