/* hypercall.c: the table of hypercalls. What Xen answers with -ENOSYS or -EPERM, so does the stub. */
#include "stub.h"
#include "sys.h"

#include <asm/prctl.h>

#define VCPUOP_IS_UP 3
#define VCPUOP_STOP_PERIODIC_TIMER 7
#define XEN_MAJOR 4 /* the version that the ABI is taken from */
#define XEN_MINOR 17
#define CANONICAL_END 0x800000000000

int is_guest_va(uint64_t va, uint64_t len)
{
	return va <= KX_RAM_END && len <= KX_RAM_END - va;
}

static long from_guest(void *dst, uint64_t src, size_t n)
{
	if (!is_guest_va(src, n))
		return -XEN_EFAULT;
	return copy_guest(dst, (const void *)src, n);
}

static long to_guest(uint64_t dst, const void *src, size_t n)
{
	if (!is_guest_va(dst, n))
		return -XEN_EFAULT;
	return copy_guest((void *)dst, src, n);
}

static long do_set_trap_table(uint64_t table)
{
	struct trap_info t;

	if (!table) {
		for (size_t i = 0; i < sizeof guest.traps / sizeof guest.traps[0]; i++)
			guest.traps[i].address = 0;
		return 0;
	}
	for (;; table += sizeof t) {
		if (from_guest(&t, table, sizeof t))
			return -XEN_EFAULT;
		if (!t.address)
			return 0;
		if (t.vector < sizeof guest.traps / sizeof guest.traps[0])
			guest.traps[t.vector] = t;
	}
}

static long do_callback_op(uint64_t cmd, uint64_t arg)
{
	struct callback_register r;

	if (cmd != CALLBACKOP_register)
		return -XEN_ENOSYS;
	if (from_guest(&r, arg, sizeof r))
		return -XEN_EFAULT;
	switch (r.type) {
	case CALLBACKTYPE_event:
		guest.event_callback = r.address;
		return 0;
	case CALLBACKTYPE_failsafe: /* reached only by bad segment registers, which Linux keeps good */
		return 0;
	default:
		return -XEN_ENOSYS;
	}
}

static long bind_virq(uint64_t arg)
{
	struct evtchn_bind_virq b;

	if (from_guest(&b, arg, sizeof b))
		return -XEN_EFAULT;
	if (b.virq != VIRQ_TIMER)
		return -XEN_EINVAL;
	if (b.vcpu != 0)
		return -XEN_ENOENT;
	if (guest.timer_bound)
		return -XEN_EEXIST;
	b.port = STUB_PORT_TIMER;
	if (to_guest(arg, &b, sizeof b))
		return -XEN_EFAULT;
	guest.timer_bound = 1;
	return 0;
}

static long ring_engine(void)
{
	if (!__atomic_exchange_n(&STATE->rang, 1, __ATOMIC_SEQ_CST))
		sys(__NR_write, STUB_FD_BELL, "", 1);
	return 0;
}

#define NIC (&((struct kx_control *)KX_CONTROL_VA)->nic)

/* The guest's own word, and nobody else's affair. */
static int has_net(void)
{
	return __atomic_load_n(&NIC->pages, __ATOMIC_RELAXED) != 0;
}

static long ring_net(void)
{
	__atomic_fetch_add(&NIC->bell, 1, __ATOMIC_SEQ_CST);
	futex_wake(&NIC->bell);
	return 0;
}

static long do_event_channel_op(uint64_t cmd, uint64_t arg)
{
	uint32_t port;

	if (cmd == EVTCHNOP_bind_virq)
		return bind_virq(arg);
	if (cmd != EVTCHNOP_send && cmd != EVTCHNOP_unmask && cmd != EVTCHNOP_close)
		return -XEN_ENOSYS;
	if (from_guest(&port, arg, sizeof port))
		return -XEN_EFAULT;
	if (cmd == EVTCHNOP_send && port - KX_PORT_MEMBER < KX_MEMBERS) {
		ring_member(port - KX_PORT_MEMBER);
		return 0;
	}
	if (port != STUB_PORT_ENGINE && !(port == STUB_PORT_NET && has_net()) && !(port == STUB_PORT_TIMER && guest.timer_bound))
		return -XEN_EINVAL;
	switch (cmd) {
	case EVTCHNOP_send:
		return port == STUB_PORT_ENGINE ? ring_engine() : port == STUB_PORT_NET ? ring_net() : -XEN_EINVAL;
	case EVTCHNOP_unmask:
		__atomic_fetch_and(&SHARED->evtchn_mask[0], ~(1UL << port), __ATOMIC_SEQ_CST);
		if (SHARED->evtchn_pending[0] & 1UL << port) {
			__atomic_fetch_or(&VCPU->evtchn_pending_sel, 1, __ATOMIC_SEQ_CST);
			VCPU->evtchn_upcall_pending = 1;
		}
		return 0;
	default:
		if (port != STUB_PORT_TIMER)
			return -XEN_EINVAL; /* as Xen: not this end's to close */
		guest.timer_bound = 0;
		return 0;
	}
}

