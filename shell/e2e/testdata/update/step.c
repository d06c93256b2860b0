/* Says which version of libcounter.so it was started with. */
#include "counter.h"

int main(void)
{
	printf("step %d\n", step());
	return 0;
}
