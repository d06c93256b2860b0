/*
 * kx_abi.h: what a pVM and the engine agree on, on every hypervisor.
 *
 * This header is the one source. ipc/abi/abi.go is generated from it (make generate), and a test
 * compares every offset with what the C compiler says. The generator reads a small subset of C:
 * #define of integer constants, and structs of fixed-width scalars, arrays and earlier structs.
 *
 * Trust: both sides write to the control area. The engine copies a value once, checks it, and only
 * then uses it; a pVM that breaks the protocol is destroyed and harms nobody else.
 */
#ifndef KX_ABI_H
#define KX_ABI_H

#ifndef __ASSEMBLER__
#include <stdint.h>
#endif

#define KX_ABI_VERSION 12
#define KX_PAGE_SIZE 4096

/* ELF note that every image carries, beside Xen's own notes: name "KX", type KX_NOTE_ABI, struct kx_note. */
#define KX_NOTE_ABI 1

/*
 * Address space of a pVM.
 *   0                          never mapped
 *   KX_IMAGE_VA..KX_IMAGE_END  the image, at its link address; text r-x, constants r--, data rw-
 *   KX_CTL_VA                  the control area, laid out below
 *   KX_FAMILY_VA..             the family area, laid out below; kx_control.family_pages of it are there
 *   KX_P2M_VA..KX_P2M_END      on a hypervisor that is not XENFEAT_auto_translated_physmap, the machine
 *                              frame number of each frame; start_info.mfn_list is that of frame 0
 *   kx_control.ram_va          the RAM window, placed at random for each boot: heap, stacks, mmap
 *   before it                  kx_control.dynamic_pages of dynamic segment, if the image needs shared libraries: each as its file has it,
 *                              with a page that is not there before it, and room for others
 * Pseudo-physical frame 0 is the image's first page; frames go on through the image's pages, the dynamic segment and
 * the RAM window, so a virtual address tells its frame and no frame has an alias. Most pages of the dynamic segment are not there; those of a
 * library that nobody can write to are the same for all pVMs, and have KX_MFN_SHARED.
 *
 * At the start the first start_info.nr_pages frames are there and mapped, and so is the root archive. The
 * pVM gets the others itself when it needs them: a frame whose number in mfn_list is 0 by
 * XENMEM_populate_physmap; one that has a number is there, but not mapped.
 */
#define KX_IMAGE_VA 0x00400000
#define KX_IMAGE_END 0x10000000
#define KX_P2M_VA 0x20000000
#define KX_P2M_END 0x40000000
#define KX_RAM_MIN 0x100000000000
#define KX_RAM_END 0x600000000000

/* The control area: pages shared by the pVM and the engine. Untouched pages cost nothing. */
#define KX_CTL_VA 0x10000000
#define KX_START_VA 0x10000000   /* Xen's start_info; rsi at entry points here */
#define KX_SHARED_VA 0x10001000  /* Xen's shared_info */
#define KX_CONTROL_VA 0x10002000 /* struct kx_control */
#define KX_CMDS_VA 0x10003000    /* struct kx_cmd[KX_CMDS] */
#define KX_CONIN_VA 0x10004000   /* console input bytes */
#define KX_TASK_VA 0x10005000    /* struct kx_task, and its data */
#define KX_CONOUT_VA 0x10010000  /* console output records */
#define KX_ARGS_VA 0x10020000    /* argument and environment strings */
#define KX_FILES_VA 0x10040000   /* where folders of the host are mounted: a message of 9P2000.L. Arguments end before it then */
#define KX_CTL_SIZE 0x60000
#define KX_CMDS 64
#define KX_CONIN_SIZE 4096
#define KX_TASK_SIZE 32768
#define KX_CONOUT_SIZE 65536
#define KX_ARGS_SIZE 0x40000
#define KX_FILES_SIZE 0x20000
#define KX_MOUNTS 8 /* folders of the host, at most */

/*
 * The family area: memory that all members of a family map, for what they share since a fork. It begins with
 * struct kx_member[KX_MEMBERS]; the rest is the LibOS's own affair. Any member may write anything to it at any time.
 */
