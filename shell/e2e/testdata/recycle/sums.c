/* An application that needs libm and another library, which calls it back. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

double twice(double (*f)(double), double x);
int app_entry(int argc, char **argv);
double offset(void);

double offset(void)
{
	return 0.5;
}

int app_entry(int argc, char **argv)
{
	printf("%.6f %.6f\n", twice(sqrt, argc > 1 ? atof(argv[1]) : 16), tgamma(5));
	return 0;
}
