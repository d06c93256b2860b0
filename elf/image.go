package elf

// Where an image lives in a pVM, and the guest ABI that it must speak. Source:
// guest/include/kx_abi.h; a test in ipc/abi compares them.
const (
	ImageVA    = 0x00400000
	ImageEnd   = 0x10000000
	ABIVersion = 1
)