#define KX_FAMILY_VA 0x11000000
#define KX_FAMILY_PAGES 8192 /* most */
#define KX_MEMBERS 1024

/*
 * The network device's memory, as far as kx_control.nic.pages says: the ring of frames to send, that of received ones, and buffers. The rings are those of Xen's
 * io/netif.h, without any of its features; a grant reference is nic.ref plus the number of a page. The host has begun the rings when the pVM starts.
 */
#define KX_NET_VA 0x10100000
#define KX_NET_PAGES 194 /* most */

#define KX_LIBRARIES 16 /* shared libraries of a pVM, at most */

#define KX_CONTROL_MAGIC 0x5443584b /* "KXCT" */

/* kx_control.flags */
#define KX_F_TTY 1   /* the console is a terminal: line discipline on, isatty() true */
#define KX_F_STDIN 2 /* standard input is attached; without it reads see end of file at once */
#define KX_F_DIRTY 4 /* frames that the pVM gets itself may hold something else than zeroes */
#define KX_F_BELLS 8 /* EVTCHNOP_send to port KX_PORT_MEMBER + N rings the member in place N of the family area */
#define KX_F_LOOK 16 /* before the pVM sleeps it may look for what others do: there are several CPUs, and nobody forbade it. The engine changes it */
#define KX_F_WAITS 32 /* it has no program yet: when it has booted it asks for one, by KX_CALL_LOAD with a[0] = 0, and finds flags, rows, cols, name, strings and seed as they are then */

#define KX_PORT_MEMBER 0x10000

/*
 * SCHEDOP_block's argument, which Xen does not look at: events stay masked afterwards, without an upcall for the one that has come. On Xen there is one, to code
 * that was about to look anyway.
 */
#define KX_BLOCK_MASKED 1

/* kx_control.state, written by the pVM */
#define KX_STATE_NEW 0
#define KX_STATE_BOOT 1
#define KX_STATE_MAIN 2   /* the program's own code runs */
#define KX_STATE_EXITED 3 /* kx_control.status is final */

/* kx_control.family_state, written by the pVM */
#define KX_FAMILY_NONE 0 /* it has nothing there */
#define KX_FAMILY_IN 1   /* it has a place, and may hold something */
#define KX_FAMILY_LEFT 2 /* it has put everything back */
#define KX_RINGS 32
#define KX_RING_ALL 0xffffffff /* in kx_control.rings: all relatives */

/* kx_control.lines and reach: a port << KX_LINE_SHIFT, and a PID */
#define KX_LINES 16
#define KX_REACH 4
#define KX_LINE_SHIFT 16
#define KX_LINE_GONE 0x8000 /* of lines: that relative has ended */
#define KX_LINE_PID 0x7fff

/* Streams of the console. */
#define KX_STDOUT 1
#define KX_STDERR 2
#define KX_KERNEL 3 /* what the LibOS itself has to say */

/*
 * A console record is a 32-bit header, stream << 24 | length, and then length bytes; both wrap
 * around the ring byte by byte. A record is published whole, with one store to prod.
 */
#define KX_RECORD_MAX 16384

/* Commands, engine to pVM. */
#define KX_CMD_SIGNAL 1  /* arg0: signal number; a[0]: sender's PID */
#define KX_CMD_WINSIZE 2 /* a[0]: rows; a[1]: columns */
#define KX_CMD_EOF 3     /* no more standard input will come */
#define KX_CMD_CHILD 4   /* arg0: PID of a child; a[0]: its wait(2) status word; a[1]: CPU time so far, ns */
#define KX_CMD_GONE 6    /* arg0: PID of a member that ended and may have left something in the family area; a[0]: its parent's if it never came to main_ns, or 0; a[1]: its parent's if its fork has failed although it did, or 0 */
#define KX_CMD_TASK 7    /* make a KX_CALL_TASK */
#define KX_CMD_FORK 5    /* fork from outside: make a KX_CALL_FORK with a[2] = a[0] of this; it is no 0 */

