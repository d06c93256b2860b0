/* test.h: what the files of the guest test program share. */
#ifndef TEST_H
#define TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Ends the test as failed; in a thread other than the first, only that thread; in a child, the child. */
void fail(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));

#define CHECK(cond)                                             \
	do {                                                    \
		if (!(cond))                                    \
			fail(__FILE__, __LINE__, "%s", #cond);  \
	} while (0)

/* Compares two integers; tells both if they differ. */
#define EQ(got, want)                                                                                   \
	do {                                                                                            \
		long long got_ = (long long)(got), want_ = (long long)(want);                           \
		if (got_ != want_)                                                                      \
			fail(__FILE__, __LINE__, "%s is %lld, not %lld (errno %d)", #got, got_, want_, errno); \
	} while (0)

/* The call gives -1 and this errno. */
#define FAILS(call, err)                                                                                \
	do {                                                                                            \
		errno = 0;                                                                              \
		long long got_ = (long long)(call);                                                     \
		if (got_ != -1 || errno != (err))                                                       \
			fail(__FILE__, __LINE__, "%s is %lld with errno %d, not %s", #call, got_, errno, #err); \
	} while (0)

#define STR(got, want)                                                                           \
	do {                                                                                     \
		const char *got_ = (got), *want_ = (want);                                       \
		if (strcmp(got_, want_))                                                         \
			fail(__FILE__, __LINE__, "%s is \"%s\", not \"%s\"", #got, got_, want_); \
	} while (0)

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

bool in_pvm(void);
int64_t now(void);          /* CLOCK_MONOTONIC in ns */
void sleep_ms(long ms);     /* not cut short by signals */
void put_file(const char *path, const char *text);
void on_signal(int sig, void (*handler)(int), int flags);
extern char page[4096];     /* scratch */

/* What follows runs in a child, which then exits 0; 99 if a check of it failed. */
#define IN_CHILD(pid) for ((pid) = start_child(); !(pid); _exit(0))

pid_t start_child(void);          /* fork(); the child is ended by SIGALRM if it hangs */
int ended(pid_t pid);             /* waits for a child; its status word */
void hold_signal(int sig);        /* blocks it, for await_signal */
siginfo_t await_signal(int sig);  /* takes a held signal, and fails if none comes for long */
/* Whether a line of /proc/sysvipc/NAME has this number in its second column. */
bool in_sysvipc(const char *name, int id);
int segment_of(size_t size);      /* of shared memory, a new one: its id */
char *attach(int id);
struct shmid_ds segment_state(int id);
extern int children;              /* how many fork_many makes: -n */

/* Every test once: name, and ALL, PVM (does not hold on Linux) or NAMED (takes its time: only who asks for it gets it). */
#define TESTS(T)                                                                                  \
	/* files.c */                                                                             \
	T(open_flags, ALL) T(open_errors, ALL) T(read_write, ALL) T(append, ALL) T(positions, ALL) \
	T(vectors, ALL) T(sparse, ALL) T(truncate_file, ALL) T(holes, ALL) T(big_file, ALL)        \
	T(dup_shares, ALL) T(fd_limit, ALL) T(fcntl_calls, ALL) T(locks, ALL) T(cloexec, ALL)      \
	T(stat_fields, ALL) T(chmod_chown, ALL) T(times_of_files, ALL) T(access_calls, ALL)        \
	T(send_and_copy, ALL) T(unlinked_file, ALL) T(memfd, ALL) T(file_mapping, ALL)             \
	T(disk_full, PVM) T(file_size_limit, ALL)                                                  \
	/* folders.c */                                                                           \
	T(mkdir_rmdir, ALL) T(paths, ALL) T(long_names, ALL) T(symlinks, ALL) T(link_loop, ALL)    \
	T(hard_links, ALL) T(rename_files, ALL) T(rename_folders, ALL) T(rename_flags, ALL)        \
	T(read_folder, ALL) T(folder_changes, ALL) T(many_files, ALL) T(working_folder, ALL)       \
	T(removed_folder, ALL) T(at_calls, ALL) T(umask_call, ALL) T(o_path, ALL) T(fifo, ALL)     \
	T(tmp_files, ALL) T(statfs_calls, ALL) T(random_tree, ALL)                                 \
	/* pipes.c */                                                                             \
	T(pipe_basics, ALL) T(pipe_full, ALL) T(pipe_wraps, ALL) T(pipe_atomic, ALL) T(pipe_broken, ALL) \
	T(pipe_threads, ALL) T(pipe_size, ALL) T(pipe_vectors, ALL) T(socket_pair, ALL) T(eventfd_counts, ALL)       \
	T(timerfd_ticks, ALL)                                                                     \
	/* polls.c */                                                                             \
	T(poll_pipe, ALL) T(poll_timeout, ALL) T(poll_wakes, ALL) T(ppoll_mask, ALL)               \
	T(select_sets, ALL) T(pselect_mask, ALL) T(epoll_level, ALL) T(epoll_edge, ALL)            \
	T(epoll_oneshot, ALL) T(epoll_errors, ALL) T(epoll_nested, ALL) T(epoll_closed, ALL)       \
	/* memory.c */                                                                            \
	T(mmap_anonymous, ALL) T(mmap_errors, ALL) T(mprotect_faults, ALL) T(munmap_faults, ALL)   \
	T(mremap_calls, ALL) T(brk_calls, ALL) T(malloc_stress, ALL) T(malloc_too_much, ALL)       \
	T(no_write_exec, PVM) T(null_page, ALL) T(text_read_only, ALL) T(madvise_calls, ALL)       \
	T(pages_are_zero, ALL) T(mmap_fixed, ALL) T(mmap_exhausted, PVM)                           \
	/* heap.c */                                                                              \
	T(heap_sizes, ALL) T(heap_aligned, ALL) T(heap_threads, ALL) T(heap_double_free, ALL)      \
	/* pointers.c */                                                                          \
	T(bad_pointers, ALL) T(bad_pointer_edge, ALL) T(control_area, PVM) T(no_such_call, ALL)    \
	/* threads.c */                                                                           \
	T(thread_join, ALL) T(thread_detach, ALL) T(thread_many, ALL) T(thread_locals, ALL)        \
	T(thread_keys, ALL) T(mutex_counts, ALL) T(mutex_kinds, ALL) T(mutex_timed, ALL)           \
	T(cond_ping_pong, ALL) T(cond_broadcast, ALL) T(cond_timed, ALL) T(rwlock, ALL)            \
	T(barrier, ALL) T(semaphores, ALL) T(once, ALL) T(spin_lock, ALL) T(thread_cancel, ALL)    \
	T(thread_cleanup, ALL) T(thread_preempted, ALL) T(thread_stack, ALL) T(futex_calls, ALL)   \
	T(thread_signal, ALL) T(float_threads, ALL)                                               \
	/* signals.c */                                                                           \
	T(signal_raise, ALL) T(signal_info, ALL) T(signal_mask, ALL) T(signal_pending, ALL)        \
	T(signal_nested, ALL) T(signal_nodefer, ALL) T(signal_resethand, ALL) T(signal_ignored, ALL) \
	T(signal_queue, ALL) T(signal_suspend, ALL) T(signal_wait, ALL) T(signal_altstack, ALL)    \
	T(signal_segv, ALL) T(signal_fpe, ALL) T(signal_ill, ALL) T(signal_jump, ALL)              \
	T(signal_spin, ALL) T(signal_vectors, ALL) T(signal_eintr, ALL) T(signal_restart, ALL)     \
	T(signal_context, ALL) T(signal_errors, ALL)                 \
	/* times.c */                                                                             \
	T(clocks, ALL) T(clock_monotonic, ALL) T(nanosleep_calls, ALL) T(nanosleep_eintr, ALL)     \
	T(alarm_call, ALL) T(itimer, ALL) T(timer_signal, ALL) T(timer_overrun, ALL)               \
	T(cpu_clock, ALL) T(time_calls, ALL) T(clock_interrupted, ALL)                            \
	/* system.c */                                                                            \
	T(stdio_files, ALL) T(stdio_big, ALL) T(identity, ALL) T(limits, ALL) T(uname_sysinfo, ALL) \
	T(proc_self, ALL) T(proc_fd, ALL) T(std_again, ALL) T(proc_files, ALL) T(proc_pvm, PVM) T(devices, ALL)      \
	T(tty_calls, ALL) T(random_call, ALL) T(etc_files, ALL) T(environment, ALL)                \
	T(atexit_order, ALL) T(root_writable, PVM)                                                 \
	/* fork.c */                                                                              \
	T(fork_first_share, ALL) T(fork_returns, ALL) T(fork_kill, ALL) T(fork_kill_busy, ALL) T(fork_kill_errors, ALL) \
	T(fork_orphan, ALL)                                                                       \
	T(fork_deep, ALL) T(fork_many, ALL) T(fork_cycles, ALL) T(fork_one_thread, ALL)            \
	T(fork_from_thread, ALL) T(fork_locks, ALL) T(fork_futex, ALL) T(fork_in_handler, ALL)     \
	T(fork_spun, ALL) T(fork_atfork, ALL) T(fork_exit, ALL) T(vfork_call, ALL) T(exec_refused, PVM) \
	/* waits.c */                                                                             \
	T(wait_exit, ALL) T(wait_signal, ALL) T(wait_fault, ALL) T(wait_which, ALL)                \
	T(wait_nobody, ALL) T(wait_stopped, ALL) T(waitid_calls, ALL) T(waitid_stopped, ALL)       \
	T(wait_usage, ALL) T(wait_eintr, ALL) T(wait_thread, ALL) T(zombie, ALL)                   \
	T(sigchld_info, ALL) T(sigchld_stops, ALL) T(sigchld_ignored, ALL) T(sigchld_nowait, ALL) T(wait_early, ALL)  \
	/* forkstate.c */                                                                         \
	T(fork_signals, ALL) T(fork_altstack, ALL) T(fork_timers, ALL) T(fork_files, ALL)          \
	T(fork_memfd, ALL) T(fork_folder, ALL) T(fork_console, ALL) T(fork_vectors, ALL)           \
	T(fork_rounding, ALL) T(fork_locals, ALL) T(fork_random, ALL) T(fork_clocks, ALL)          \
	T(fork_cpu_clock, ALL) T(fork_limits, ALL)                                                \
	/* forkmem.c */                                                                           \
	T(fork_memory, ALL) T(fork_protection, ALL) T(fork_constants, ALL) T(fork_stacks, ALL)     \
	T(fork_unmapped, ALL) T(fork_big, ALL)                                                    \
	T(fork_grows, ALL) T(fork_brk, ALL) T(fork_stack, ALL) T(fork_generations, ALL)            \
	T(fork_kernel_writes, ALL) T(fork_touch_all, ALL) T(fork_malloc, ALL) T(fork_file_map, ALL) \
	/* forkshare.c */                                                                         \
	T(share_offset, ALL) T(share_append, ALL) T(share_flags, ALL) T(share_content, ALL)        \
	T(share_holes, ALL) T(share_unlinked, ALL) T(share_full, PVM)                              \
	T(share_pipe, ALL) T(share_pipe_filled, ALL) T(share_pipe_ends, ALL) T(share_pipe_broken, ALL) \
	T(share_pipe_killed, ALL) T(share_pipe_atomic, ALL) T(share_pipe_bulk, ALL)                \
	T(share_pipe_full, ALL) T(share_pipe_poll, ALL) T(share_pipe_epoll, ALL)                   \
	T(share_pipe_threads, ALL) T(share_pipe_line, ALL) T(share_pipe_reopen, ALL)               \
	T(share_pipe_signal, ALL) T(share_fifo, ALL) T(share_cycles, ALL) \
	/* sockets.c */                                                                           \
	T(pair_messages, ALL) T(pair_vectors, ALL) T(pair_full, ALL) T(pair_shutdown, ALL)         \
	T(pair_closed, ALL) T(pair_errors, ALL)                                                   \
	/* paircases.c */                                                                         \
	T(pair_cases, ALL) T(pair_killed, ALL) T(pair_peek, ALL)                                  \
	/* pairopts.c */                                                                          \
	T(pair_options, ALL) T(pair_set, ALL) T(pair_option_errors, ALL) T(pair_times, ALL) T(pair_made_by, ALL) \
	T(pair_rights, ALL) T(pair_async, ALL)                                                    \
	T(share_pair, ALL) T(share_pair_whole, ALL) T(share_pair_bulk, ALL) T(share_pair_ends, ALL) \
	T(share_pair_shutdown, ALL) T(share_pair_poll, ALL) T(share_pair_cycles, ALL)              \
	T(share_eventfd, ALL)                                                                     \
	/* msgs.c */                                                                              \
	T(msg_get, ALL) T(msg_types, ALL) T(msg_sizes, ALL) T(msg_errors, ALL) T(msg_full, ALL)    \
	T(msg_fork, ALL) T(msg_blocks, ALL) T(msg_removed, ALL) T(msg_interrupted, ALL)            \
	T(msg_workers, ALL) T(msg_killed, ALL) T(msg_cycles, ALL) T(msg_permissions, ALL)          \
	T(msg_ftok, ALL) T(msg_info, ALL)                                                         \
	/* sems.c */                                                                              \
	T(sem_get, ALL) T(sem_values, ALL) T(sem_ops, ALL) T(sem_blocks, ALL) T(sem_removed, ALL)  \
	T(sem_timed, ALL) T(sem_undo, ALL) T(sem_undo_killed, ALL) T(sem_mutex, ALL)               \
	T(sem_cycles, ALL) T(sem_info, ALL)                                                       \
	/* shms.c */                                                                              \
	T(shm_get, ALL) T(shm_attach, ALL) T(shm_place, PVM) T(shm_read_only, ALL) T(shm_fork, ALL) \
	T(shm_removed, ALL) T(shm_removed_at_birth, ALL) T(shm_control, ALL) T(shm_calls, ALL)     \
	T(shm_cycles, ALL)                                                                         \
	T(shared_mapping, ALL) T(shared_zeroes, ALL) T(shared_mutex, ALL) T(shared_cond, ALL) T(shared_barrier, ALL)     \
	T(shared_semaphore, ALL) T(shared_threads, ALL)                                            \
	/* inet.c */                                                                              \
	T(net_echo, ALL) T(net_bulk, ALL) T(net_full, ALL) T(net_peek, ALL) T(net_half_close, ALL) \
	T(net_reset, ALL) T(net_unaccepted, ALL) T(net_refused, ALL) T(net_connect_nonblock, ALL)  \
	T(net_resolve, ALL)                                                                       \
	/* inetcalls.c */                                                                         \
	T(net_datagrams, ALL) T(net_datagrams_full, ALL) T(net_datagrams_connected, ALL)           \
	T(net_errors, ALL) T(net_names, ALL) T(net_options, ALL) T(net_timeouts, ALL)              \
	/* inetload.c */                                                                          \
	T(net_threads, ALL) T(net_epoll, ALL) T(net_epoll_order, ALL) T(net_epoll_crowd, ALL) T(net_polls, ALL) T(net_reconnect, ALL) T(net_ports, ALL)              \
	T(net_fork, PVM) T(net_fork_reading, PVM)                                                 \
	/* robust.c */                                                                            \
	T(robust_thread, NAMED) T(robust_given_up, NAMED) T(robust_ends, NAMED) T(robust_waiters, NAMED)   \
	T(robust_read_only, NAMED)                                                                         \
	T(robust_lists, NAMED) T(robust_threads, NAMED) T(robust_not, NAMED) T(robust_count, NAMED)        \
	/* cycles.c */                                                                            \
	T(cycles_queues, NAMED) T(cycles_semaphores, NAMED) T(cycles_segments, NAMED)                    \
	T(cycles_mappings, NAMED) T(cycles_pipes, NAMED) T(cycles_pairs, NAMED)                          \
	T(cycles_eventfds, NAMED) T(cycles_files, NAMED)                                              \
	/* ipccases.c */                                                                          \
	T(kill_each, NAMED) T(kill_cannot_be_caught, NAMED) T(pipe_no_descriptors, NAMED)                \
	T(pipe_readers, NAMED) T(pipe_wakes_readers, NAMED) T(wait_errors, NAMED) T(fork_numbers, NAMED)   \
	T(fork_environment, NAMED) T(pipe_io, NAMED)                                                       \
	/* waitcases.c */                                                                         \
	T(wait_many, NAMED) T(wait_groups, NAMED) T(wait_busy, NAMED) T(waitid_which, NAMED)             \
	T(kill_caught, NAMED) T(vfork_same, NAMED) T(kill_group, NAMED) T(set_group, NAMED)         \
	/* sysvcases.c */                                                                         \
	T(msg_copy, NAMED) T(sem_permissions, NAMED) T(sem_undo_thread, NAMED) T(shm_addresses, NAMED)   \
	T(shm_both, NAMED) T(shm_permissions, NAMED) T(msg_no_room, NAMED) T(sem_no_room, NAMED)         \
	T(shm_no_room, NAMED)

#define DECLARE_TEST(name, where) void test_##name(void);
TESTS(DECLARE_TEST)

#endif
