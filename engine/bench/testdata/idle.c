/* Waits for ever, as most pVMs of a host do most of the time. */
#include <unistd.h>

int main(void)
{
	for (;;)
		pause();
}
