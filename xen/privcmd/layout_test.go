package privcmd

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"unsafe"
)

// TestLayouts compares sizes and offsets with those that gcc gives the structs of Xen's public headers,
// which are the same in RELEASE-4.17.0, 4.17.7, 4.18.0, 4.18.6, 4.19.0, 4.19.6, 4.20.0, 4.20.4, 4.21.0 and
// 4.21.2, and of Linux's uapi headers.
func TestLayouts(t *testing.T) {
	var (
		di domainInfo
		vc vcpuContext
		ur userRegs
		pi physInfo
		va vcpuAffinity
		so schedulerOp
		mr memoryReservation
		dl domainInfoList
		mb mmapBatch
	)
	for _, c := range []struct {
		what      string
		got, want uintptr
	}{
		{"xen_domctl.u", unsafe.Sizeof(domctlHeader{}), 16},
		{"xen_sysctl.u", unsafe.Sizeof(sysctlHeader{}), 8},
		{"xen_domctl.interface_version", unsafe.Offsetof(domctlHeader{}.Version), 4},
		{"xen_domctl.domain", unsafe.Offsetof(domctlHeader{}.Domain), 8},
		{"xen_sysctl.interface_version", unsafe.Offsetof(sysctlHeader{}.Version), 4},
		{"xen_domctl_getdomaininfo", unsafe.Sizeof(di), 112},
		{"xen_domctl_getdomaininfo.flags", unsafe.Offsetof(di.Flags), 4},
		{"xen_domctl_getdomaininfo.tot_pages", unsafe.Offsetof(di.TotPages), 8},
		{"xen_domctl_getdomaininfo.max_pages", unsafe.Offsetof(di.MaxPages), 16},
		{"xen_domctl_getdomaininfo.outstanding_pages", unsafe.Offsetof(di.Outstanding), 24},
		{"xen_domctl_getdomaininfo.shr_pages", unsafe.Offsetof(di.ShrPages), 32},
		{"xen_domctl_getdomaininfo.shared_info_frame", unsafe.Offsetof(di.SharedInfoFrame), 48},
		{"xen_domctl_getdomaininfo.cpu_time", unsafe.Offsetof(di.CPUTime), 56},
		{"xen_domctl_getdomaininfo.nr_online_vcpus", unsafe.Offsetof(di.OnlineVCPUs), 64},
		{"xen_domctl_getdomaininfo.max_vcpu_id", unsafe.Offsetof(di.MaxVCPUID), 68},
		{"xen_domctl_getdomaininfo.ssidref", unsafe.Offsetof(di.SSIDRef), 72},
		{"xen_domctl_getdomaininfo.handle", unsafe.Offsetof(di.Handle), 76},
		{"xen_domctl_getdomaininfo.cpupool", unsafe.Offsetof(di.CPUPool), 92},
		{"xen_domctl_max_mem", unsafe.Sizeof(maxMem{}), 8},
		{"xen_domctl_max_vcpus", unsafe.Sizeof(maxVCPUs{}), 4},
		{"xen_domctl_hypercall_init", unsafe.Sizeof(hypercallInit{}), 8},
		{"xen_domctl_tsc_info", unsafe.Sizeof(tscInfo{}), 24},
		{"xen_domctl_vcpucontext", unsafe.Sizeof(vcpuContextOp{}), 16},
		{"xen_domctl_vcpucontext.ctxt", unsafe.Offsetof(vcpuContextOp{}.Ctxt), 8},
		{"xenctl_bitmap", unsafe.Sizeof(bitmap{}), 16},
		{"xen_domctl_vcpuaffinity", unsafe.Sizeof(va), 40},
		{"xen_domctl_vcpuaffinity.cpumap_hard", unsafe.Offsetof(va.Hard), 8},
		{"xen_domctl_scheduler_op", unsafe.Sizeof(so), 24},
		{"xen_domctl_scheduler_op.u", unsafe.Offsetof(so.Weight), 8},
		{"xen_sysctl_physinfo", unsafe.Sizeof(pi), 112},
		{"xen_sysctl_physinfo.nr_cpus", unsafe.Offsetof(pi.NrCPUs), 8},
		{"xen_sysctl_physinfo.total_pages", unsafe.Offsetof(pi.TotalPages), 40},
		{"xen_sysctl_physinfo.free_pages", unsafe.Offsetof(pi.FreePages), 48},
		{"xen_sysctl_physinfo.scrub_pages", unsafe.Offsetof(pi.ScrubPages), 56},
		{"xen_sysctl_physinfo.outstanding_pages", unsafe.Offsetof(pi.Outstanding), 64},
		{"xen_sysctl_sched_id", unsafe.Sizeof(schedID{}), 4},
		{"xen_sysctl_getdomaininfolist", unsafe.Sizeof(dl), 24},
		{"xen_sysctl_getdomaininfolist.num_domains", unsafe.Offsetof(dl.Num), 16},
		{"xen_sysctl_getcpuinfo", unsafe.Sizeof(cpuInfo{}), 24},
		{"xen_sysctl_getcpuinfo.info", unsafe.Offsetof(cpuInfo{}.Info), 8},
		{"xen_sysctl_getcpuinfo.nr_cpus", unsafe.Offsetof(cpuInfo{}.Num), 16},
		{"xen_memory_reservation", unsafe.Sizeof(mr), 32},
		{"xen_memory_reservation.domid", unsafe.Offsetof(mr.DomID), 24},
		{"mmuext_op", unsafe.Sizeof(mmuExtOp{}), 24},
		{"mmuext_op.arg1", unsafe.Offsetof(mmuExtOp{}.Arg1), 8},
		{"mmuext_op.arg2", unsafe.Offsetof(mmuExtOp{}.Arg2), 16},
		{"multicall_entry", unsafe.Sizeof(multicall{}), 64},
		{"mmu_update", unsafe.Sizeof(mmuUpdate{}), 16},
		{"mmu_update.val", unsafe.Offsetof(mmuUpdate{}.Val), 8},
		{"evtchn_alloc_unbound", unsafe.Sizeof(evtchnAllocUnbound{}), 8},
		{"evtchn_status", unsafe.Sizeof(evtchnStatus{}), 24},
		{"gnttab_query_size", unsafe.Sizeof(grantSize{}), 16},
		{"evtchn_alloc_unbound.port", unsafe.Offsetof(evtchnAllocUnbound{}.Port), 4},
		{"cpu_user_regs", unsafe.Sizeof(ur), 200},
		{"cpu_user_regs.r11", unsafe.Offsetof(ur.R11), 48},
		{"cpu_user_regs.rax", unsafe.Offsetof(ur.RAX), 80},
		{"cpu_user_regs.rsi", unsafe.Offsetof(ur.RSI), 104},
		{"cpu_user_regs.entry_vector", unsafe.Offsetof(ur.EntryVector), 124},
		{"cpu_user_regs.rip", unsafe.Offsetof(ur.RIP), 128},
		{"cpu_user_regs.cs", unsafe.Offsetof(ur.CS), 136},
		{"cpu_user_regs.rflags", unsafe.Offsetof(ur.RFlags), 144},
		{"cpu_user_regs.rsp", unsafe.Offsetof(ur.RSP), 152},
		{"cpu_user_regs.ss", unsafe.Offsetof(ur.SS), 160},
		{"cpu_user_regs.gs", unsafe.Offsetof(ur.GS), 192},
		{"trap_info", unsafe.Sizeof(trapInfo{}), 16},
		{"trap_info.address", unsafe.Offsetof(trapInfo{}.Address), 8},
		{"vcpu_guest_context", unsafe.Sizeof(vc), 5168},
		{"vcpu_guest_context.flags", unsafe.Offsetof(vc.Flags), 512},
		{"vcpu_guest_context.user_regs", unsafe.Offsetof(vc.Regs), 520},
		{"vcpu_guest_context.trap_ctxt", unsafe.Offsetof(vc.Traps), 720},
		{"vcpu_guest_context.gdt_ents", unsafe.Offsetof(vc.GDTEnts), 4960},
		{"vcpu_guest_context.kernel_ss", unsafe.Offsetof(vc.KernelSS), 4968},
		{"vcpu_guest_context.ctrlreg", unsafe.Offsetof(vc.CtrlReg), 4984},
		{"vcpu_guest_context.event_callback_eip", unsafe.Offsetof(vc.EventCallback), 5112},
		{"vcpu_guest_context.vm_assist", unsafe.Offsetof(vc.VMAssist), 5136},
		{"vcpu_guest_context.fs_base", unsafe.Offsetof(vc.FSBase), 5144},
		{"vcpu_guest_context.gs_base_user", unsafe.Offsetof(vc.GSBaseUser), 5160},
		{"privcmd_hypercall", unsafe.Sizeof(hypercallArg{}), 48},
		{"privcmd_mmapbatch_v2", unsafe.Sizeof(mb), 32},
		{"privcmd_mmapbatch_v2.addr", unsafe.Offsetof(mb.Addr), 8},
		{"privcmd_mmapbatch_v2.err", unsafe.Offsetof(mb.Err), 24},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
		}
	}
}

