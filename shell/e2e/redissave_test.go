package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const redisWriters = 4

// others is how many keys there are that nobody writes to.
var others = max(20000/slowness, 3000)

// saver is a server in a pVM that saves into a folder of the host's.
type saver struct {
	t              *testing.T
	h              *home
	dir, pid, addr string
}

func newSaver(t *testing.T, args ...string) *saver {
	t.Helper()
	s := &saver{t: t, h: newHome(t)}
	s.dir = s.h.folder(t, "data")
	s.start(args...)
	t.Cleanup(func() {
		if t.Failed() {
			out, _, _ := s.h.run(t, "-c", "events; ps -e; logs "+s.pid)
			t.Log(out)
		}
	})
	redisDo(t, s.addr, "DEBUG", "POPULATE", strconv.Itoa(others), "key", "200")
	return s
}

func (s *saver) start(args ...string) {
	s.t.Helper()
	s.pid, s.addr = s.h.redis(s.t, []string{"-v", s.dir + ":/data"}, append([]string{"--dir", "/data"}, args...)...)
}

// kill ends the family, as kill -9 ends a process.
func (s *saver) kill() {
	s.t.Helper()
	s.h.output(s.t, "kill", "--tree", "-KILL", s.pid)
	s.h.run(s.t, "wait", s.pid)
}

// info is a field of INFO persistence.
func info(t *testing.T, addr, field string) string {
	t.Helper()
	_, rest, some := strings.Cut(redisDo(t, addr, "INFO", "persistence"), "\n"+field+":")
	if !some {
		t.Fatalf("INFO has no %s", field)
	}
	return strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])
}

// saved waits until no child of a server is at work, and wants its last one to have done it or not.
func saved(t *testing.T, addr, field, status string) {
	t.Helper()
	await(t, "the child to end", func() (bool, string) {
		now := info(t, addr, "rdb_bgsave_in_progress") + info(t, addr, "aof_rewrite_in_progress") + info(t, addr, "aof_rewrite_scheduled")
		return now == "000", now
	})
	if got := info(t, addr, field); got != status {
		t.Errorf("%s: %s", field, got)
	}
}

// child is the pVM that saves.
func (s *saver) child() (pid string) {
	s.t.Helper()
	await(s.t, "a child", func() (bool, string) {
		out := s.h.output(s.t, "ps", "--no-headers", "-o", "pid,ppid,stat")
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); f[1] == s.pid && !strings.HasPrefix(f[2], "Z") {
				pid = f[0]
			}
		}
		return pid != "", out
	})
	return pid
}

// files are the names in its folder.
func (s *saver) files() (names []string) {
	s.t.Helper()
	list, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range list {
		names = append(names, f.Name())
	}
	return names
}

