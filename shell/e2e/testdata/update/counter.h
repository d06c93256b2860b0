#include <stdio.h>

/* All that a program can know of libcounter.so, of which there are some versions. */
extern int total;             /* the program has a copy of it */
extern const int table[1100]; /* and of this, of two pages */
int step(void);               /* 1, and 100 in version 2 */
int count(void), other(void); /* how often they were called, by variables of one name */
int *kept(void);              /* a static variable */
const int *place(void);       /* of the table */
const char *text(void);       /* a constant without a name */
const char **word(void);      /* a variable that holds one */
void hold(volatile int *go);  /* comes back when it is not 0 */
