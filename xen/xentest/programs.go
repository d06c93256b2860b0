package xentest

import (
	"strconv"
	"sync/atomic"
	"unsafe"

	"kxsh/ipc/abi"
	"kxsh/xen"
	"kxsh/xen/fake"
)

// results are the words in which a guest leaves what a test reads: RESULT of guest/guest.h.
func results(ctl []byte) *[256]uint64 {
	const off = abi.ArgsVa + abi.PageSize/2 - abi.CtlVa
	return (*[256]uint64)(unsafe.Pointer(&ctl[off]))
}

func result(ctl []byte, i int) uint64 { return atomic.LoadUint64(&results(ctl)[i]) }

// Program is the part of guest/guest.c that does not need real code to run, for package fake.
func Program(b *xen.Boot) fake.Program {
	name, number := "", 0
	if len(b.Args) > 1 {
		name = b.Args[1]
	}
	if len(b.Args) > 2 {
		number, _ = strconv.Atoi(b.Args[2])
	}
	return func(g *fake.Guest) {
		r := results(g.Control())
		switch name {
		case "status":
			g.Exit(number)
		case "pong":
			for {
				g.Wait()
				atomic.AddUint64(&r[1], 1)
				g.Ring()
			}
		case "spin":
			g.Ring()
			for {
				atomic.AddUint64(&r[2], 1)
				g.Yield()
			}
		case "touch":
			g.Use(uint64(number) * abi.PageSize)
			atomic.StoreUint64(&r[1], uint64(number))
			g.Ring()
			for {
				g.Wait()
			}
		case "flood":
			for {
				g.Ring()
			}
		case "crash":
			g.End(0, xen.Exit{Reason: xen.ExitCrash})
		case "fault":
			g.End(0, xen.Exit{Reason: xen.ExitFault, Crash: abi.KxCrash{Signo: 11, Vector: abi.X86TrapPf, Regs: abi.KxRegs{Rip: abi.ImageVa}}})
		}
		g.Exit(100)
	}
}
