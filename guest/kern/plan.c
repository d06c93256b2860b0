/* plan.c: what the engine has planned for libraries that come, in the place of another one (update.c) or beside those that are there (load.c). */
#include "mem.h"
#include "update.h"

static bool check_pages(const struct plan *p)
{
	uint64_t at = p->head->new_va;

	for (uint32_t i = 0; i < p->head->pages; at = p->page[i++].va + PAGE_SIZE)
		if (p->page[i].va & (PAGE_SIZE - 1) || p->page[i].va < at || p->page[i].va >= p->head->new_end ||
		    (p->page[i].content && !readable(p->page[i].content, PAGE_SIZE)))
			return false;
	return true;
}

static bool check_words(const struct plan *p)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < p->head->words; at = p->word[i++].va + 8)
		if (p->word[i].va % 8 || p->word[i].va < at)
			return false;
	return true;
}

int plan_read(struct plan *p, uint64_t at)
{
	const struct kx_update *head = (const struct kx_update *)at;
	uint64_t size;

	if (at & 7 || at >= mem.ram_va || !readable(at, sizeof(*head)))
		return -EINVAL;
	size = sizeof(*head) + head->parts * sizeof(*p->part) + head->pages * sizeof(*p->page) + head->moves * sizeof(*p->move) +
	       ((uint64_t)head->literals + head->words) * sizeof(*p->word);
	if (size > mem.ram_va - at || !readable(at, size) || (head->new_va | head->new_end) & (PAGE_SIZE - 1) || head->new_va < mem.dynamic_va ||
	    head->new_end <= head->new_va || head->new_end > mem.ram_va)
		return -EINVAL;
	p->head = head;
	p->part = (const struct kx_update_part *)(head + 1);
	p->page = (const struct kx_update_page *)(p->part + head->parts);
	p->move = (const struct kx_update_move *)(p->page + head->pages);
	p->literal = (const struct kx_update_word *)(p->move + head->moves);
	p->word = p->literal + head->literals;
	return check_pages(p) && check_words(p) ? 0 : -EINVAL;
}

bool plan_owns(const struct plan *p, uint64_t va, uint64_t n)
{
	uint32_t lo = 0, hi = p->head->pages;
	uint64_t last = PAGE_DOWN(va + n - 1), first = PAGE_DOWN(va);

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (p->page[mid].va < first)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < p->head->pages && p->page[lo].va == first; lo++, first += PAGE_SIZE)
		if (first == last)
			return true;
	return false;
}

/* Run by run, until one cannot be had; how many pages have been passed. */
static uint32_t take_pages(const struct plan *p, int *err)
{
	uint32_t i = 0, first;

	for (*err = 0; i < p->head->pages; ) {
		for (first = i++; i < p->head->pages && p->page[i].va == p->page[i - 1].va + PAGE_SIZE; i++)
			;
		*err = dynamic_take(p->page[first].va, i - first);
		if (*err)
			return first;
	}
	return i;
}

int plan_take(const struct plan *p)
{
	int err;
	uint32_t taken = take_pages(p, &err);
	uint64_t at = p->head->new_va;

	for (uint32_t i = 0; i < taken; i++)
		if (err)
			dynamic_drop(p->page[i].va, 1);
		else if (p->page[i].content)
			copy_words((void *)p->page[i].va, (const void *)p->page[i].content, PAGE_SIZE / 8);
	if (err)
		return err;
	/* Between them are the engine's. */
	for (uint32_t i = 0; i < taken; at = p->page[i++].va + PAGE_SIZE)
		image_forget(at, (p->page[i].va - at) >> PAGE_SHIFT);
	image_forget(at, (p->head->new_end - at) >> PAGE_SHIFT);
	return 0;
}

void plan_words(const struct plan *p)
{
	for (uint32_t i = 0; i < p->head->words; i++)
		put_word(p->word[i].va, p->word[i].value);
}