/*
 * Calls, pVM to engine: kx_control.call. The pVM fills in op and a, moves asked, rings, and then does
 * nothing but block until done equals asked; result is valid then. A negative result is -errno. With a KX_CALL_TASK it may go on: it looks for the answer at events, and before its next call.
 */
#define KX_CALL_FORK 1 /* a[0]: rip, a[1]: rsp: see below; a[2]: 0, or of KX_CMD_FORK; a child's PID, or how many there are */
#define KX_CALL_KILL 2 /* a[0]: a PID as kill(2) has it; a[1]: signal number; a[2]: 1: a[0] is a group's number, which may be 1. The result is 1 if the caller is one of the group, and has to take it itself. To the caller's PID only one that stops: the domain is paused as soon as the call is answered, until a SIGCONT is among its commands; -EAGAIN: some wait for it already, and it may be one of them */
#define KX_CALL_REAP 3 /* a[0]: PID of a child that has been waited for: nobody needs its status any more */
#define KX_CALL_FAMILY 4 /* a[0]: how many pages the family area should have; how many it has */
#define KX_CALL_GUARD 7  /* a[0]: page of the family area; a[1]: how many from there; a[2]: 1: the pVM may only read them from now on, 0: write, too. On Xen, where it cannot change those entries itself, but has to flush its TLB then */
#define KX_CALL_SETTLE 6 /* a[0]: an address in a region whose bit in kx_control.lazy is set: when it is answered with 0 the bit is not */
#define KX_CALL_LOAD 8 /* a[0]: how many bytes of struct kx_task's data are the name of a library; 0: an application, whenever there is one; a[1]: KX_LOAD_*; see below */
#define KX_CALL_LOADED 9 /* a[0]: 0: the libraries of the last KX_CALL_LOAD are in use; -errno: nothing has changed, and they are not wanted */
#define KX_CALL_GROUP 11 /* of groups of processes, and of sessions: a[0]: a PID, 0: the caller; a[1]: KX_GROUP_*; what that says */
#define KX_CALL_UPDATE 10 /* a[0]: how many bytes of struct kx_task's data are names, each with its NUL: of a library's file and of the library that it is to replace; a[1]: for how many milliseconds that may be in use. 0: it will be tried */
#define KX_CALL_TASK 5 /* a[0]: number of the task that it has done, or 0; a[1]: its result; a[2]: 1: see KX_TASK_RECEIVE; the number of the next task, or 0 */

/* As the calls of POSIX that are named here, errors included. */
#define KX_GROUP_OF 0      /* getpgid */
#define KX_GROUP_JOIN 1    /* setpgid: a[2]: the group, 0: one of its own; 0 */
#define KX_GROUP_SESSION 2 /* getsid */
#define KX_GROUP_LEAVE 3   /* setsid, of the caller */

/*
 * Libraries that come while the program runs: the one that KX_CALL_LOAD asks for, and those that it needs. The result is
 *   an address  of struct kx_update, without an old library: it has pages and words alone. The pVM does what it says, and makes a KX_CALL_LOADED before any other call
 *               but KX_CALL_SETTLE. Until that is answered the plan and the new library's read-only pages are mapped
 *   0           the library is there already
 *   -errno      why, in a line: kx_task.size bytes of data. -EBUSY: a library is being replaced, ask again
 * With an address and with 0 kx_task.a[0] is its place in kx_libraries.library.
 *
 * An application comes with an address always: KX_TASK_VA, or pages that stay. No KX_CALL_LOADED follows.
 */
#define KX_LOAD_NOW 1     /* all calls that the new libraries make are to be bound */
#define KX_LOAD_PRESENT 2 /* -ENOENT, if it is not there */

/*
 * Tasks: what the engine has a member do with what its family shares. KX_CALL_TASK puts one into struct kx_task; the member does it at once,
 * without sleeping, with root's rights, and in the name of PID 0; it makes the call again with the result, and finds the next one. Results are as of the calls
 * of System V that are named here; -EBUSY: a relative has the lock, ask again. -ERESTART: not begun, since it came when something was half done; it is offered again.
 */
