double offset(void); /* the application's */
double twice(double (*f)(double), double x);

double twice(double (*f)(double), double x)
{
	return f(f(x)) + offset();
}
