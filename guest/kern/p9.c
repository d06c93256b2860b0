/* p9.c: requests to the engine's server of folders, and its replies: kx_files, and 9P2000.L in KX_FILES_VA. */
#include "bell.h"
#include "hyper.h"
#include "p9.h"
#include "process.h"

#define files (&control->files)
#define BUF ((uint8_t *)KX_FILES_VA)
#define HEAD 7 /* size, type, tag */

static size_t at, end; /* where the next byte goes or comes from, and how many there are of a reply */
static bool bad;
static uint32_t introduced, last_fid;
static struct looks looks; /* for replies */

void p9_begin(enum p9_type type)
{
	at = 4;
	bad = false;
	p9_put(type, 1);
	p9_put(type == P9_VERSION ? 0xffff : 1, 2);
}

void p9_put(uint64_t v, size_t bytes)
{
	if (bytes > KX_FILES_SIZE - at) {
		bad = true;
		return;
	}
	memcpy(BUF + at, &v, bytes);
	at += bytes;
}

void p9_put_fid(const struct fid *f)
{
	p9_put(f->number, 4);
}

void p9_text(const char *s, size_t len)
{
	p9_put(len, 2);
	if (bad || len > KX_FILES_SIZE - at) {
		bad = true;
		return;
	}
	memcpy(BUF + at, s, len);
	at += len;
}

void *p9_room(void)
{
	return BUF + at;
}

void p9_skip(size_t n)
{
	at += n;
}

uint64_t p9_take(size_t bytes)
{
	uint64_t v = 0;
	const void *p = p9_piece(bytes);

	if (p)
		memcpy(&v, p, bytes);
	return v;
}

const void *p9_piece(size_t n)
{
	const void *p = BUF + at;

	if (n > end - at) {
		bad = true;
		return NULL;
	}
	at += n;
	return p;
}

bool p9_bad(void)
{
	return bad;
}

/* ---- one request ---- */

static bool answered(void)
{
	return __atomic_load_n(&files->done, __ATOMIC_SEQ_CST) == files->asked;
}

static void exchange(void)
{
	bool look = looks_due(&looks);
	int slept = 0;

	if (look)
		__atomic_fetch_or(&control->files_looks, KX_FILES_PVM, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&files->asked, 1, __ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(&control->files_looks, __ATOMIC_SEQ_CST) & KX_FILES_ENGINE))
		doorbell();
	if (look) {
		for (int64_t end = now_ns() + LOOK_NS; !answered() && now_ns() < end;)
			__builtin_ia32_pause();
		__atomic_fetch_and(&control->files_looks, ~KX_FILES_PVM, __ATOMIC_SEQ_CST);
		looks_were(&looks, answered());
	}
	while (!answered()) {
		event_wait_here();
		slept = 1;
	}
	if (slept)
		events_owed();
}

/* The reply's type is that of the request plus one, or it is an error. */
static long call_server(uint8_t type)
{
	uint32_t size = (uint32_t)at;
	uint64_t got;
	long err;

	memcpy(BUF, &size, sizeof(size));
	exchange();
	at = 0;
	end = HEAD;
	end = MIN(p9_take(4), (uint64_t)KX_FILES_SIZE);
	bad = end < HEAD;
	if (bad)
		return -EIO;
	got = p9_take(1);
	p9_take(2);
	if (got == P9_RLERROR) {
		err = (long)p9_take(4);
		return err > 0 && err < 4096 ? -err : -EIO;
	}
	return got == type + 1u ? 0 : -EIO;
}

long p9_call(bool again)
{
	uint32_t server = introduced;
	uint8_t type = BUF[4];
	long err;

	if (bad)
		return -ENAMETOOLONG;
	if (files->server != server)
		return P9_STALE;
	err = call_server(type);
	/* A server that is new knows no fid, so what it has been asked for it has refused. */
	if (files->server != server)
		return again ? P9_STALE : -EIO;
	return err;
}

long p9_server(uint32_t *server)
{
	static const char version[] = "9P2000.L";
	uint32_t now;
	long err;

	while (introduced != files->server || !introduced) {
		now = files->server;
		p9_begin(P9_VERSION);
		p9_put(KX_FILES_SIZE, 4);
		p9_text(version, sizeof(version) - 1);
		err = call_server(P9_VERSION);
		if (files->server != now)
			continue;
		if (err)
			return err;
		introduced = now;
	}
	*server = introduced;
	return 0;
}

/* ---- fids ---- */

struct fid p9_fid(uint32_t server)
{
	return (struct fid){++last_fid, server};
}

bool p9_knows(const struct fid *f)
{
	return f->server && f->server == introduced && f->server == files->server;
}

void p9_clunk(struct fid *f)
{
	if (p9_knows(f)) {
		p9_begin(P9_CLUNK);
		p9_put_fid(f);
		p9_call(true);
	}
	f->server = 0;
}

void p9_forked(void)
{
	introduced = 0;
	looks = (struct looks){0};
}
