/* libright.so */
#include "library.h"

__attribute__((constructor)) static void begin(void) { note("right"); }
__attribute__((destructor)) static void end(void) { note("right"); }

int right_step(int n) { return n ? left_step(n - 1) + 1 : 0; }
int right_value(void) { return base_next() + base_secret(0); }
