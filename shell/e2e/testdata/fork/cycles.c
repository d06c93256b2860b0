/* cycles N: forks a child that exits, and waits for it, N times. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 1, status;

	for (int i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0) {
			perror("fork");
			return 1;
		}
		if (!pid)
			_exit(i & 0x7f);
		if (waitpid(pid, &status, 0) != pid || status != (i & 0x7f) << 8) {
			printf("child %d of cycle %d: status %x\n", (int)pid, i, status);
			return 2;
		}
	}
	printf("%d cycles\n", n);
	return 0;
}