/* The iret hypercall's frame becomes the context to go to; see Xen's struct iret_context. */
static void do_iret(void)
{
	struct {
		uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
	} f;

	if (from_guest(&f, hc_regs.rsp, sizeof f))
		crash(SIGSEGV, X86_TRAP_DF, 0, hc_regs.rsp, &hc_regs);
	hc_regs.rax = f.rax;
	hc_regs.r11 = f.r11;
	hc_regs.rcx = f.rcx;
	hc_regs.rip = f.rip;
	hc_regs.rflags = f.rflags;
	hc_regs.rsp = f.rsp;
	VCPU->evtchn_upcall_mask = !(f.rflags & 0x200); /* the interrupt flag, as Xen does */
}

static long do_xen_version(uint64_t cmd, uint64_t arg)
{
	struct xen_feature_info f;

	switch (cmd) {
	case XENVER_version:
		return XEN_MAJOR << 16 | XEN_MINOR;
	case XENVER_get_features:
		if (from_guest(&f, arg, sizeof f))
			return -XEN_EFAULT;
		if (f.submap_idx != 0)
			return -XEN_EINVAL;
		f.submap = 1U << XENFEAT_auto_translated_physmap;
		return to_guest(arg, &f, sizeof f);
	default:
		return -XEN_ENOSYS;
	}
}

static long do_set_segment_base(uint64_t which, uint64_t base)
{
	if (which != SEGBASE_FS || base >= CANONICAL_END)
		return -XEN_EINVAL;
	if (!has_fsgsbase)
		return sys(__NR_arch_prctl, ARCH_SET_FS, base);
	__asm__ volatile("wrfsbase %0" : : "r"(base));
	return 0;
}

static long do_vcpu_op(uint64_t cmd, uint64_t vcpu)
{
	if (vcpu != 0)
		return -XEN_ENOENT;
	switch (cmd) {
	case VCPUOP_IS_UP:
		return 1;
	case VCPUOP_STOP_PERIODIC_TIMER: /* there is none */
		return 0;
	default:
		return -XEN_ENOSYS;
	}
}

/* do_hypercall serves one call, also from within a multicall. */
long do_hypercall(uint64_t nr, const uint64_t a[5])
{
	switch (nr) {
	case __HYPERVISOR_set_trap_table:
		return do_set_trap_table(a[0]);
	case __HYPERVISOR_update_va_mapping:
		return do_update_va_mapping(a[0], a[1]);
	case __HYPERVISOR_set_timer_op:
		return do_set_timer_op(a[0]);
	case __HYPERVISOR_xen_version:
		return do_xen_version(a[0], a[1]);
	case __HYPERVISOR_console_io:
		return -XEN_EPERM;
	case __HYPERVISOR_vcpu_op:
		return do_vcpu_op(a[0], a[1]);
	case __HYPERVISOR_set_segment_base:
		return do_set_segment_base(a[0], a[1]);
	case __HYPERVISOR_sched_op:
		return do_sched_op(a[0], a[1]);
	case __HYPERVISOR_callback_op:
		return do_callback_op(a[0], a[1]);
	case __HYPERVISOR_event_channel_op:
		return do_event_channel_op(a[0], a[1]);
	default:
		return -XEN_ENOSYS;
	}
}

/* hypercall is called by entry.S on the stub's stack with the guest's registers in hc_regs. */
enum hc_exit hypercall(void)
{
	const uint64_t a[5] = {hc_regs.rdi, hc_regs.rsi, hc_regs.rdx, hc_regs.r10, hc_regs.r8};
	uint32_t nr = hc_regs.rax;

	if (nr == __HYPERVISOR_iret) {
		do_iret();
		return HC_ENTER;
	}
	if (nr == __HYPERVISOR_multicall)
		hc_regs.rax = do_multicall(a[0], a[1]);
	else
		hc_regs.rax = do_hypercall(nr, a);
	return HC_RETURN;
}
