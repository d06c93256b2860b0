/* What the tests' libm, of which there are two versions, has beside its functions: 111 variables, statics of one name, and what points to things. */
#include <stddef.h>
#include <stdint.h>

#define TEN(G, n) G(n##0) G(n##1) G(n##2) G(n##3) G(n##4) G(n##5) G(n##6) G(n##7) G(n##8) G(n##9)
#define NUMBERS(G) TEN(G, 1) TEN(G, 2) TEN(G, 3) G(40) G(41) G(42) G(43) G(44) G(45) G(46)
#define GLOBALS 111

struct triple {
	double value;
	void *to; /* another one of the 111 */
	const char *word;
};

struct place { /* of one of them */
	void *at;
	size_t bytes;
};

/* All that a program, or a library, can hold of a library. */
struct hands {
	double (*function)(double);  /* a static function */
	double (*exported)(double);
	unsigned char *inside;       /* in the middle of a variable */
	int *own, *also;             /* statics of one name, in two files */
	const char *literal, **word; /* a variable that holds one */
	const struct place *places;  /* a constant */
};

int libm_version(void);
const struct place *libm_places(void);      /* of the 111 */
void libm_hands(struct hands *h);
int libm_own(void), libm_also(void);        /* count calls, each with two variables that are called so in the other file, too */
void libm_hold(volatile int *go);           /* comes back when it is not 0 */
int *libm_also_place(void);                 /* of also.c's */

/* libother.so, which holds some of it for itself. */
struct hands *other_hands(void);
