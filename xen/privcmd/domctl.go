package privcmd

import (
	"fmt"
	"time"
	"unsafe"

	"kxsh/xen"
)

// Commands of domctl and sysctl. Source: public/domctl.h, public/sysctl.h.
const (
	domctlCreate         = 1
	domctlDestroy        = 2
	domctlPause          = 3
	domctlUnpause        = 4
	domctlGetInfo        = 5
	domctlSetAffinity    = 9
	domctlMaxMem         = 11
	domctlSetVCPUContext = 12
	domctlGetVCPUContext = 13
	domctlMaxVCPUs       = 15
	domctlSchedulerOp    = 16
	domctlSetHandle      = 17
	domctlHypercallInit  = 22
	domctlGetAffinity    = 25
	domctlResume         = 27
	domctlSetTSC         = 60
	sysctlPhysInfo       = 3
	sysctlSchedID        = 4
	sysctlDomainInfoList = 6
	sysctlCPUInfo        = 8
)

var domctlNames = map[uint32]string{
	domctlCreate: "createdomain", domctlDestroy: "destroydomain", domctlPause: "pausedomain",
	domctlUnpause: "unpausedomain", domctlGetInfo: "getdomaininfo", domctlSetAffinity: "setvcpuaffinity",
	domctlMaxMem: "max_mem", domctlSetVCPUContext: "setvcpucontext", domctlGetVCPUContext: "getvcpucontext",
	domctlMaxVCPUs: "max_vcpus", domctlSchedulerOp: "scheduler_op", domctlSetHandle: "setdomainhandle", domctlHypercallInit: "hypercall_init",
	domctlGetAffinity: "getvcpuaffinity", domctlSetTSC: "settscinfo",
	domctlResume: "resumedomain",
}

var sysctlNames = map[uint32]string{
	sysctlPhysInfo: "physinfo", sysctlSchedID: "sched_id", sysctlDomainInfoList: "getdomaininfolist",
	sysctlCPUInfo: "getcpuinfo",
}

const (
	ctlSize     = 256 // of struct xen_domctl and xen_sysctl, with room to spare
	domctlUnion = int(unsafe.Sizeof(domctlHeader{}))
	sysctlUnion = int(unsafe.Sizeof(sysctlHeader{}))
)

// domctl makes one of its calls with arg as its part of the union, which is read back; the result
// is the number in the header afterwards.
func (c *conn) domctl(cmd uint32, id xen.DomID, arg []byte) (xen.DomID, error) {
	b, done, err := c.buffer(ctlSize)
	if err != nil {
		return 0, err
	}
	defer done()
	h := (*domctlHeader)(unsafe.Pointer(&b[0]))
	h.Cmd, h.Version, h.Domain = cmd, c.version.domctl, uint16(id)
	copy(b[domctlUnion:], arg)
	_, err = c.call("domctl "+domctlNames[cmd], hvDomctl, address(b))
	copy(arg, b[domctlUnion:])
	return xen.DomID(h.Domain), err
}

// domctl makes a call whose only result is whether it worked.
func domctl[T any](c *conn, cmd uint32, id xen.DomID, arg *T) error {
	_, err := c.domctl(cmd, id, bytesOf(arg))
	return err
}

func sysctl[T any](c *conn, cmd uint32, arg *T) error {
	b, done, err := c.buffer(ctlSize)
	if err != nil {
		return err
	}
	defer done()
	h := (*sysctlHeader)(unsafe.Pointer(&b[0]))
	h.Cmd, h.Version = cmd, c.version.sysctl
	copy(b[sysctlUnion:], bytesOf(arg))
	_, err = c.call("sysctl "+sysctlNames[cmd], hvSysctl, address(b))
	copy(bytesOf(arg), b[sysctlUnion:])
	return err
}

