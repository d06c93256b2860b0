/*
 * placeholder.c: the program of a recycled pVM (run --recycle). The LibOS starts it when the engine has put the application, a shared library, beside
 * it, and has said here where that begins. All of libc is in its image, for whatever the application needs.
 */
typedef int entry(int argc, char **argv, char **envp);

entry *volatile kx_application;

/* Hidden: the application's main is its own. */
int main(int argc, char **argv, char **envp) __attribute__((visibility("hidden")));

int main(int argc, char **argv, char **envp)
{
	return kx_application(argc, argv, envp);
}
