/* libleft.so: one side of a diamond, and half of a cycle with the other one. */
#include "library.h"

__attribute__((constructor)) static void begin(void) { note("left"); }
__attribute__((destructor)) static void end(void) { note("left"); }

static int twice(int x) { return 2 * x; }
int (*left_op)(int) = twice;
double left_mean(double a, double b, double c, double d, int n) { return (a + b + c + d) / n; }
int left_right(void) { return right_value(); }
int left_step(int n) { return n ? right_step(n - 1) + 1 : 0; }
int left_value(void) { return left_op(base_next()); }
extern int absent(void) __attribute__((weak));
int left_absent(void) { return absent ? absent() : -1; }
