/* libbase.so: what all others need. Its read-only part is larger than a page, and has pointers in its data. */
#include "library.h"

int base_count = 40;
const char *base_names[] = {"nought", "one", "two"};
const int base_table[2000] = {[0] = 7, [1999] = 11};
static int secret = 1;

__attribute__((constructor)) static void begin(void) { note("base"); }
__attribute__((destructor)) static void end(void) { note("base"); }

int base_next(void) { return ++base_count; }
int base_secret(int add) { return secret += add; }
int base_call(int (*f)(int), int x) { return f(x); }
int base_which(void) { return 1; } /* the program has one of its own */
int base_which_seen(void) { return base_which(); }
const int *base_place(void) { static const int other[2000] = {0}; return other + 1024; }
void base_crash(void) { *(volatile int *)8 = 1; }
void base_deep(char *to, int size) { to[0] = (char)base_table[0]; to[size - 1] = (char)base_table[1999]; }
