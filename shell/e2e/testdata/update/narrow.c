/* What cannot take libcounter.so's place: a function has gone, and a variable is wider. */
long total = 5;