#define KX_TASK_QUEUE 1   /* msgget: a[0]: key; a[1]: flags; a number */
#define KX_TASK_SEND 2    /* msgsnd: a[0]: number; type; data; a[1]: as of KX_TASK_RECEIVE, when there may be room */
#define KX_TASK_RECEIVE 3 /* msgrcv: a[0]: number; type: the one wanted, and then that of the message; data; a[1]: 1: on -ENOMSG make a KX_CALL_TASK with a[2] = 1 when something has happened */
#define KX_TASK_SEGMENT 4 /* shmget: a[0]: key; a[1]: flags; a[2]: bytes; a number */
#define KX_TASK_READ 5    /* a[0]: number; a[1]: offset; a[2]: bytes; data; how many bytes there are */
#define KX_TASK_WRITE 6   /* a[0]: number; a[1]: offset; data; how many bytes there was room for */
#define KX_TASK_REMOVE 7  /* a[0]: number of a queue, a segment or a set of semaphores */
#define KX_TASK_LIST 8    /* a[0]: page after which to begin, and then after which to go on, or 0; data: struct kx_object, so many */
#define KX_TASK_KEY 9     /* ftok: a[0]: project; data: a path; the key, unsigned */
/*
 * A pipe from one member's descriptor 1 to another's descriptor 0. The reader offers it, which changes nothing yet; the writer takes it up; the
 * reader settles: if it was taken up, descriptor 0 becomes it, else it goes. Who offers does that after KX_OFFER_NS by itself. a[0] is one number, not 0, in all three.
 */
#define KX_TASK_OFFER 10  /* the page of a new pipe, as kx_object.id; -EBUSY: there is an offer already */
#define KX_TASK_TAKE 11   /* a[1]: that page; -EINVAL: no such offer */
#define KX_TASK_SETTLE 12 /* 1 if descriptor 0 is the pipe, 0 if it went; -EINVAL: no such offer */
#define KX_OFFER_NS 10000000000
/*
 * The same for a while: what the descriptors were before, which has to be the console (else -ENOTTY) that is no terminal, is kept, and comes back. One that is
 * lent already is -EBUSY. The reader settles as above.
 */
#define KX_TASK_LEND 14   /* as KX_TASK_OFFER */
#define KX_TASK_BORROW 15 /* as KX_TASK_TAKE */
#define KX_TASK_RETURN 16 /* of either side, and of children that they have forked: 0: its descriptors are its console again; 1: descriptor 0 will be when it has read what is in the pipe */
/*
 * A library is replaced by another one. a[0]: address of struct kx_update, a[1]: KX_UPDATE_*; data: struct kx_updated. Nothing has changed but with result 0.
 *   -EBUSY   a thread is in the old library, or waits for something in it, see kx_updated.at
 *   -EXDEV   there is a pointer to something that the new library does not have, or one in memory that relatives share, see kx_updated.at
 */
#define KX_TASK_UPDATE 13
#define KX_UPDATE_TRY 1 /* only tells whether it could be done now */

/* kind of a part, and of a move */
#define KX_UPDATE_GONE 0 /* of a move without a size: where another one ends there begins what only the old library has */
#define KX_UPDATE_CODE 1
#define KX_UPDATE_CONST 2
#define KX_UPDATE_DATA 3

/* kx_updated.ns */
#define KX_UPDATE_QUIESCE 0   /* all that may hold an address of the old library has been looked through */
#define KX_UPDATE_MAP 1       /* the new library's own pages are there, with their first content */
#define KX_UPDATE_FUNCTIONS 2 /* what pointed to old functions points to new ones */
#define KX_UPDATE_VARIABLES 3 /* the same of variables, after they were copied */
#define KX_UPDATE_RELEASE 4   /* the old library is not mapped any more */
#define KX_UPDATE_STAGES 5

/* kx_object.kind */
#define KX_OBJECT_QUEUE 1
#define KX_OBJECT_SEMAPHORES 2
#define KX_OBJECT_SEGMENT 3
#define KX_OBJECT_PIPE 4
#define KX_OBJECT_PIDS 8

