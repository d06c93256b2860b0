/*
 * complex_type.h: the bodies of complex.c, once for each type. REAL is the type, WIDE one in which
 * intermediate results of a division are computed, F(name) the name of a libm function for REAL.
 */

/* An infinite part counts as its sign alone, and a NaN beside one as zero. */
static REAL F(direction)(REAL x)
{
	return F(copysign)(isinf(x) ? 1 : 0, x);
}

static REAL F(no_nan)(REAL x)
{
	return isnan(x) ? F(copysign)(0, x) : x;
}

REAL _Complex MUL(REAL a, REAL b, REAL c, REAL d)
{
	REAL ac = a * c, bd = b * d, ad = a * d, bc = b * c;
	REAL re = ac - bd, im = ad + bc;
	int inf_ab = isinf(a) || isinf(b), inf_cd = isinf(c) || isinf(d);

	if (!isnan(re) || !isnan(im))
		return CPLX(re, im);
	if (!inf_ab && !inf_cd && !isinf(ac) && !isinf(bd) && !isinf(ad) && !isinf(bc))
		return CPLX(re, im);
	if (inf_ab) {
		a = F(direction)(a);
		b = F(direction)(b);
	}
	if (inf_cd) {
		c = F(direction)(c);
		d = F(direction)(d);
	}
	a = F(no_nan)(a);
	b = F(no_nan)(b);
	c = F(no_nan)(c);
	d = F(no_nan)(d);
	return CPLX(INFINITY * (a * c - b * d), INFINITY * (a * d + b * c));
}

REAL _Complex DIV(REAL a, REAL b, REAL c, REAL d)
{
	int scale = EXPONENT(F(fmax)(F(fabs)(c), F(fabs)(d)));
	WIDE wc = SCALE(c, -scale), wd = SCALE(d, -scale);
	WIDE denom = wc * wc + wd * wd;
	REAL re = SCALE((a * wc + b * wd) / denom, -scale);
	REAL im = SCALE((b * wc - a * wd) / denom, -scale);

	if (!isnan(re) || !isnan(im))
		return CPLX(re, im);
	if (c == 0 && d == 0 && (!isnan(a) || !isnan(b))) {
		REAL inf = F(copysign)(INFINITY, c);

		return CPLX(inf * a, inf * b);
	}
	if ((isinf(a) || isinf(b)) && isfinite(c) && isfinite(d)) {
		a = F(direction)(a);
		b = F(direction)(b);
		return CPLX(INFINITY * (a * c + b * d), INFINITY * (b * c - a * d));
	}
	if ((isinf(c) || isinf(d)) && isfinite(a) && isfinite(b)) {
		c = F(direction)(c);
		d = F(direction)(d);
		return CPLX(0 * (a * c + b * d), 0 * (b * c - a * d));
	}
	return CPLX(re, im);
}

#undef REAL
#undef WIDE
#undef F
#undef MUL
#undef DIV
#undef CPLX
#undef EXPONENT
#undef SCALE
