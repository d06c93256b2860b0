/*
 * requests.c FILES SEED ROUNDS: asks the engine for files of the host by itself, with nonsense: FILES is where struct kx_files is. With
 * 0 ROUNDS, with a message that has no size.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hyper.h"

#define MESSAGE ((volatile uint8_t *)0x10040000)
#define PORT ((volatile uint32_t *)0x10002018)

static volatile uint32_t *files; /* asked, done */
static uint8_t message[4096];
static uint32_t size;

static void put(uint64_t v, int bytes)
{
	memcpy(message + size, &v, bytes);
	size += bytes;
}

static void name(void)
{
	static const char *const names[] = {"a", "b", "..", ".", "../outside", "/etc/passwd", "", "a/b", "link", "d"};
	const char *s = names[rand() % 10];

	put(strlen(s), 2);
	memcpy(message + size, s, strlen(s));
	size += strlen(s);
}

static void random_request(void)
{
	static const uint8_t types[] = {8, 12, 14, 16, 22, 24, 26, 40, 50, 70, 72, 74, 76, 100, 104, 110, 110, 110, 116, 118, 120};

	size = 4;
	put(types[rand() % sizeof(types)], 1);
	put(rand() % 3, 2);
	put(rand() % 5, 4); /* mostly a fid */
	switch (message[4]) {
	case 110:
		put(rand() % 5, 4);
		put(rand() % 3, 2);
		name();
		name();
		break;
	case 104:
		put(0, 4);
		put(0, 2);
		put(1, 2);
		put('0' + rand() % 2, 1);
		put(0, 4);
		break;
	case 74:
	case 16:
		name();
		if (rand() % 2)
			put(rand() % 5, 4);
		name();
		put(0, 4);
		break;
	case 14:
	case 72:
	case 76:
		name();
		put(rand() % 3, 4);
		put(rand(), 4);
		put(0, 4);
		break;
	default:
		for (int n = rand() % 60; n > 0; n--)
			put(rand() % 4 ? 0 : rand(), 1);
	}
	size -= rand() % 8 == 0; /* a byte is missing */
	memcpy(message, &size, 4);
}

static void send(void)
{
	uint32_t port = *PORT;

	for (uint32_t i = 0; i < size; i++)
		MESSAGE[i] = message[i];
	__sync_synchronize();
	files[0]++;
	hypercall(32, 4 /* EVTCHNOP_send */, (uint64_t)&port, 0);
	for (int i = 0; i < 100000 && files[1] != files[0]; i++)
		usleep(i < 10 ? 1 : 1000);
}

int main(int argc, char **argv)
{
	long rounds = argc > 3 ? atol(argv[3]) : 0;

	files = (volatile uint32_t *)strtoull(argc > 1 ? argv[1] : "0", NULL, 0);
	srand(argc > 2 ? atoi(argv[2]) : 0);
	if (rounds == 0) {
		size = 0xffffffff;
		memcpy((void *)MESSAGE, &size, 4);
		size = 0;
		send();
		puts("still there");
	}
	for (long i = 0; i < rounds; i++) {
		random_request();
		send();
	}
	printf("%d\n", files[0] == files[1]);
	return 0;
}
