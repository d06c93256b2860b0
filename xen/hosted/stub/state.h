/*
 * state.h: what the stub and the engine say to each other about one domain: the state page that
 * they share, and the messages on their socket. xen/hosted/layout.go is the Go side; a test
 * compares the two with what the C compiler says.
 *
 * The guest runs in the stub's own process and can write to the state page: the engine believes
 * nothing in it that could harm anybody but this domain.
 */
#ifndef STATE_H
#define STATE_H

#include "kx_abi.h"

/* Address space above the guest's; everything shares one 2 MiB page-table page. */
#define STUB_BASE 0x7ff000000000
#define STUB_STATE_VA 0x7ff000100000
#define STUB_END 0x7ff000200000

/* The state page follows the control area in the ctl memfd. */
#define STUB_STATE_OFF KX_CTL_SIZE
#define STUB_STATE_SIZE 4096
/* And then the network device's memory. */
#define STUB_NET_OFF (STUB_STATE_OFF + STUB_STATE_SIZE)
#define STUB_NET_SIZE (KX_NET_PAGES * KX_PAGE_SIZE)

/* File descriptors of a stub. A new engine finds them in /proc/PID/fd. */
#define STUB_FD_SOCK 0  /* to the engine; closed when the domain is built, unless a fork made it, or it has a dynamic segment */
#define STUB_FD_CTL 1   /* memfd: control area and state page */
#define STUB_FD_BELL 2  /* write end of a pipe: the domain's event to the engine */
#define STUB_FD_RAM 3   /* memfd: the domain's frames, in order */
#define STUB_FD_IMAGE 4 /* memfd of the prepared image, sealed, read-only */
/* Of a domain whose memory is private, because of a fork; the engine's end also of one with a dynamic segment: */
#define STUB_FD_TAG 5     /* a file whose name says which domain it is */
#define STUB_FD_CONTROL 6 /* memfd of the control area, which may be that of a process that the domain has moved from */
#define STUB_FD_ENGINE 7  /* the engine's end of the socket, for a later engine to take */
#define STUB_FD_FAMILY 8  /* memfd of the family area: its own, or, if a fork made it, that of its parent */
#define STUB_FD_ZYGOTE 9
#define STUB_FD_LISTENER 10 /* of the filter that asks the engine before a domain forks */

/* Private memory that a stub may have beside its guest's frozen frames, bytes. */
#define STUB_DATA 0x100000

/* Local event channel ports. */
#define STUB_PORT_ENGINE 1
#define STUB_PORT_TIMER 2
#define STUB_PORT_FAMILY 3 /* a member has rung, see struct kx_member */
#define STUB_PORT_NET 4    /* to the other end of the network device */

/* stub_state.ended */
#define STUB_END_SHUTDOWN 1 /* SCHEDOP_shutdown, see reason */
#define STUB_END_FAULT 2    /* see crash */

#define STUB_MAPS 96   /* segments of an image and its libraries, and the RAM window, at most */
#define STUB_LIBRARY 64 /* in stub_map.fd: and more, the file of a library, of those that came last with the order */
#define STUB_TITLE 128 /* bytes of a process title, with its NUL */

/* Messages to the zygote carry one word; its answers are a struct zygote_reply. */
#define ZYGOTE_SPAWN 1
/* Tells a clone of the zygote's from one of a domain's, where the kernel ignores it (the TLS argument). */
#define ZYGOTE_CLONES 0x6b78

/*
 * The identity that a root engine's domains have: a number that no distribution, container manager
 * or systemd gives out, so that no other process has it; nobody, where that one is not mapped.
 */
#define STUB_UID 0x78000000
#define STUB_NOBODY 65534

#ifndef __ASSEMBLER__

struct stub_state {
	/* Set once by the stub: 1, or a negative errno. */
	int32_t ready; /* the blank is set up */
	int32_t built; /* futex: the domain is mapped and waits for go */
	/* Set by the engine. */
	uint32_t go;  /* futex: 1 lets the first instruction run */
	uint32_t seq; /* futex: moved whenever an event is raised */
	uint32_t waits; /* it sleeps on built */
	/* Moved by the stub. */
	uint32_t sleeping; /* the vcpu waits on seq, or on go */
	uint32_t rang;     /* a byte is in the doorbell that the engine has not read yet */
	uint32_t ended;    /* STUB_END_*; 0 while it lives */
	uint32_t reason;   /* of SCHEDOP_shutdown */
	uint32_t no_memory; /* a frame of the domain could not be had: the host is out of memory */
	/* A fork in place: the engine sends a struct stub_fork with the child's files, sets fork to its number and moves seq. */
	uint32_t fork;
	int32_t forked; /* futex: the child's PID, or a negative errno; the engine clears it */
	uint32_t forked_number; /* which order that is the answer to */
	/* Other maps in the dynamic segment: the engine sends a struct stub_remap, sets map to its number, and moves seq. */
	uint32_t map;
	int32_t mapped; /* futex: 1, or a negative errno; the engine clears it */
	uint32_t mapped_number;
	struct kx_crash crash;
};

/* One piece of the guest's address space. */
struct stub_map {
	uint64_t va;
	uint64_t len;
	uint64_t off;
	uint32_t fd;
	uint32_t prot; /* PROT_* */
};

/*
 * Engine to blank, with the RAM and the image memfd: become this domain. If a fork makes it, also with the tag, the
 * control area's memfd, the other end of the socket and the family area's memfd. The files of libraries come after those, and
 * where no fork makes it after three others, which have the numbers up to STUB_FD_ENGINE.
 */
struct stub_start {
	uint64_t entry;
	uint64_t rsp; /* 0: start at entry; otherwise go on there with this stack */
	uint64_t image_pages;   /* the dynamic segment's included */
	uint64_t dynamic_pages; /* which end at ram_va */
	uint64_t ram_va;
	uint64_t ram_pages;
	uint32_t tsc_mul; /* of vcpu_time_info */
	int32_t tsc_shift;
	uint32_t spin; /* TSC ticks to look for go before sleeping */
	uint32_t nmaps;
	uint32_t frozen; /* a fork makes it: the frames are mapped privately */
	uint32_t moved;  /* it was another process before: the control area is STUB_FD_CONTROL's */
	uint32_t libraries; /* how many files are libraries */
	uint32_t pad;
	char title[STUB_TITLE]; /* what ps shows */
	struct stub_map maps[STUB_MAPS];
};

/* Engine to a stub with private memory, with the child's files: control area, doorbell, socket, its other end, tag. */
struct stub_fork {
	uint64_t rip;
	uint64_t rsp;
	uint32_t number; /* not 0; one that is not in stub_state.fork was sent by an engine that has died */
	uint32_t pad;
	char title[STUB_TITLE];
};

/*
 * Engine to the stub of a domain that has a dynamic segment, with the files of the libraries among the maps: STUB_LIBRARY in
 * stub_map.fd is the first that came with it. All of it is done, or nothing of the maps.
 */
struct stub_remap {
	uint32_t number; /* as in stub_fork */
	uint32_t nmaps;
	uint32_t ncloses;
	uint32_t pad;
	uint32_t closes[KX_LIBRARIES + 1]; /* files that are closed then */
	uint32_t pad2;
	struct stub_map maps[STUB_MAPS];
};

struct zygote_reply {
	int32_t pid;         /* of the new stub, or a negative errno; 0 in the greeting */
	uint32_t namespaces; /* CLONE_NEW* that were entered */
	uint32_t identity;   /* the uid that root was given up for; 0: it was not */
	uint32_t pad;
};

#endif
#endif
