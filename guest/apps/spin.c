/* spin.c: an endless loop without a system call. Only preemption lets a signal end it. */
int main(void)
{
	for (volatile unsigned long n = 0;; n++)
		;
}