// TestCreateLayout compares what createdomain is given with the offsets of each release: every field that
// is set is where it belongs, and all else is 0.
func TestCreateLayout(t *testing.T) {
	d := createDomain{evtchnPort: 0x11223344}
	for i := range d.handle {
		d.handle[i] = byte(i + 1)
	}
	for _, release := range []struct {
		minor               int
		size                int
		altp2m, vmtrace, at int // of altp2m_opts (0: there is none), vmtrace_size, arch
	}{
		{17, 64, 0, 48, 56}, {18, 64, 0, 48, 56}, {19, 68, 48, 52, 60}, {20, 68, 48, 52, 60}, {21, 68, 48, 52, 60},
	} {
		i := slices.IndexFunc(supported, func(s interfaces) bool { return s.minor == release.minor })
		if i < 0 {
			t.Fatalf("4.%d is not supported", release.minor)
		}
		want := make([]byte, release.size)
		copy(want[4:], d.handle[:])
		for offset, v := range map[int]uint32{28: 1, 32: d.evtchnPort, 36: maxGrantFrames, 40: maxMaptrackFrames, 44: 1} {
			binary.LittleEndian.PutUint32(want[offset:], v)
		}
		got := d.encode(version{domctl: supported[i].domctl, sysctl: supported[i].sysctl})
		if !bytes.Equal(got, want) {
			t.Errorf("4.%d: % x, want % x", release.minor, got, want)
		}
		if release.at+8 != release.size || release.vmtrace+8 != release.at || release.altp2m != 0 && release.altp2m+4 != release.vmtrace {
			t.Errorf("4.%d: the table does not fit itself", release.minor)
		}
	}
	if len(supported) != 5 {
		t.Errorf("%d versions: this test knows 5", len(supported))
	}
}
