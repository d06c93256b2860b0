package hosted

import (
	"unsafe"

	"kxsh/ipc/abi"
)

// The Go side of stub/state.h; TestLayout compares it with what the C compiler says.
const (
	stubBase = 0x7ff000000000 // and the address of the stub's entry for hypercalls

	stateVA   = 0x7ff000100000
	stateOff  = abi.CtlSize // of the state page in the ctl memfd
	stateSize = 4096
	netOff    = stateOff + stateSize // of the network device's memory
	netSize   = abi.NetPages * abi.PageSize
	ctlSize   = netOff + netSize // of the memfd

	fdSock  = 0
	fdCtl   = 1
	fdBell  = 2
	fdRAM   = 3
	fdImage = 4

	fdTag     = 5
	fdControl = 6
	fdEngine  = 7
	fdFamily  = 8
	fdZygote  = 9
	fdListen  = 10

	stubData = 1 << 20

	portEngine = 1
	portTimer  = 2
	portFamily = 3
	portNet    = 4

	endShutdown = 1
	endFault    = 2

	maxMaps   = 96
	fdLibrary = 64 // and more: a library's file, in stubMap only
	titleSize = 128

	zygoteSpawn = 1

	stubUID   = 0x78000000
	nobodyUID = 65534
)

// stubState is struct stub_state.
type stubState struct {
	Ready        int32
	Built        int32
	Go           uint32
	Seq          uint32
	Waits        uint32
	Sleeping     uint32
	Rang         uint32
	Ended        uint32
	Reason       uint32
	NoMemory     uint32
	Fork         uint32
	Forked       int32
	Answered     uint32 // number of the order that Forked is the answer to
	Map          uint32
	Mapped       int32
	MappedNumber uint32
	Crash        abi.KxCrash
}

// stubMap is struct stub_map.
type stubMap struct {
	VA, Len, Off uint64
	FD, Prot     uint32
}

// stubStart is struct stub_start.
type stubStart struct {
	Entry        uint64
	RSP          uint64
	ImagePages   uint64
	DynamicPages uint64
	RAMVA        uint64
	RAMPages     uint64
	TSCMul       uint32
	TSCShift     int32
	Spin         uint32
	NMaps        uint32
	Frozen       uint32
	Moved        uint32
	Libraries    uint32
	Pad          uint32
	Title        [titleSize]byte
	Maps         [maxMaps]stubMap
}

// bytes returns the message without the unused maps.
func (s *stubStart) bytes() []byte {
	n := unsafe.Offsetof(s.Maps) + uintptr(s.NMaps)*unsafe.Sizeof(s.Maps[0])
	return unsafe.Slice((*byte)(unsafe.Pointer(s)), n)
}

// stubFork is struct stub_fork.
type stubFork struct {
	RIP, RSP    uint64
	Number, Pad uint32
	Title       [titleSize]byte
}

func (s *stubFork) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s))
}

// stubRemap is struct stub_remap.
type stubRemap struct {
	Number, NMaps, NCloses, Pad uint32
	Closes                      [abi.Libraries + 1]uint32
	Pad2                        uint32
	Maps                        [maxMaps]stubMap
}

// bytes returns the message without the unused maps.
func (s *stubRemap) bytes() []byte {
	n := unsafe.Offsetof(s.Maps) + uintptr(s.NMaps)*unsafe.Sizeof(s.Maps[0])
	return unsafe.Slice((*byte)(unsafe.Pointer(s)), n)
}

// zygoteReply is struct zygote_reply.
type zygoteReply struct {
	PID        int32
	Namespaces uint32
	Identity   uint32
	Pad        uint32
}
