package privcmd

// The structs of Xen's public headers that this package uses, named after them: domctl.h, sysctl.h,
// memory.h, event_channel.h, xen.h, arch-x86/xen.h and arch-x86/xen-x86_64.h in xen/include/public.
// They are the same from 4.17 to 4.21; version.go holds what differs. Pointers (XEN_GUEST_HANDLE_64) are
// uint64. layout_test.go checks sizes and offsets against those that gcc gives the headers of the first
// and the last release of each version.

type domctlHeader struct { // struct xen_domctl, before u
	Cmd     uint32
	Version uint32
	Domain  uint16
	_       [3]uint16
}

type sysctlHeader struct { // struct xen_sysctl, before u
	Cmd     uint32
	Version uint32
}

type domainInfo struct { // struct xen_domctl_getdomaininfo
	Domain          uint16
	_               uint16
	Flags           uint32
	TotPages        uint64
	MaxPages        uint64
	Outstanding     uint64
	ShrPages        uint64
	PagedPages      uint64
	SharedInfoFrame uint64
	CPUTime         uint64 // ns
	OnlineVCPUs     uint32
	MaxVCPUID       uint32
	SSIDRef         uint32
	Handle          handle
	CPUPool         uint32
	_               [16]byte // gpaddr_bits, arch_config
}

// handle is xen_domain_handle_t: a domain's UUID.
type handle [16]byte

// domainInfo.Flags: XEN_DOMINF_*
const (
	infDying         = 1 << 0
	infShutdown      = 1 << 2
	infPaused        = 1 << 3
	infBlocked       = 1 << 4
	infShutdownShift = 16
	infShutdownMask  = 255
)

type maxMem struct{ MaxKB uint64 }
type maxVCPUs struct{ Max uint32 }
type hypercallInit struct{ GMFN uint64 }

type tscInfo struct { // struct xen_domctl_tsc_info
	Mode        uint32
	GTSCKHz     uint32
	Incarnation uint32
	_           uint32
	ElapsedNsec uint64
}

// tscNative is TSC_MODE_NEVER_EMULATE: rdtsc is the CPU's own, and vcpu_time_info scales it.
const tscNative = 2

type vcpuContextOp struct { // struct xen_domctl_vcpucontext
	VCPU uint32
	_    uint32
	Ctxt uint64
}

type bitmap struct { // struct xenctl_bitmap
	Bitmap uint64
	NrBits uint32
	_      uint32
}

type vcpuAffinity struct { // struct xen_domctl_vcpuaffinity
	VCPU  uint32
	Flags uint32
	Hard  bitmap
	Soft  bitmap
}

const affinityHard = 1

type schedulerOp struct { // struct xen_domctl_scheduler_op with sched_credit or sched_credit2
	SchedID uint32
	Cmd     uint32
	Weight  uint16
	Cap     uint16
	_       [12]byte
}

const (
	schedPut = 0
	schedGet = 1
)

type physInfo struct { // struct xen_sysctl_physinfo
	ThreadsPerCore uint32
	CoresPerSocket uint32
	NrCPUs         uint32
	MaxCPUID       uint32
	NrNodes        uint32
	MaxNodeID      uint32
	CPUKHz         uint32
	Capabilities   uint32
	ArchCaps       uint32
	_              uint32
	TotalPages     uint64
	FreePages      uint64
	ScrubPages     uint64
	Outstanding    uint64
	MaxMFN         uint64
	HWCap          [8]uint32
}

type schedID struct{ ID uint32 }

type domainInfoList struct { // struct xen_sysctl_getdomaininfolist
	First  uint16
	_      uint16
	Max    uint32
	Buffer uint64
	Num    uint32
	_      uint32
}

type cpuInfo struct { // struct xen_sysctl_getcpuinfo
	Max  uint32
	_    uint32
	Info uint64
	Num  uint32
	_    uint32
}

type memoryReservation struct { // struct xen_memory_reservation
	ExtentStart uint64
	NrExtents   uint64
	ExtentOrder uint32
	MemFlags    uint32
	DomID       uint16
	_           [3]uint16
}

type mmuExtOp struct { // struct mmuext_op
	Cmd  uint32
	_    uint32
	Arg1 uint64
	Arg2 uint64
}

const (
	mmuPinL4     = 3
	mmuClearPage = 16
)

type multicall struct { // struct multicall_entry
	Op     uint64
	Result int64
	Arg    [6]uint64
}

type mmuUpdate struct { // struct mmu_update
	Ptr uint64 // machine address of the entry; its low bits are a command, 0 to write
	Val uint64
}

type evtchnAllocUnbound struct { // struct evtchn_alloc_unbound
	Dom, Remote uint16
	Port        uint32
}

type evtchnStatus struct { // struct evtchn_status
	Dom    uint16
	_      uint16
	Port   uint32
	Status uint32
	VCPU   uint32
	U      [2]uint32
}

type grantSize struct { // struct gnttab_query_size
	Dom       uint16
	_         uint16
	Frames    uint32
	MaxFrames uint32
	Status    int16
	_         uint16
}

type userRegs struct { // struct cpu_user_regs
	R15, R14, R13, R12, RBP, RBX    uint64
	R11, R10, R9, R8, RAX, RCX, RDX uint64
	RSI, RDI                        uint64
	ErrorCode, EntryVector          uint32
	RIP                             uint64
	CS                              uint16
	_                               uint16
	SavedUpcallMask                 uint8
	_                               [3]uint8
	RFlags, RSP                     uint64
	SS                              uint16
	_                               [3]uint16
	ES                              uint16
	_                               [3]uint16
	DS                              uint16
	_                               [3]uint16
	FS                              uint16
	_                               [3]uint16
	GS                              uint16
	_                               [3]uint16
}

type trapInfo struct { // struct trap_info
	Vector  uint8
	Flags   uint8
	CS      uint16
	_       uint32
	Address uint64
}

type vcpuContext struct { // struct vcpu_guest_context
	FPU                [512]byte
	Flags              uint64
	Regs               userRegs
	Traps              [256]trapInfo
	LDTBase, LDTEnts   uint64
	GDTFrames          [16]uint64
	GDTEnts            uint64
	KernelSS, KernelSP uint64
	CtrlReg, DebugReg  [8]uint64
	EventCallback      uint64
	FailsafeCallback   uint64
	SyscallCallback    uint64
	VMAssist           uint64
	FSBase             uint64
	GSBaseKernel       uint64
	GSBaseUser         uint64
}

// vcpuContext.Flags: VGCF_*
const (
	vgcfInKernel      = 1 << 2
	vgcfFailsafeMasks = 1 << 3 // failsafe_disables_events
	vgcfSyscallMasks  = 1 << 4 // syscall_disables_events
	vgcfOnline        = 1 << 5
)

// mmapBatch is struct privcmd_mmapbatch_v2 of Linux.
type mmapBatch struct {
	Num  uint32
	Dom  uint16
	_    uint16
	Addr uint64
	Arr  uint64
	Err  uint64
}