// domainInfo tells what Xen knows of a domain. Xen 4.17 answers for the next one if it is missing.
func (c *conn) domainInfo(id xen.DomID) (domainInfo, error) {
	var info domainInfo
	_, err := c.domctl(domctlGetInfo, id, bytesOf(&info))
	if err == nil && xen.DomID(info.Domain) != id {
		err = fmt.Errorf("domain %d: %w", id, xen.ErrNoDomain)
	}
	return info, err
}

// domainList is domainInfo of all domains, the host's included, by number.
func (c *conn) domainList() ([]domainInfo, error) {
	const batch = 128
	size := int(unsafe.Sizeof(domainInfo{}))
	b, done, err := c.buffer(batch * size)
	if err != nil {
		return nil, err
	}
	defer done()
	var all []domainInfo
	for first := uint16(0); ; {
		l := domainInfoList{First: first, Max: batch, Buffer: address(b)}
		if err := sysctl(c, sysctlDomainInfoList, &l); err != nil {
			return nil, err
		}
		if l.Num > batch {
			return nil, fmt.Errorf("sysctl getdomaininfolist: %d domains in room for %d", l.Num, batch)
		}
		all = append(all, unsafe.Slice((*domainInfo)(unsafe.Pointer(&b[0])), l.Num)...)
		if l.Num < batch {
			return all, nil
		}
		first = all[len(all)-1].Domain + 1
	}
}

func (c *conn) physInfo() (physInfo, error) {
	var info physInfo
	err := sysctl(c, sysctlPhysInfo, &info)
	return info, err
}

// idle is how long the host's CPUs, numbered below cpus, have had nothing to do, all together.
func (c *conn) idle(cpus uint32) (time.Duration, error) {
	b, done, err := c.buffer(8 * int(cpus)) // of struct xen_sysctl_cpuinfo, which is the time in ns
	if err != nil {
		return 0, err
	}
	defer done()
	l := cpuInfo{Max: cpus, Info: address(b)}
	if err := sysctl(c, sysctlCPUInfo, &l); err != nil {
		return 0, err
	}
	var sum uint64
	for _, ns := range unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), min(l.Num, cpus)) {
		sum += ns
	}
	return time.Duration(sum), nil
}

// create makes an empty domain with one vcpu, paused.
func (c *conn) create(d *createDomain) (xen.DomID, error) {
	id, err := c.domctl(domctlCreate, d.number, d.encode(c.version))
	if err != nil {
		return 0, err
	}
	if err := domctl(c, domctlMaxVCPUs, id, &maxVCPUs{1}); err != nil {
		c.destroy(id)
		return 0, err
	}
	return id, nil
}

// destroy ends a domain; what it held is free once nobody maps its frames any more.
func (c *conn) destroy(id xen.DomID) error {
	return again(func() error {
		_, err := c.domctl(domctlDestroy, id, nil)
		return err
	})
}

func (c *conn) vcpuContext(id xen.DomID) (*vcpuContext, error) {
	v := new(vcpuContext)
	return v, withStruct(c, v, func(at uint64) error {
		return domctl(c, domctlGetVCPUContext, id, &vcpuContextOp{Ctxt: at})
	})
}

func (c *conn) setVCPUContext(id xen.DomID, v *vcpuContext) error {
	return withStruct(c, v, func(at uint64) error {
		return domctl(c, domctlSetVCPUContext, id, &vcpuContextOp{Ctxt: at})
	})
}

// maxCPUs is how many bits of a CPU map Xen is given.
const maxCPUs = 4096

// affinity makes a call about the hard affinity of vcpu 0; set may be nil to only ask.
func (c *conn) affinity(cmd uint32, id xen.DomID, set []byte) ([]byte, error) {
	b, done, err := c.buffer(maxCPUs / 8)
	if err != nil {
		return nil, err
	}
	defer done()
	copy(b, set)
	a := vcpuAffinity{Flags: affinityHard, Hard: bitmap{address(b), maxCPUs, 0}}
	if err := domctl(c, cmd, id, &a); err != nil {
		return nil, err
	}
	return append([]byte(nil), b...), nil
}
