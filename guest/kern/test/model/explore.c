/*
 * explore.c: runs a pair of sides in one order of steps after the other. A side goes on until it sleeps, spins or is at its end, but for
 * some steps before which the other one is let run. All orders with up to two of these are tried, with up to one of them each step as
 * the last one of the side that takes it; and by chance, from a seed, such with more.
 */
#include "step.h"

#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#define MOST_STEPS 20000
#define STACK 65536
#define SWITCHES 4
#define ALL 2 /* all orders with up to so many are tried */
#define NEAR 30

char model_area[AREA_PAGES * 4096] __attribute__((aligned(4096)));
char model_text[RECORDS * RECORD];
int model_inside;

/* All that the sides and the hypervisor remember. */
extern char __start_side_data[], __stop_side_data[];

static const struct side *const copies[SIDES] = {&side_a, &side_b};

static struct {
	ucontext_t context;
	bool (*due)(bool asleep);
	bool asleep, deadline, late, over, dead;
} sides[SIDES];

static ucontext_t outside;
static unsigned running;
static bool exploring;
static unsigned steps;
static int switched; /* so many of the order's switches were some */
bool in_hypervisor[SIDES];

/* The order that is tried. */
static struct order {
	unsigned first;
	unsigned switches[SWITCHES]; /* before which steps; 0: none */
	unsigned death;              /* the step that the side never takes; 0: none */
} order;

static const char *setting;
static unsigned play; /* that is given */
static struct {
	const char *file;
	int line;
	unsigned side;
} trace[MOST_STEPS + 1];

/* ---- what the sides see ---- */

unsigned side_running(void)
{
	return running;
}

bool other_dead(void)
{
	return sides[!running].dead;
}

const struct side *side_at(unsigned n)
{
	return copies[n];
}

void say(bool ok, const char *what)
{
	if (ok)
		return;
	printf("model: %s: %s\n%s, %s, first %c, switches %u %u %u %u, death %u; the last steps:\n", exploring ? "wrong" : "setup", what, copies[0]->plays[play].name, setting,
	       'a' + order.first, order.switches[0], order.switches[1], order.switches[2], order.switches[3], order.death);
	for (unsigned i = steps > 150 ? steps - 150 : 1; i <= steps; i++)
		printf("%5u %c %s:%d\n", i, 'a' + trace[i].side, trace[i].file, trace[i].line);
	exit(1);
}

static bool can_run(unsigned n)
{
	unsigned was = running;
	bool can = !sides[n].over;

	if (can && sides[n].asleep) {
		exploring = false;
		running = n;
		can = sides[n].late || sides[n].due(true);
		running = was;
		exploring = true;
	}
	return can;
}

static void let_run(unsigned n)
{
	unsigned was = running;

	if (n == was)
		return;
	running = n;
	swapcontext(&sides[was].context, &sides[n].context);
}

/* Whoever runs cannot go on. */
static void somebody_else(void)
{
	for (;;) {
		if (can_run(!running))
			return let_run(!running);
		if (sides[running].asleep && can_run(running))
			return;
		/* Time passes. */
		if (sides[running].asleep && sides[running].deadline)
			sides[running].late = true;
		else if (sides[!running].asleep && !sides[!running].over && sides[!running].deadline)
			sides[!running].late = true;
		else
			break;
	}
	say(sides[0].over && sides[1].over, "nobody wakes who sleeps");
	setcontext(&outside);
}

static void die(void)
{
	sides[running].over = sides[running].dead = true;
	exploring = false;
	if (!sides[!running].over) {
		copies[!running]->gone(copies[running]->ctl->domid);
		raise_event(copies[!running], copies[!running]->ctl->evtchn);
	}
	exploring = true;
	somebody_else();
}

/*
 * What a side has ever done to a word, in any order; several words may have one place. Where the other one has no part in it
 * the order does not matter, and it is no step.
 */
static struct {
	bool read, written;
} uses[SIDES][1 << 16];
static bool known;

static void step(const char *file, int line, const volatile void *word, bool writes)
{
	size_t place = ((uintptr_t)word >> 2) % ARRAY_LEN(uses[0]);
	bool matters = uses[!running][place].written || (writes && uses[!running][place].read);

	uses[running][place].read = uses[running][place].read || !writes;
	uses[running][place].written = uses[running][place].written || writes;
	if (!exploring || sides[!running].over || (known && !matters))
		return;
	steps++;
	trace[steps].file = file;
	trace[steps].line = line;
	trace[steps].side = running;
	say(steps < MOST_STEPS, "it does not end");
	if (order.death && steps >= order.death && !in_hypervisor[running])
		die();
	for (int i = 0; i < SWITCHES; i++)
		if (steps == order.switches[i] && can_run(!running)) {
			switched++;
			let_run(!running);
			return; /* in another step by now */
		}
}

void look_at(const char *file, int line, const volatile void *word)
{
	step(file, line, word, false);
}

void change(const char *file, int line, const volatile void *word)
{
	step(file, line, word, true);
}

void give_way(void)
{
	if (exploring && can_run(!running))
		let_run(!running);
}