/*
 * Fork. The child is a domain with the parent's memory as it was while the parent blocked, and a control
 * area of its own, as at boot, but without a root archive. It starts at rip with rsp, events masked, FS base and
 * every other register undefined, and with no timer bound; trap table and event callback may or may not be
 * registered, and page protections may be those of boot. The parent either goes on where it blocked, or, in the same way as the child, at rip: domid tells
 * which of the two it is. So the pVM saves what it needs on the stack first. Below rsp nothing is kept.
 *
 * Where there is mfn_list a pVM can promise, by KX_FORK_MARKED, that its page table entries tell what need not be copied:
 * a page of the RAM window that is mapped without the CPU's dirty bit holds zeroes; one that is not mapped holds
 * nothing that is wanted, unless its entry has KX_PTE_KEPT. For those, the child may have no frame, and number 0.
 */
#define KX_FORK_MARKED 1
#define KX_PTE_KEPT 0x200 /* a bit that Xen leaves to the guest */

/*
 * Where there is mfn_list a pVM can also promise, by KX_FORK_SHARED, that it copies on write. Then pages of the RAM window that
 * are mapped and hold something, and pages of the image that cannot be written, are not copied but shared: both sides have
 * them without write permission, and KX_MFN_SHARED in the entry of mfn_list. In the side that does not own the frame the
 * entry also names the domain that does, and KX_MFN_FRAME of it is a frame of the side's own, for the copy, or 0. A page
 * that holds zeroes may be absent in the child: not mapped, number 0. kx_control.ranges says what is not to be shared:
 *   KX_RANGE_COPY  where a fault cannot be served: what the LibOS itself needs, and stacks
 *   KX_RANGE_DROP  the same, but the child needs no content: stacks below what is in use
 */
#define KX_FORK_SHARED 2

/*
 * With KX_FORK_SHARED a pVM can also promise, by KX_FORK_LAZY, that it heeds kx_control.lazy, a bit for each region of the window, 2 MiB of it from
 * ram_va on, the first KX_LAZY_REGIONS. As long as its bit is set a region is not as its entries of mfn_list and its page table entries say: in the child they are
 * still to come, in the parent nothing can be written to. Before either changes or believes one of them, and when a fault has come there, it
 * makes a KX_CALL_SETTLE. Bits are set during a fork only, and cleared by the engine when it likes. Regions with one of kx_control.ranges are not lazy.
 */
#define KX_FORK_LAZY 4
#define KX_LAZY_SHIFT 21
#define KX_LAZY_WORDS 64
#define KX_LAZY_REGIONS 4096
#define KX_MFN_SHARED 0x8000000000000000
#define KX_MFN_FRAME 0xffffffffff
#define KX_MFN_OWNER_SHIFT 40
#define KX_MFN_OWNER 0x7fff /* after the shift; 0: the frame is the domain's own */
#define KX_RANGES 64
#define KX_RANGE_COPY 1
#define KX_RANGE_DROP 2

/* A child has said itself that it ends, and the engine has not: a caller whose family has no room asks again when it has. */
#define KX_FORK_PATIENT 8

/* kx_control.reason, of an end by SIGKILL */
#define KX_REASON_MEMORY 1 /* the host, or the pVM's limit, had no frame for a page that was to be copied */

#ifndef __ASSEMBLER__

/* A place of the family area. A member that sleeps looks at rung after it has set asleep; who wants it woken sets rung first. */
struct kx_member {
	uint32_t pid;    /* 0: nobody's */
	uint32_t rung;   /* something happened that it may wait for */
	uint32_t asleep; /* 1: it has to be woken to see that; 2: it looks all the time */
	uint32_t births; /* how many of its children have found their places; runs freely */
	uint32_t defers; /* it waits for that to move */
	uint32_t turns;  /* how many have had the place; runs freely */
	uint32_t pad[2];
};

struct kx_note {
	uint32_t abi;
	uint32_t reserved;
	uint64_t stack_size; /* of the main thread, bytes; 0: the LibOS's default */
	uint64_t memory;     /* RAM the program wants, bytes; 0: the engine's default */
};

