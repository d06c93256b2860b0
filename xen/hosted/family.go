package hosted

import (
	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
)

// The family area of a domain is a memory file that all members of its family map. Each blank has one, made while it waits;
// whoever a fork makes gets its parent's instead. It is as large as it may become: pages that nobody has touched cost nothing.

const familySize = abi.FamilyPages * abi.PageSize

const familyName = "kx-family" // of the memory file

func newFamily() (int, error) { return sizedMemfd(familyName, familySize) }

// Family implements xen.Domain.
func (d *Domain) Family(uint64) (uint64, error) { return abi.FamilyPages, nil }

// joinFamily gives a blank that is to be a member the area of its family instead of its own.
func (b *blank) joinFamily(area int) error {
	fd, err := dup(area)
	if err != nil {
		return err
	}
	closeAll(b.family)
	b.family = fd
	return nil
}

// familyOf opens the family area of a domain that an earlier engine made, or -1: the domain can put anything in its place.
func familyOf(proc string) int {
	fd, err := reopen(proc, fdFamily, unix.O_RDWR)
	if err != nil {
		return -1
	}
	if isMemory(fd, familySize) != nil {
		closeAll(fd)
		return -1
	}
	return fd
}

// familyBytes is what the family area has of the host's memory, for all its members.
func (p *process) familyBytes() uint64 {
	var st unix.Stat_t
	if unix.Fstat(p.family, &st) != nil {
		return 0
	}
	return uint64(st.Blocks) * block
}
