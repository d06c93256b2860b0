/*
 * xen_abi.h: the part of Xen's x86-64 para-virtual ABI that a pVM uses.
 * Values and layouts are those of Xen's public headers (xen/include/public/xen.h, sched.h,
 * event_channel.h, callback.h, elfnote.h, arch-x86/xen.h); the hosted hypervisor answers the same
 * calls in the same way.
 *
 * A hypercall is `call hypercall_page + 32 * number`, arguments in rdi rsi rdx r10 r8, result in
 * rax; every other register is kept.
 */
#ifndef XEN_ABI_H
#define XEN_ABI_H

/* xen/include/public/elfnote.h; the note's name is "Xen" */
#define XEN_ELFNOTE_ENTRY 1
#define XEN_ELFNOTE_HYPERCALL_PAGE 2
#define XEN_ELFNOTE_VIRT_BASE 3
#define XEN_ELFNOTE_PADDR_OFFSET 4
#define XEN_ELFNOTE_XEN_VERSION 5
#define XEN_ELFNOTE_GUEST_OS 6
#define XEN_ELFNOTE_GUEST_VERSION 7
#define XEN_ELFNOTE_LOADER 8
#define XEN_ELFNOTE_PAE_MODE 9

#define HYPERVISOR_SIZE 32 /* bytes of one entry of the hypercall page */
#define __HYPERVISOR_set_trap_table 0
#define __HYPERVISOR_mmu_update 1
#define __HYPERVISOR_memory_op 12
#define __HYPERVISOR_multicall 13
#define __HYPERVISOR_update_va_mapping 14
#define __HYPERVISOR_set_timer_op 15
#define __HYPERVISOR_xen_version 17
#define __HYPERVISOR_console_io 18
#define __HYPERVISOR_iret 23
#define __HYPERVISOR_vcpu_op 24
#define __HYPERVISOR_set_segment_base 25
#define __HYPERVISOR_mmuext_op 26
#define __HYPERVISOR_sched_op 29
#define __HYPERVISOR_callback_op 30
#define __HYPERVISOR_event_channel_op 32

#define XENMEM_decrease_reservation 1
#define XENMEM_populate_physmap 6
#define DOMID_SELF 0x7ff0

#define SCHEDOP_yield 0
#define SCHEDOP_block 1
#define SCHEDOP_poll 3
#define SCHEDOP_shutdown 2
#define SHUTDOWN_poweroff 0
#define SHUTDOWN_reboot 1
#define SHUTDOWN_suspend 2
#define SHUTDOWN_crash 3

#define EVTCHNOP_bind_interdomain 0
#define EVTCHNOP_bind_virq 1
#define EVTCHNOP_close 3
#define EVTCHNOP_send 4
#define EVTCHNOP_status 5
#define EVTCHNSTAT_interdomain 2 /* the other end is there */
#define EVTCHNOP_alloc_unbound 6
#define EVTCHNOP_unmask 9
#define VIRQ_TIMER 0

#define VCPUOP_stop_periodic_timer 7

#define CALLBACKOP_register 0
#define CALLBACKTYPE_event 0
#define CALLBACKTYPE_failsafe 1

#define SEGBASE_FS 0

#define XENVER_version 0
#define XENVER_get_features 6
#define XENFEAT_auto_translated_physmap 2 /* frame numbers are machine frame numbers */

#define UVMF_NONE 0
#define UVMF_TLB_FLUSH 1
#define UVMF_INVLPG 2
#define UVMF_LOCAL 0
#define UVMF_ALL 4

#define MMUEXT_TLB_FLUSH_LOCAL 6

#define XEN_LEGACY_MAX_VCPUS 32
#define FLAT_RING3_CS64 0xe033
#define FLAT_RING3_SS64 0xe02b

/* x86 page-table entry bits that update_va_mapping looks at */
#define PTE_PRESENT 1UL
#define PTE_RW 2UL
#define PTE_USER 4UL
#define PTE_ACCESSED 0x20UL
#define PTE_DIRTY 0x40UL
#define PTE_NX (1UL << 63)

/* Error code of a page fault. */
#define PF_WRITE 2
#define PF_FETCH 16

#define X86_TRAP_DE 0
#define X86_TRAP_DB 1
#define X86_TRAP_BP 3
#define X86_TRAP_OF 4
#define X86_TRAP_BR 5
#define X86_TRAP_UD 6
#define X86_TRAP_NM 7
#define X86_TRAP_DF 8
#define X86_TRAP_TS 10
#define X86_TRAP_NP 11
#define X86_TRAP_SS 12
#define X86_TRAP_GP 13
#define X86_TRAP_PF 14
#define X86_TRAP_MF 16
#define X86_TRAP_AC 17
#define X86_TRAP_XM 19

/* Offsets that assembler code needs; kern/ checks them with _Static_assert. */
#define XEN_SHARED_UPCALL_PENDING 0
#define XEN_SHARED_UPCALL_MASK 1