/*
 * One direction of bytes or entries. prod and cons run freely and are masked on use. A side that
 * goes to sleep sets its wait flag first, looks once more, and then sleeps, each time anew; the
 * other side moves its index first and then, only if it finds that flag set, clears it and sends
 * an event. All of these are sequentially consistent.
 */
struct kx_ring {
	uint32_t prod;
	uint32_t prod_waits; /* the producer wants an event when there is room */
	uint32_t pad0[14];
	uint32_t cons;
	uint32_t cons_waits; /* the consumer wants an event when there is more */
	uint32_t pad1[14];
};

struct kx_cmd {
	uint32_t op;
	uint32_t arg0;
	uint64_t a[3];
};

/* Registers at a fault, in the order that reports print them. */
struct kx_regs {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rip, rflags;
};

/* Why a pVM died of a fault; valid when signo is not 0. */
struct kx_crash {
	uint32_t signo;  /* the signal that the fault became */
	uint32_t vector; /* x86 exception vector */
	uint64_t error;  /* the CPU's error code */
	uint64_t addr;   /* faulting address (cr2) of vector 14 */
	uint32_t tid;
	uint32_t pad;
	struct kx_regs regs;
};

/* A call to the engine, and its answer. */
struct kx_call {
	uint32_t asked; /* number of the last call made; runs freely */
	uint32_t done;  /* number of the last call answered */
	uint32_t op;    /* KX_CALL_* */
	uint32_t flags; /* KX_FORK_* */
	uint64_t a[3];
	int64_t result;
};

/* Bits of kx_control.files_looks. */
#define KX_FILES_ENGINE 1
#define KX_FILES_PVM 2

/*
 * Folders of the host, by 9P2000.L. The pVM puts a request at KX_FILES_VA, moves asked, rings, and does nothing but block until done equals asked;
 * then the reply is in the request's place. Folder N is attached with N, in decimal, as aname. An engine that follows another one has another server:
 * it knows none of the fids, so that a request which the earlier one did not answer fails, and is not done twice. Who looks for a while before he sleeps,
 * by his bit of kx_control.files_looks, need not be rung: he looks once more when he has cleared it.
 */
struct kx_files {
	uint32_t asked;  /* number of the last request; runs freely */
	uint32_t done;   /* of the last one that was answered; the engine's to write, as server */
	uint32_t server; /* which server answers; 0: there is none yet */
	uint32_t mounts; /* how many strings behind the environment's say where folders are mounted; the builder's to write */
};

/* Its data follow. */
struct kx_task {
	uint32_t op;   /* KX_TASK_* */
	uint32_t size; /* of the data, bytes */
	uint64_t a[3];
	int64_t type;
};

/* Something that a family shares, as a member finds it. */
struct kx_object {
	uint32_t kind; /* KX_OBJECT_* */
	uint32_t id;   /* its number; of a pipe: its page */
	uint32_t key, mode, uid, gid;
	uint32_t count;   /* messages, semaphores, attachments */
	uint32_t pad;
	uint64_t bytes;   /* in a queue, in a pipe, of a segment */
	uint64_t room;    /* the most bytes of a queue or a pipe */
	uint64_t total;   /* bytes that have ever come into a queue, or into a pipe since it is in the area; runs freely */
	uint32_t pids[2]; /* of a queue: last sender and receiver; of a segment: its maker, and who attached or detached last */
	uint32_t held[2]; /* how many members have a pipe's reading and its writing end; a segment, the first */
	uint32_t readers[KX_OBJECT_PIDS]; /* some of them */
	uint32_t writers[KX_OBJECT_PIDS];
};

/*
 * A shared library, or the image. Its entry for a call that is not bound yet goes through its first entry to kx_resolve of the
 * image, with the number of the call and the address of this.
 */
