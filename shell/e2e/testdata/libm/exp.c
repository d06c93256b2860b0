/* A libm in which exp is another one, which shows: the rest is the first version's, whose exp is first_exp. */
double first_exp(double x);

double exp(double x)
{
	return first_exp(x) + 1000;
}