#define NETIF_ENTRIES 256 /* of a ring */

#ifndef __ASSEMBLER__
#include <stdint.h>

struct trap_info {
	uint8_t vector;
	uint8_t flags; /* 0-3: privilege level that may raise it; bit 2: mask events on entry */
	uint16_t cs;
	uint64_t address;
};
#define TRAP_INFO_MASK_EVENTS 4

struct vcpu_time_info {
	uint32_t version; /* odd while being written */
	uint32_t pad0;
	uint64_t tsc_timestamp;
	uint64_t system_time; /* ns since boot of the hypervisor, at tsc_timestamp */
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags;
	uint8_t pad1[2];
};

struct vcpu_info {
	uint8_t evtchn_upcall_pending;
	uint8_t evtchn_upcall_mask;
	uint8_t pad[6];
	uint64_t evtchn_pending_sel;
	uint64_t cr2;
	uint64_t arch_pad;
	struct vcpu_time_info time;
};

struct shared_info {
	struct vcpu_info vcpu_info[XEN_LEGACY_MAX_VCPUS];
	uint64_t evtchn_pending[64];
	uint64_t evtchn_mask[64];
	uint32_t wc_version; /* odd while being written */
	uint32_t wc_sec;     /* wall clock at system time 0 */
	uint32_t wc_nsec;
	uint32_t wc_sec_hi;
};

struct start_info {
	char magic[32]; /* "xen-3.0-x86_64" */
	uint64_t nr_pages;
	uint64_t shared_info; /* machine address */
	uint32_t flags;
	uint32_t pad0;
	uint64_t store_mfn;
	uint32_t store_evtchn;
	uint32_t pad1;
	uint64_t console_mfn;
	uint32_t console_evtchn;
	uint32_t pad2;
	uint64_t pt_base;
	uint64_t nr_pt_frames;
	uint64_t mfn_list; /* VA of the machine frame numbers, one 64-bit word for each frame */
	uint64_t mod_start;
	uint64_t mod_len;
	char cmd_line[1024];
	uint64_t first_p2m_pfn;
	uint64_t nr_p2m_frames;
};

struct multicall_entry {
	uint64_t op;
	int64_t result;
	uint64_t args[6];
};

struct mmuext_op {
	uint32_t cmd; /* MMUEXT_* */
	uint32_t pad;
	uint64_t arg1, arg2;
};

struct xen_memory_reservation {
	uint64_t extent_start; /* address of nr_extents 64-bit words: in frames, out machine frames */
	uint64_t nr_extents;
	uint32_t extent_order; /* an extent is 1 << order frames */
	uint32_t mem_flags;
	uint16_t domid;
	uint16_t pad[3];
};
struct sched_poll {
	uint64_t ports; /* where their numbers are, 32 bits each */
	uint32_t nr_ports;
	uint64_t timeout; /* system time, ns */
};

struct sched_shutdown {
	uint32_t reason;
};
struct evtchn_send {
	uint32_t port;
};
struct evtchn_bind_interdomain {
	uint16_t remote_dom;
	uint16_t pad;
	uint32_t remote_port;
	uint32_t local_port; /* out */
};
struct evtchn_alloc_unbound {
	uint16_t dom;
	uint16_t remote_dom;
	uint32_t port; /* out */
};
struct evtchn_status {
	uint16_t dom;
	uint16_t pad;
	uint32_t port;
	uint32_t status; /* out, as what follows: EVTCHNSTAT_* */
	uint32_t vcpu;
	uint32_t peer[2];
};
struct evtchn_bind_virq {
	uint32_t virq;
	uint32_t vcpu;
	uint32_t port; /* out */
};
struct evtchn_unmask {
	uint32_t port;
};
struct callback_register {
	uint16_t type;
	uint16_t flags;
	uint32_t pad;
	uint64_t address;
};
struct xen_feature_info {
	uint32_t submap_idx;
	uint32_t submap; /* out */
};

/* xen/include/public/io/ring.h and io/netif.h: what a page of a network device's rings begins with, and its entries */
struct netif_ring {
	uint32_t req_prod;
	uint32_t req_event;
	uint32_t rsp_prod;
	uint32_t rsp_event;
	uint8_t pad[48];
};
struct netif_tx_request {
	uint32_t gref;
	uint16_t offset; /* in the page */
	uint16_t flags;
	uint16_t id;
	uint16_t size;
};
struct netif_tx_response {
	uint16_t id;
	int16_t status;
	uint32_t pad[2]; /* as long as a request */
};
struct netif_rx_request {
	uint16_t id;
	uint16_t pad;
	uint32_t gref;
};
struct netif_rx_response {
	uint16_t id;
	uint16_t offset; /* in the page */
	uint16_t flags;
	int16_t status; /* bytes of a frame, or an error */
};
#endif
#endif
