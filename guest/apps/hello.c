/* hello.c: the smallest pVM that says something. */
#include <stdio.h>

int main(void)
{
	return puts("Hello from a pVM") < 0;
}