// longest is the longest that a server lets a client wait for an answer, until it is told to stop.
func longest(t *testing.T, addr string) (stop func() time.Duration) {
	t.Helper()
	c, err := dialRedis(addr)
	if err != nil {
		t.Fatal(err)
	}
	done, most := make(chan bool), make(chan time.Duration, 1)
	go func() {
		defer c.Close()
		for m := time.Duration(0); ; {
			begin := time.Now()
			if _, err := c.all([]string{"PING"}); err != nil {
				t.Error(err)
				most <- m
				return
			}
			m = max(m, time.Since(begin))
			select {
			case <-done:
				most <- m
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
	}()
	return func() time.Duration { close(done); return <-most }
}

// underLoad has a server fork to save while it is written to, often enough that writers have been at work meanwhile: how long a client waited at most.
func underLoad(t *testing.T, addr, command, field string) time.Duration {
	t.Helper()
	w := startWriters(t, addr, redisWriters)
	defer w.end()
	await(t, "writers to have written", func() (bool, string) {
		c := redisDo(t, addr, "GET", "0:count")
		n, _ := strconv.Atoi(c)
		return n > 50, c
	})
	stop := longest(t, addr)
	redisDo(t, addr, command)
	saved(t, addr, field, "ok")
	return stop()
}

// A server forks to save while clients write: what is in the folder of the host a native server loads, and it is what all clients had written at one moment.
func TestNetworkRedisBGSAVE(t *testing.T) {
	s := newSaver(t)
	dir := t.TempDir()
	native := redisNative(t, dir)
	redisDo(t, native, "DEBUG", "POPULATE", strconv.Itoa(others), "key", "200")
	for range max(3/slowness, 1) {
		t.Logf("longest wait during BGSAVE: %v, natively %v", underLoad(t, s.addr, "BGSAVE", "rdb_last_bgsave_status"), underLoad(t, native, "BGSAVE", "rdb_last_bgsave_status"))
		if names := s.files(); !slices.Equal(names, []string{"dump.rdb"}) {
			t.Errorf("files %v", names)
		}
		count := wrote(t, redisNative(t, s.dir), redisWriters, others)
		t.Logf("saved at %v; now %v", count, wrote(t, s.addr, redisWriters, others))
	}
	s.kill()
}

// A dump of more than 8 MiB is written back while it is made (sync_file_range).
func TestNetworkRedisLargeDump(t *testing.T) {
	s := newSaver(t, "--rdbcompression", "no")
	redisDo(t, s.addr, "DEBUG", "POPULATE", "12", "large", "1000000")
	digest := redisDo(t, s.addr, "DEBUG", "DIGEST")
	redisDo(t, s.addr, "BGSAVE")
	saved(t, s.addr, "rdb_last_bgsave_status", "ok")
	if fi, err := os.Stat(filepath.Join(s.dir, "dump.rdb")); err != nil || fi.Size() < 12e6 {
		t.Errorf("the dump: %v, %v", fi, err)
	} else if got := redisDo(t, redisNative(t, s.dir), "DEBUG", "DIGEST"); got != digest {
		t.Errorf("the dump has %s, not %s", got, digest)
	}
	s.kill()
}

// The append-only file, which a forked child writes anew while clients write, has all that they were told is done, when the server is killed at once.
func TestNetworkRedisAOF(t *testing.T) {
	s := newSaver(t, "--appendonly", "yes", "--appendfsync", "no", "--auto-aof-rewrite-percentage", "0")
	saved(t, s.addr, "aof_last_bgrewrite_status", "ok")
	for range max(2/slowness, 1) {
		t.Logf("longest wait during BGREWRITEAOF: %v", underLoad(t, s.addr, "BGREWRITEAOF", "aof_last_bgrewrite_status"))
	}
	w := startWriters(t, s.addr, redisWriters)
	time.Sleep(200 * time.Millisecond)
	w.end()
	count := wrote(t, s.addr, redisWriters, others)
	s.kill()
	if again := wrote(t, redisNative(t, s.dir, "--appendonly", "yes"), redisWriters, others); !slices.Equal(again, count) {
		t.Errorf("written %v, in the file %v", count, again)
	}
}

// Whether the child that saves is killed or the whole family, the dump that was there stays as it was, and the next server has it. A server whose child
// is killed goes on, says that it was not saved, clears away, and saves the next time.
func TestNetworkRedisKilled(t *testing.T) {
	s := newSaver(t)
	redisDo(t, s.addr, "SAVE")
	dump := func() []byte {
		b, err := os.ReadFile(filepath.Join(s.dir, "dump.rdb"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	old := dump()
	digest := redisDo(t, s.addr, "DEBUG", "DIGEST")
	slowly := func() (child string) {
		redisDo(t, s.addr, "CONFIG", "SET", "rdb-key-save-delay", "200000") // µs: it will take minutes
		redisDo(t, s.addr, "SET", "since", fmt.Sprint(time.Now()))
		redisDo(t, s.addr, "BGSAVE")
		child = s.child()
		await(t, "it to have begun", func() (bool, string) { f := s.files(); return len(f) == 2, fmt.Sprint(f) })
		return child
	}
	child := slowly()
	s.h.output(t, "kill", "-KILL", child)
	saved(t, s.addr, "rdb_last_bgsave_status", "err")
	if names := s.files(); !slices.Equal(names, []string{"dump.rdb"}) || !bytes.Equal(dump(), old) {
		t.Errorf("when the child was killed: files %v", names)
	}
	slowly()
	s.kill()
	if !bytes.Equal(dump(), old) {
		t.Error("when all were killed the dump has changed")
	}
	if got := redisDo(t, redisNative(t, s.dir), "DEBUG", "DIGEST"); got != digest {
		t.Errorf("the dump has %s, not %s", got, digest)
	}
	s.start()
	if got := redisDo(t, s.addr, "DEBUG", "DIGEST"); got != digest {
		t.Errorf("another server has %s, not %s", got, digest)
	}
	redisDo(t, s.addr, "SET", "since", "now")
	redisDo(t, s.addr, "BGSAVE")
	saved(t, s.addr, "rdb_last_bgsave_status", "ok")
	if got, want := redisDo(t, redisNative(t, s.dir), "DEBUG", "DIGEST"), redisDo(t, s.addr, "DEBUG", "DIGEST"); got != want {
		t.Errorf("the next dump has %s, not %s", got, want)
	}
}
