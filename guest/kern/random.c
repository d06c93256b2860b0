/* random.c: random bytes by ChaCha20 from the seed that the host gave this boot. */
#include <sys/random.h>

#include "process.h"

#define WORDS 16
#define KEY_WORDS 8
#define ROUNDS 20

static uint32_t key[KEY_WORDS];
static uint64_t counter;
static uint8_t block[WORDS * 4];
static size_t left; /* bytes of block that nobody has seen, at its end */

static uint32_t rotl(uint32_t v, int n)
{
	return v << n | v >> (32 - n);
}

static void quarter(uint32_t *x, int a, int b, int c, int d)
{
	x[a] += x[b], x[d] = rotl(x[d] ^ x[a], 16);
	x[c] += x[d], x[b] = rotl(x[b] ^ x[c], 12);
	x[a] += x[b], x[d] = rotl(x[d] ^ x[a], 8);
	x[c] += x[d], x[b] = rotl(x[b] ^ x[c], 7);
}

void chacha20_block(const uint32_t k[KEY_WORDS], uint64_t n, uint8_t out[WORDS * 4])
{
	uint32_t in[WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, x[WORDS];

	memcpy(in + 4, k, KEY_WORDS * sizeof(*k));
	in[12] = (uint32_t)n;
	in[13] = (uint32_t)(n >> 32);
	memcpy(x, in, sizeof(x));
	for (int i = 0; i < ROUNDS; i += 2) {
		quarter(x, 0, 4, 8, 12);
		quarter(x, 1, 5, 9, 13);
		quarter(x, 2, 6, 10, 14);
		quarter(x, 3, 7, 11, 15);
		quarter(x, 0, 5, 10, 15);
		quarter(x, 1, 6, 11, 12);
		quarter(x, 2, 7, 8, 13);
		quarter(x, 3, 4, 9, 14);
	}
	for (int i = 0; i < WORDS; i++)
		x[i] += in[i];
	memcpy(out, x, sizeof(x));
}

/* The first half of each block is the next key: who sees the state later learns nothing of before. */
static void refill(void)
{
	chacha20_block(key, counter++, block);
	memcpy(key, block, sizeof(key));
	memset(block, 0, sizeof(key));
	left = sizeof(block) - sizeof(key);
}

void random_bytes(void *p, size_t n)
{
	uint8_t *dst = p;

	while (n) {
		if (!left)
			refill();
		size_t part = MIN(n, left);
		uint8_t *src = block + sizeof(block) - left;

		memcpy(dst, src, part);
		memset(src, 0, part);
		dst += part;
		n -= part;
		left -= part;
	}
}

uint64_t random_below(uint64_t n)
{
	uint64_t v;

	random_bytes(&v, sizeof(v));
	return v % n;
}

/* At boot, and in a child: nothing of the parent's randomness is left. */
void random_init(void)
{
	volatile uint8_t *seed = control->seed;

	left = 0;

	for (size_t i = 0; i < sizeof(control->seed); i++) {
		((uint8_t *)key)[i] = seed[i];
		seed[i] = 0;
	}
}

long sys_getrandom(long out, long n, long flags)
{
	uint8_t buf[256];
	size_t done = 0;

	if (flags & ~(long)(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE))
		return -EINVAL;
	n = MIN(n, INT_MAX);
	while (done < (size_t)n) {
		size_t part = MIN((size_t)n - done, sizeof(buf));

		random_bytes(buf, part);
		if (copy_out((char *)out + done, buf, part))
			return done ? (long)done : -EFAULT;
		done += part;
	}
	return (long)done;
}
