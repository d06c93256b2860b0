/* Functions of libm for double, of one and of two arguments, without those that have another name as well; f and l behind are for float and long double. */
ONE(sin) ONE(cos) ONE(tan) ONE(asin) ONE(acos) ONE(atan) ONE(sinh) ONE(cosh) ONE(tanh) ONE(asinh) ONE(acosh) ONE(atanh)
ONE(exp) ONE(exp2) ONE(expm1) ONE(log) ONE(log2) ONE(log10) ONE(log1p) ONE(logb) ONE(sqrt) ONE(cbrt)
ONE(erf) ONE(erfc) ONE(tgamma) ONE(lgamma) ONE(floor) ONE(ceil) ONE(round) ONE(trunc) ONE(rint) ONE(nearbyint) ONE(fabs)
TWO(pow) TWO(atan2) TWO(hypot) TWO(fmod) TWO(fdim) TWO(fmax) TWO(fmin) TWO(copysign) TWO(nextafter)
