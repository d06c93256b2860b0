/* sigcalls.c: the system calls of signals. */
#include "bell.h"
#include "process.h"

#define UNBLOCKABLE (SIGBIT(SIGKILL) | SIGBIT(SIGSTOP))
#define SUPPORTED_FLAGS                                                                                \
	(SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND | SA_RESTORER)

long sys_rt_sigaction(long sig, long in, long out, long size)
{
	struct sigact new, old;

	if (size != SIGSET_BYTES || sig < 1 || sig >= KX_NSIG || (in && UNBLOCKABLE & SIGBIT(sig)))
		return -EINVAL;
	old = sigacts[sig];
	if (in) {
		if (copy_in(&new, (void *)in, sizeof(new)))
			return -EFAULT;
		new.flags &= SUPPORTED_FLAGS;
		new.mask &= ~UNBLOCKABLE;
		sigacts[sig] = new;
		if (signal_ignored((int)sig))
			signals_discard(SIGBIT(sig));
	}
	return out ? copy_out((void *)out, &old, sizeof(old)) : 0;
}

long sys_rt_sigprocmask(long how, long in, long out, long size)
{
	sigmask_t set, old = cur->sigmask;

	if (size != SIGSET_BYTES)
		return -EINVAL;
	if (in) {
		if (copy_in(&set, (void *)in, sizeof(set)))
			return -EFAULT;
		if (how == SIG_BLOCK)
			set |= old;
		else if (how == SIG_UNBLOCK)
			set = old & ~set;
		else if (how != SIG_SETMASK)
			return -EINVAL;
		cur->sigmask = set & ~UNBLOCKABLE;
	}
	return out ? copy_out((void *)out, &old, sizeof(old)) : 0;
}

long sys_rt_sigpending(long out, long size)
{
	sigmask_t set = signals_pending_set() & cur->sigmask;

	if (size > SIGSET_BYTES)
		return -EINVAL;
	return copy_out((void *)out, &set, size);
}

long sys_rt_sigsuspend(long set, long size)
{
	int err = set ? sigmask_borrow((void *)set, size) : -EFAULT;

	while (!err)
		err = wait_on(NULL, FOREVER);
	return err;
}

long sys_pause(void)
{
	while (!wait_on(NULL, FOREVER))
		;
	return -EINTR;
}

long sys_rt_sigtimedwait(long uset, long uinfo, long timeout, long size)
{
	int64_t ns = 0, deadline = FOREVER;
	struct timespec ts;
	siginfo_t info;
	sigmask_t set;
	int sig, err = 0;

	if (size != SIGSET_BYTES)
		return -EINVAL;
	if (copy_in(&set, (void *)uset, sizeof(set)) || (timeout && copy_in(&ts, (void *)timeout, sizeof(ts))))
		return -EFAULT;
	if (timeout && timespec_to_ns(&ts, &ns))
		return -EINVAL;
	if (timeout)
		deadline = deadline_after(ns);
	set &= ~UNBLOCKABLE;
	while (!(sig = signal_take(set, &info)) && !err) {
		cur->sigwait = set;
		err = wait_on(NULL, deadline);
		cur->sigwait = 0;
	}
	if (!sig)
		return err == -ETIMEDOUT ? -EAGAIN : err;
	return uinfo && copy_out((void *)uinfo, &info, sizeof(info)) ? -EFAULT : sig;
}

long sys_sigaltstack(long in, long out)
{
	uint64_t rsp = thread_frame(cur)->rsp;
	stack_t new, old = cur->altstack;

	old.ss_flags = !old.ss_size ? SS_DISABLE : on_altstack(rsp) ? SS_ONSTACK : 0;
	if (in) {
		if (copy_in(&new, (void *)in, sizeof(new)))
			return -EFAULT;
		if (on_altstack(rsp))
			return -EPERM;
		if (new.ss_flags & ~SS_DISABLE)
			return -EINVAL;
		if (new.ss_flags & SS_DISABLE)
			new = (stack_t){0};
		else if (new.ss_size < MINSIGSTKSZ)
			return -ENOMEM;
		cur->altstack = new;
	}
	return out ? copy_out((void *)out, &old, sizeof(old)) : 0;
}

/* ---- sending ---- */

static siginfo_t from_us(int sig, int code)
{
	siginfo_t info = {.si_signo = sig, .si_code = code};

	info.si_pid = own_pid;
	return info;
}

/* Relatives are in the engine's reach. Of a group that is ours we are the one that is not. */
long sys_kill(long pid, long sig)
{
	siginfo_t info = from_us((int)sig, SI_USER);
	long r;

	pid = (int)pid;
	if (sig < 0 || sig >= KX_NSIG)
		return -EINVAL;
	if (pid > 0 && child_waited((int)pid))
		return -ESRCH;
	if (pid < -1)
		children_settle(0); /* the engine may not know yet that the last of a group has been waited for */
	if (pid != own_pid && member_signal(pid, (int)sig))
		return 0;
	r = pid == own_pid ? 1 : engine_call(KX_CALL_KILL, 0, (uint64_t)pid, (uint64_t)sig, 0);
	if (r <= 0)
		return r;
	if (sig)
		signal_process((int)sig, &info);
	return 0;
}

static long send_to_thread(long tid, long sig, const siginfo_t *info)
{
	struct thread *t = thread_find((int)tid);

	if (sig < 0 || sig >= KX_NSIG || tid <= 0)
		return -EINVAL;
	if (!t)
		return -ESRCH;
	if (sig)
		signal_thread(t, (int)sig, info);
	return 0;
}

long sys_tkill(long tid, long sig)
{
	siginfo_t info = from_us((int)sig, SI_TKILL);

	return send_to_thread(tid, sig, &info);
}

long sys_tgkill(long tgid, long tid, long sig)
{
	if (tgid <= 0)
		return -EINVAL;
	return tgid == own_pid ? sys_tkill(tid, sig) : -ESRCH;
}

long sys_rt_sigqueueinfo(long pid, long sig, long uinfo)
{
	siginfo_t info;

	if (copy_in(&info, (void *)uinfo, sizeof(info)))
		return -EFAULT;
	if (sig < 0 || sig >= KX_NSIG)
		return -EINVAL;
	if (pid != own_pid)
		return -ESRCH;
	if (sig && !signal_process((int)sig, &info) && signals_queue_full())
		return -EAGAIN;
	return 0;
}

long sys_rt_tgsigqueueinfo(long tgid, long tid, long sig, long uinfo)
{
	siginfo_t info;

	if (copy_in(&info, (void *)uinfo, sizeof(info)))
		return -EFAULT;
	return tgid == own_pid ? send_to_thread(tid, sig, &info) : -ESRCH;
}