bool model_sleep(bool (*due)(bool asleep), bool deadline)
{
	bool slept, late;

	exploring = false; /* whether to sleep is decided by the hypervisor, at once */
	slept = !due(false);
	exploring = true;
	if (!slept)
		return true;
	sides[running].due = due;
	sides[running].deadline = deadline;
	sides[running].asleep = true;
	somebody_else();
	late = sides[running].late;
	sides[running].asleep = sides[running].late = false;
	return !late;
}

/* ---- orders ---- */

static void live(void)
{
	copies[running]->plays[play].act[running]();
	sides[running].over = true;
	somebody_else();
}

static struct {
	char *data, *area;
} start;

static size_t data_size(void)
{
	return (size_t)(__stop_side_data - __start_side_data);
}

static void remember(void)
{
	memcpy(start.data, __start_side_data, data_size());
	memcpy(start.area, model_area, sizeof(model_area));
}

static void begin_again(void)
{
	memcpy(__start_side_data, start.data, data_size());
	memcpy(model_area, start.area, sizeof(model_area));
}

static unsigned long tried;
static unsigned longest; /* of them, in steps */

/* Runs one order to its end: how many steps there were. */
static unsigned try(struct order o)
{
	static char stacks[SIDES][STACK] __attribute__((aligned(16)));

	begin_again();
	order = o;
	steps = 0;
	switched = 0;
	model_inside = 0;
	for (unsigned n = 0; n < SIDES; n++) {
		memset(&sides[n], 0, sizeof(sides[n]));
		getcontext(&sides[n].context);
		sides[n].context.uc_stack.ss_sp = stacks[n];
		sides[n].context.uc_stack.ss_size = STACK;
		makecontext(&sides[n].context, live, 0);
	}
	running = o.first;
	exploring = true;
	swapcontext(&outside, &sides[running].context);
	exploring = false;
	tried++;
	longest = MAX(longest, steps);
	return steps;
}

static unsigned seed, chances = 20000;

static unsigned random_below(unsigned n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % n;
}

static void by_chance(struct order o, unsigned times)
{
	unsigned n = try(o);

	while (times--) {
		o.switches[0] = 1 + random_below(n);
		for (int k = 1; k < SWITCHES; k++) /* near each other: what goes wrong does within a few steps */
			o.switches[k] = o.switches[k - 1] + 1 + random_below(NEAR);
		o.death = times % 4 ? 0 : 1 + random_below(n);
		try(o);
	}
}

static void deaths(struct order o, unsigned from, unsigned n)
{
	for (o.death = from; o.death <= n; o.death++)
		try(o);
}

/* All with so many switches more, after the step `after`. */
static void all(struct order o, int more, unsigned after)
{
	unsigned n = try(o);
	int k = ALL - more; /* so many it has */

	if (after && switched < k)
		return; /* it was tried without the last one */
	if (k < ALL) /* with all of them it would take too long */
		deaths(o, after + 1, n);
	for (unsigned s = after + 1; more && s <= n; s++) {
		o.switches[k] = s;
		all(o, more - 1, s);
	}
}

static void explore(struct order o)
{
	known = false;
	by_chance(o, chances / 10);
	known = true;
	all(o, ALL, 0);
	by_chance(o, chances);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		uint32_t flags;
		bool opened;  /* b is born by a fork while a is there */
		bool offered; /* b offers a nothing itself */
	} settings[] = {{"hosted", KX_F_BELLS, false, false}, {"hosted, looking", KX_F_BELLS | KX_F_LOOK, false, false}, {"Xen", 0, false, false}, {"Xen, looking", KX_F_LOOK, false, false},
			{"Xen, siblings", 0, true, false}, {"Xen, siblings, no offer", 0, true, true}};
	char *pristine = malloc(data_size());

	seed = argc > 1 ? (unsigned)atoi(argv[1]) : (unsigned)time(NULL);
	chances = argc > 2 ? (unsigned)atoi(argv[2]) : chances;
	printf("model: seed %u\n", seed);
	for (size_t i = 0; i < sizeof(model_text); i++)
		model_text[i] = (char)(i / 7 + i / RECORD);
	start.data = malloc(data_size());
	start.area = malloc(sizeof(model_area));
	memcpy(pristine, __start_side_data, data_size());
	for (size_t i = 0; i < PLAYS * ARRAY_LEN(settings); i++) {
		uint32_t number;

		if (!(i % ARRAY_LEN(settings)))
			memset(uses, 0, sizeof(uses));
		play = i / ARRAY_LEN(settings);
		setting = settings[i % ARRAY_LEN(settings)].name;
		memcpy(__start_side_data, pristine, data_size());
		memset(model_area, 0, sizeof(model_area));
		for (unsigned n = 0; n < SIDES; n++) {
			running = n;
			copies[n]->enter(11 + n, settings[i % ARRAY_LEN(settings)].flags);
			number = copies[n]->plays[play].make();
		}
		copies[1]->plays[play].take(number, true);
		running = 0;
		copies[0]->plays[play].take(number, false);
		if (settings[i % ARRAY_LEN(settings)].opened)
			engine_opens();
		running = 1;
		if (settings[i % ARRAY_LEN(settings)].offered)
			copies[1]->offered();
		remember();
		tried = 0;
		longest = 0;
		explore((struct order){.first = 0});
		explore((struct order){.first = 1});
		printf("model: %s, %s: %lu orders of up to %u steps\n", copies[0]->plays[play].name, setting, tried, longest);
	}
	return 0;
}
