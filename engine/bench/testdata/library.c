/* libbench.so: 111 functions and 111 variables. With VERSION=2 each function is another one, and all is elsewhere. */
#define TEN(X, n) X(n##0) X(n##1) X(n##2) X(n##3) X(n##4) X(n##5) X(n##6) X(n##7) X(n##8) X(n##9)
#define ALL(X) TEN(X, 1) TEN(X, 2) TEN(X, 3) TEN(X, 4) TEN(X, 5) TEN(X, 6) TEN(X, 7) TEN(X, 8) TEN(X, 9) TEN(X, 10) TEN(X, 11) X(120)

#if VERSION == 2
#define EXTRA(n) int extra_##n(int x) { return x * n; }
ALL(EXTRA)
#endif

#define VARIABLE(n) long variable_##n = n;
ALL(VARIABLE)

#define FUNCTION(n) \
	long function_##n(long x) \
	{ \
		variable_##n++; \
		return VERSION == 2 ? x * 3 + n : x + n; \
	}
ALL(FUNCTION)

/* As much as a library of 2 MiB, for the benchmark of memory. */
#ifdef LARGE
const char large[2 << 20] = {1};
#endif
