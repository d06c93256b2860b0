/* foreground: a job in a group of its own, and one in the shell's: which of them the terminal interrupts. A line of input changes that: f, the first is in the foreground, b, the shell's group is. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static const char *who = "shell";

static void say(const char *what)
{
	char line[64];

	snprintf(line, sizeof(line), "%s %s\n", who, what);
	write(1, line, strlen(line));
}

static void on_interrupt(int sig)
{
	(void)sig;
	say("interrupted");
}

static pid_t job(const char *name, int own_group)
{
	int said[2];
	pid_t pid;
	char c;

	if (pipe(said) || (pid = fork()) < 0)
		return -1;
	close(said[pid > 0]);
	if (pid) {
		read(said[0], &c, 1);
		return pid;
	}
	who = name;
	if (own_group)
		setpgid(0, 0);
	say(tcgetpgrp(0) == getpgrp() ? "in the foreground" : "in the background");
	close(said[1]);
	for (;;)
		pause();
}

int main(void)
{
	char line[16];
	pid_t pid, relative;

	signal(SIGINT, on_interrupt);
	pid = job("job", 1);
	setpgid(pid, pid);
	relative = job("relative", 0);
	if (tcgetpgrp(0) != getpgrp() || tcgetsid(0) != getsid(0))
		say("is lost");
	if (tcsetpgrp(0, getpid() + 1000) != -1 || errno != ESRCH)
		say("took a group that is not there");
	say("ready");
	while (fgets(line, sizeof(line), stdin) || errno == EINTR) {
		clearerr(stdin);
		if (tcsetpgrp(0, line[0] == 'f' ? pid : getpgrp()))
			say(strerror(errno));
		say(tcgetpgrp(0) == pid ? "behind" : "in front");
		errno = 0;
	}
	kill(pid, SIGKILL);
	kill(relative, SIGKILL);
	return 0;
}
