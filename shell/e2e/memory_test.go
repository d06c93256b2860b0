package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kxsh/engine"
)

// placesC prints where its stack, heap, a mapping and a thread's stack are.
const placesC = `
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
static void *in_thread(void *x) { printf("%p\n", (void *)&x); return 0; }
int main(void)
{
	int local;
	pthread_t t;
	printf("%p %p ", (void *)&local, malloc(100));
	printf("%p ", mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	fflush(stdout);
	pthread_create(&t, 0, in_thread, 0);
	pthread_join(t, 0);
	return 0;
}
`

// Stacks, heap and mappings are somewhere else in each boot.
func TestPlacesAreRandom(t *testing.T) {
	h := newHome(t)
	src, image := filepath.Join(h.dir, "places.c"), filepath.Join(h.dir, "places.kx")
	if err := os.WriteFile(src, []byte(placesC), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := h.run(t, "cc", "-o", image, src); code != 0 {
		t.Fatal(errs)
	}
	const boots = 4
	seen := map[string]int{}
	for range boots {
		out, errs, code := h.run(t, "run", image)
		places := strings.Fields(out)
		if code != 0 || len(places) != 4 {
			t.Fatalf("status %d: %q %s", code, out, errs)
		}
		for i, p := range places {
			seen[fmt.Sprint(i, " ", p)]++
		}
	}
	for p, n := range seen {
		if n > 1 {
			t.Errorf("place %s came %d times in %d boots", p, n, boots)
		}
	}
}

// ownMallocC has a malloc of its own, which libc's functions use.
const ownMallocC = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static char arena[1 << 16];
static size_t used, freed;
void *malloc(size_t n)
{
	size_t *p = (size_t *)(arena + used);
	used += (n + 31) & ~(size_t)15;
	*p = n;
	return used <= sizeof(arena) ? p + 2 : 0;
}
void free(void *p) { freed += p != 0; }
void *calloc(size_t m, size_t n) { void *p = malloc(m * n); return p ? memset(p, 0, m * n) : p; }
void *realloc(void *p, size_t n)
{
	void *new = malloc(n);
	if (new && p)
		memcpy(new, p, n < ((size_t *)p)[-2] ? n : ((size_t *)p)[-2]);
	free(p);
	return new;
}
int main(void)
{
	char *copy = strdup("mine"), *line = 0;
	size_t room = 0;
	FILE *f = fmemopen("a line\n", 7, "r");
	if (!f || getline(&line, &room, f) != 7 || copy < arena || copy >= arena + used || line < arena || line >= arena + used)
		return 1;
	free(copy), free(line);
	return puts(freed >= 2 ? "mine" : "libc's") < 0;
}
`

// A program's own malloc takes the place of libc's, also where all of libc is in it.
func TestMallocOfItsOwn(t *testing.T) {
	h := newHome(t)
	src := filepath.Join(h.dir, "own.c")
	if err := os.WriteFile(src, []byte(ownMallocC), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, flags := range [][]string{{"-O2"}, {"-O2", "-rdynamic"}} {
		if out, errs, code := h.run(t, "run", h.image(t, src, append(flags, "-fno-builtin")...)); code != 0 || out != "mine\n" {
			t.Errorf("%q: status %d: %s%s", flags, code, out, errs)
		}
	}
}

// An engine that moves a hundred megabytes of console holds none of them.
func TestFloodLeavesTheEngineSmall(t *testing.T) {
	h := newHome(t)
	if out, errs, code := h.run(t, "-c", fmt.Sprintf("run $APPS/flood.kx %d | tail -c 65", floodMiB)); code != 0 || !strings.Contains(out, "lazy dog") {
		t.Fatalf("status %d: %s%s", code, out, errs)
	}
	if out, errs, code := h.run(t, "-c", fmt.Sprintf("p=$(run -d $APPS/flood.kx %d); wait $p; echo $?", floodMiB)); code != 0 || out != "0\n" {
		t.Fatalf("status %d: %s%s", code, out, errs)
	}
	c, err := engine.Connect(context.Background(), h.socket(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	info, err := c.Info(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", info.PID))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Fatal("no VmHWM in /proc/PID/status")
	}
	if kib, _ := strconv.Atoi(string(m[1])); kib > 64<<10 {
		t.Errorf("the engine grew to %d KiB", kib)
	}
}