struct kx_library {
	uint64_t init, inits; /* constructors: the address of pointers to functions, and how many */
	uint64_t fini, finis; /* destructors, likewise */
	uint64_t calls;       /* address of its DT_JMPREL */
	uint64_t base;        /* of its addresses */
	uint64_t symbols, strings, hash; /* addresses of its DT_SYMTAB, DT_STRTAB and DT_HASH */
	uint64_t name;        /* address of its DT_SONAME, or 0 */
	uint64_t needs;       /* the libraries that it needs: a bit for each, by its place in kx_libraries.library */
	uint64_t next;        /* address of the one in which a symbol is sought if this one has it not, or 0; the image is the first */
};

/*
 * An image that uses shared libraries has one, by the name of kx_libraries. The engine fills it: a library after those that it needs. What comes
 * later is put behind them (KX_CALL_LOAD).
 */
struct kx_libraries {
	uint64_t count;
	struct kx_library image; /* without constructors and destructors, and what it needs */
	struct kx_library library[KX_LIBRARIES];
};

/*
 * How a library is replaced by another one, or comes: pages that the pVM cannot write to, mapped for as long as it takes. Arrays follow, in the order of their counts
 * and without gaps: struct kx_update_part[parts], kx_update_page[pages], kx_update_move[moves], and kx_update_word[literals] and [words].
 */
struct kx_update {
	uint64_t old_va, old_end; /* addresses of the library that goes; 0: none does */
	uint64_t new_va, new_end; /* and of what comes, whose read-only pages are mapped */
	uint32_t parts;
	uint32_t pages;
	uint32_t moves;    /* by their addresses; they do not overlap */
	uint32_t literals; /* pointers among the old library's variables, by their addresses: as long as one has its first value, value, it gets that which it has in the new one's first content */
	uint32_t words;    /* that get other values, by their addresses */
	uint32_t pad;
};

/* Mapped pages of the old library, by their addresses. */
struct kx_update_part {
	uint64_t va, end;
	uint32_t kind; /* KX_UPDATE_*; those of KX_UPDATE_DATA are the pVM's own */
	uint32_t pad;
};

/* A page of the new library that is to be the pVM's own, and the address of its first content; 0: zeroes. */
struct kx_update_page {
	uint64_t va, content;
};

/*
 * A function, a constant or a variable that both libraries have. Only variables are copied, size bytes. Among them are constants that pointers are in, and
 * variables of which the image has the copy that counts.
 */
struct kx_update_move {
	uint64_t from, to;
	uint64_t size; /* bytes, of both */
	uint32_t kind; /* KX_UPDATE_* */
	uint32_t pad;
};

struct kx_update_word {
	uint64_t va, value;
};

/* How it went. */
struct kx_updated {
	uint64_t ns[KX_UPDATE_STAGES]; /* how long each stage took */
	uint64_t bytes;                /* looked through */
	uint64_t functions, variables; /* pointers that have changed, words of kx_update included; variables that were copied */
	uint64_t pointers;             /* to variables and constants, that have changed */
	uint64_t pinned;               /* pointers to constants that the new library does not have: those of the old one stay mapped */
	uint64_t at, value;            /* the first word that stands in the way, and what it holds */
	uint32_t tid;                  /* on whose stack, or in whose registers, it is; 0: nobody's */
	uint32_t pad;
};

/* A network device. Addresses of the Internet are in network byte order. */
struct kx_nic {
	uint32_t pages; /* of its memory, from KX_NET_VA; 0: there is none */
	uint32_t port;  /* local port of the channel to its other end */
	uint32_t ref;   /* grant reference of the first page */
	uint32_t ip, mask, gateway, dns; /* 0: there is none */
	uint8_t mac[8]; /* the first 6 */
	uint32_t bell;  /* futex: a hypervisor with KX_F_BELLS moves it when the pVM sends to port */
	uint32_t leased; /* the pVM's to write, if ip is 0: the address that it has got from DHCP; 0: none yet */
};

/* Pages of the RAM window. */
struct kx_range {
	uint32_t first;
	uint32_t pages;
	uint32_t kind; /* KX_RANGE_* */
	uint32_t pad;
};

