/* libfix.so: of two versions. What a program holds of it are addresses of things that only it can name. */
static int count, seen, places[16] = {0, 0, 0, 33};

static int add(int x) { return x + VERSION * 10; }
static void handler(int sig) { seen += sig ? VERSION : 0; }
static int (*const adders[])(int) = {add};

int fix_version(void) { return VERSION; }
int fix_count(void) { return ++count; }
int fix_seen(void) { return seen; }
int *fix_place(void) { return &places[3]; }
int (*fix_adder(void))(int) { return adders[0]; }
void (*fix_handler(void))(int) { return handler; }
#if VERSION > 1
static int more = 5;
int fix_more(void) { return more++; }
#endif
