package privcmd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"kxsh/xen"
)

// version is which Xen this is and how it wants to be spoken to.
type version struct {
	major, minor   int
	extra          string // e.g. ".5"
	domctl, sysctl uint32 // interface versions
}

func (v version) String() string { return fmt.Sprintf("%d.%d%s", v.major, v.minor, v.extra) }

// interfaces are the versions that Xen 4.minor speaks.
type interfaces struct {
	minor          int
	domctl, sysctl uint32
}

// supported are the versions whose layouts are known, with the interface versions that they speak.
// Source: XEN_DOMCTL_INTERFACE_VERSION and XEN_SYSCTL_INTERFACE_VERSION in public/domctl.h and
// public/sysctl.h of the first and the last release of each, RELEASE-4.17.0 to RELEASE-4.21.2.
var supported = []interfaces{
	{17, 0x15, 0x15}, {18, 0x16, 0x15}, {19, 0x17, 0x15}, {20, 0x17, 0x15}, {21, 0x17, 0x16},
}

// Interface versions that are tried. A wrong one is EACCES.
const firstInterface, lastInterface = 0x10, 0x20

// XENVER_* of public/version.h.
const (
	xenverVersion      = 0
	xenverExtraVersion = 1
	xenverCommandLine  = 9
)

// probe finds out which Xen this is. ask tells whether an interface version is accepted.
func probe(release int64, extra string, domctl, sysctl func(uint32) error) (version, error) {
	v := version{major: int(release >> 16), minor: int(release & 0xffff), extra: extra}
	var err error
	if v.domctl, err = probeInterface("domctl", domctl); err != nil {
		return v, fmt.Errorf("Xen %v: %w", v, err)
	}
	if v.sysctl, err = probeInterface("sysctl", sysctl); err != nil {
		return v, fmt.Errorf("Xen %v: %w", v, err)
	}
	for _, s := range supported {
		if v.major == 4 && v.minor == s.minor && v.domctl == s.domctl && v.sysctl == s.sysctl {
			return v, nil
		}
	}
	return v, fmt.Errorf("Xen %v (domctl %#x, sysctl %#x) is not supported: this kxsh knows 4.%d to 4.%d",
		v, v.domctl, v.sysctl, supported[0].minor, supported[len(supported)-1].minor)
}

func probeInterface(name string, ask func(uint32) error) (uint32, error) {
	for v := uint32(firstInterface); v < lastInterface; v++ {
		err := ask(v)
		switch {
		case err == nil:
			return v, nil
		case !errors.Is(err, unix.EACCES):
			return 0, err
		}
	}
	return 0, fmt.Errorf("%s: no interface version from %#x to %#x is accepted: not Xen's control domain, or an unknown Xen",
		name, firstInterface, lastInterface-1)
}

// probe asks this Xen.
func (c *conn) probe() (err error) {
	release, err := c.call("xen_version", hvXenVersion, xenverVersion, 0)
	if err != nil {
		return err
	}
	extra, err := c.versionString(xenverExtraVersion, 16)
	if err != nil {
		return err
	}
	c.version, err = probe(release, extra,
		func(v uint32) error {
			c.version.domctl = v
			_, err := c.domainInfo(0)
			return err
		},
		func(v uint32) error {
			c.version.sysctl = v
			_, err := c.physInfo()
			return err
		})
	return err
}

// versionString reads one of the texts of xen_version, of at most n bytes.
func (c *conn) versionString(what uint64, n int) (string, error) {
	b, done, err := c.buffer(n)
	if err != nil {
		return "", err
	}
	defer done()
	if _, err := c.call("xen_version", hvXenVersion, what, address(b)); err != nil {
		return "", err
	}
	s, _, _ := strings.Cut(string(b), "\x00")
	return s, nil
}

// createDomain is what struct xen_domctl_createdomain says of a PV domain.
type createDomain struct {
	number     xen.DomID // 0: the next free one; else EEXIST if there is anything of a domain with that one
	handle     handle
	evtchnPort uint32 // the highest
}

// What a domain may make Xen hold for it, beside its memory and event channels. 4 frames are 2048 grants,
// enough for the rings and buffers of network and disk. It maps nobody's grants: what pVMs share, dom0
// maps for them; so it has no maptrack frame.
const (
	maxGrantFrames    = 4
	maxMaptrackFrames = 0
	grantVersion      = 1 // grant_opts: XEN_DOMCTL_GRANT_version(1); version 2 has status frames as well
)

// encode lays the struct out as this version of Xen has it. Source: public/domctl.h of RELEASE-4.17.0 to
// RELEASE-4.21.2. The first 48 bytes are the same in all: ssidref, handle (at 4), flags (20), iommu_opts,
// max_vcpus (28), max_evtchn_port, max_grant_frames (36), max_maptrack_frames, grant_opts (44). Then come
// vmtrace_size, cpupool_id and arch; from 4.19 on behind a word altp2m_opts, which 4.21 splits into
// altp2m.opts and altp2m.nr of 16 bits. All of these are 0 for a PV domain of the first CPU pool.
func (d *createDomain) encode(v version) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, createSize419)
	b = le.AppendUint32(b, 0) // ssidref
	b = append(b, d.handle[:]...)
	b = le.AppendUint32(b, 0) // flags
	b = le.AppendUint32(b, 0) // iommu_opts
	b = le.AppendUint32(b, 1) // max_vcpus
	b = le.AppendUint32(b, d.evtchnPort)
	b = le.AppendUint32(b, maxGrantFrames)
	b = le.AppendUint32(b, maxMaptrackFrames)
	b = le.AppendUint32(b, grantVersion)
	if v.domctl >= domctl419 {
		return b[:createSize419]
	}
	return b[:createSize417]
}

// Sizes of struct xen_domctl_createdomain, in bytes, and from which interface version on there is altp2m.
const (
	createSize417 = 64
	createSize419 = 68
	domctl419     = 0x17
)
