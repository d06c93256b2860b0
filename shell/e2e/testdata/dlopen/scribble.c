/* A program that spoils what it says of its libraries before its first call of one. */
#include "kx_abi.h"

extern struct kx_libraries kx_libraries;
int need(int x);

int main(int argc, char **argv)
{
	static uint32_t loop[8] = {1, 1u << 31, 1, 1, 1, 1, 1, 1}; /* a bucket that has no end, of a symbol that is not the one */
	struct kx_library *l = &kx_libraries.library[0];

	switch (argc > 1 ? argv[1][0] : 0) {
	case 'n': kx_libraries.image.next = (uint64_t)&kx_libraries.image; break;
	case 'w': kx_libraries.image.next = KX_CONTROL_VA; break;
	case 'h': l->hash = 8; break;
	case 'l': l->hash = (uint64_t)loop; break;
	case 's': l->symbols = 1UL << 63; break;
	case 't': l->strings = KX_RAM_END; break;
	case 'b': kx_libraries.image.base = 1UL << 62; break;
	case 'c': kx_libraries.image.calls = ~0UL; break;
	}
	return need(1) != 100;
}