struct kx_control {
	/* Written by the domain builder, read by the pVM. */
	uint32_t magic;
	uint32_t abi;
	uint32_t domid; /* getpid() */
	uint32_t ppid;
	uint32_t family;
	uint32_t flags;
	uint32_t evtchn; /* local port of the channel to the engine */
	uint32_t argc;
	uint32_t envc;
	uint32_t args_len; /* bytes at KX_ARGS_VA: argc + envc + files.mounts strings, each NUL-terminated */
	uint32_t rows;
	uint32_t cols;
	uint64_t image_pages; /* frames of image, from KX_IMAGE_VA, and dynamic segment */
	uint64_t dynamic_pages; /* of those, frames of the dynamic segment: the last ones, which end at ram_va */
	uint64_t ram_va;
	uint64_t ram_pages;
	uint64_t root_va; /* tar archive of the root file system, inside the RAM window; 0: none */
	uint64_t root_len;
	uint8_t seed[32]; /* random bytes from the host, fresh for each boot */
	char name[64];

	/* Written by the pVM. */
	uint32_t state;
	uint32_t status;  /* wait(2) status word, valid in KX_STATE_EXITED */
	uint64_t main_ns; /* system time at which the program's first instruction ran */
	struct kx_crash crash;

	struct kx_ring cmds;   /* engine to pVM, entries of KX_CMDS_VA */
	struct kx_ring conin;  /* engine to pVM, bytes of KX_CONIN_VA */
	struct kx_ring conout; /* pVM to engine, records in KX_CONOUT_VA */

	struct kx_call call; /* pVM to engine; done and result are the engine's to write */

	uint32_t family_pages; /* of the family area, from KX_FAMILY_VA; the builder's and the engine's to write */
	uint32_t family_state; /* KX_FAMILY_*; the pVM's, as what follows */
	uint32_t family_place; /* its place in the family area, plus 1; 0: it has none */
	uint32_t pad;
	uint32_t rings[KX_RINGS]; /* PIDs of relatives that the engine should notify; it sets them to 0 */

	uint32_t reason;       /* KX_REASON_*, valid in KX_STATE_EXITED */
	uint32_t ranges_count; /* of ranges, for KX_FORK_SHARED */
	struct kx_range ranges[KX_RANGES];

	/*
	 * Xen ends a domain whose stack cannot take the frame of a fault or an event. The engine gives the page, if it is shared, or
	 * absent and in one of ranges, and lets the domain go on, events unmasked unless rip is in [masked, masked_end).
	 */
	uint64_t masked, masked_end;

	uint64_t lazy[KX_LAZY_WORDS]; /* for KX_FORK_LAZY; the engine's to write */

	struct kx_nic nic; /* the builder's to write, as it is when the pVM or the child of a fork starts */
	struct kx_files files;

	/*
	 * Without KX_F_BELLS members ring each other by event channels. One that sleeps cannot open a port for a relative that is born meanwhile: so at a fork
	 * the engine opens ports for the child in some members that have a place. Each finds its own in a free word of lines, with the child's PID. It sets
	 * the word to 0 when it has closed the port, or has a use for it; with KX_LINE_GONE it should close it. The child finds in reach, before it starts,
	 * in which relatives there is a port for it, to be bound. A word of lines that is not 0 the engine only ever gives KX_LINE_GONE.
	 */
	uint32_t lines[KX_LINES];
	uint32_t reach[KX_REACH];
	uint32_t lines_news; /* moves after lines; the engine's */
	uint32_t files_looks; /* KX_FILES_ENGINE: it looks for files.asked; KX_FILES_PVM: for files.done */

	uint32_t lent[2]; /* a[0] of KX_TASK_LEND, of what descriptors 0 and 1 are for a while, or 0; the pVM's */

	/*
	 * With KX_FORK_SHARED: frames of its own that relatives may have, too, and frames of relatives that it has. The engine adds what a fork shares, then or
	 * later, and the pVM takes away what it has copied or given up. They are for people to read.
	 */
	uint32_t frames_lent, frames_borrowed;

	uint32_t input_unread; /* how many of the last bytes taken from conin, a terminal's, nobody has read; the pVM's */
	uint32_t pad3;
};

#endif
#endif
