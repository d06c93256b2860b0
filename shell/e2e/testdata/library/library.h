#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void note(const char *who); /* the program's */

extern int base_count;
extern const char *base_names[3];
extern const int base_table[2000];
int base_next(void), base_secret(int add), base_call(int (*f)(int), int x), base_which(void), base_which_seen(void);
const int *base_place(void);
void base_crash(void);
void base_deep(char *to, int size);

extern int (*left_op)(int);
double left_mean(double a, double b, double c, double d, int n);
int left_step(int n), left_value(void), left_absent(void), left_right(void);
int right_step(int n), right_value(void);
