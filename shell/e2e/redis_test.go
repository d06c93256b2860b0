package e2e

import (
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Redis, unmodified from Debian's source, starts in a pVM and knows itself; its memory test looks at every bit of some.
func TestRedisPrograms(t *testing.T) {
	h := newHome(t)
	for program, options := range map[string][]string{
		"redis-server":    {"--help"},
		"redis-cli":       {"--version", "--help"},
		"redis-benchmark": {"--version", "--help"},
	} {
		for _, option := range options {
			portOf("redis", program).likeNative(t, h, nil, "", option)
		}
	}
	server := portOf("redis", "redis-server").image
	if out, errs, code := h.run(t, "run", server, "--version"); code != 0 || !strings.HasPrefix(out, "Redis server v=7.0.15 ") || !strings.Contains(out, " malloc=libc bits=64 ") {
		t.Errorf("status %d: %s%s", code, out, errs)
	}
	if out, errs, code := h.run(t, "run", server, "--test-memory", "2"); code != 0 || !strings.Contains(out, "\nYour memory passed this test.\n") {
		t.Errorf("status %d: %s%s", code, out, errs)
	}
}

// redisNative starts the native server in a folder and ends it with the test: its address.
func redisNative(t *testing.T, dir string, args ...string) string {
	t.Helper()
	number := freePort(t)
	addr := "127.0.0.1:" + number
	cmd := exec.Command(portOf("redis", "redis-server").native, append([]string{"--port", number, "--save", "", "--enable-debug-command", "yes"}, args...)...)
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		answer, err := askOnce(addr, "PING")
		if answer == "+PONG\r\n" { // it has loaded what is there
			return addr
		}
		if time.Now().After(end) {
			t.Fatal("the native redis-server does not answer: ", answer, err)
		}
	}
}

// ask sends commands to a server, a line each, and returns what it answers until it closes.
func ask(t *testing.T, addr, commands string) string {
	t.Helper()
	c := dial(t, addr)
	if _, err := io.WriteString(c, strings.ReplaceAll(commands, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// redisInPVM has the server in a pVM, with its client, do what inside.c understands.
func redisInPVM(t *testing.T, h *home, commands string) string {
	t.Helper()
	out, errs, code := h.runInput(t, commands, "run", "-i", "-m", "256M", portOf("redis", "redis-inside").image,
		"--save", "", "--logfile", "/log", "--maxclients", "100", "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0")
	if code != 0 || errs != "" {
		t.Fatalf("status %d: %s", code, errs)
	}
	return out
}

const redisCommands = `SET greeting "hello world"
APPEND greeting !
INCRBY count 41
INCRBYFLOAT count 1.5
SETRANGE hole 10 end
GETRANGE hole 0 -1
SETBIT bits 1000 1
BITCOUNT bits
RPUSH list a b c d
LINSERT list BEFORE c x
LRANGE list 0 -1
LPOS list x
HSET hash one 1 two 2
HINCRBY hash two 40
HGETALL hash
SADD left a b c
SADD right b c d
SINTERCARD 2 left right
ZADD scores 3.5 alice 1 bob 2 carol
ZRANGE scores 0 -1 WITHSCORES
ZRANK scores alice
XADD stream 1-1 field value
XADD stream 1-2 field other
XRANGE stream - +
XREAD COUNT 1 STREAMS stream 1-1
PFADD visits u1 u2 u3
PFCOUNT visits
GEOADD cities 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
GEODIST cities Palermo Catania km
EVAL "local s = 0 for i = 1, 1000 do s = s + redis.call('INCR', KEYS[1]) end return s" 1 loop
EVAL "return {1, 'two', cjson.encode({a = {1, 2}}), struct.pack('>I', 7), bit.bxor(5, 3)}" 0
EVAL "return redis.error_reply('mine')" 0
EVAL "syntax error" 0
MULTI
SET inside 1
INCR greeting
INCR inside
EXEC
WATCH count
EXPIRE count 1000
PERSIST count
TYPE stream
OBJECT ENCODING hash
SORT list ALPHA DESC
COPY list list2
RENAME list2 list3
DEL left nothing
GET list
NOSUCH command
SET
CONFIG GET maxmemory
DBSIZE
DEBUG DIGEST
DEBUG RELOAD
DEBUG DIGEST
`

// A server in a pVM answers a client over loopback as natively: all types, Lua, transactions, errors.
func TestRedisLikeNative(t *testing.T) {
	h := newHome(t)
	want := ask(t, redisNative(t, t.TempDir()), redisCommands+"QUIT\n")
	got := redisInPVM(t, h, "!open 6379\n"+redisCommands+"QUIT\n!end\n")
	compare(t, got, want)
	if out := redisInPVM(t, h, "!open 6379\nINFO server\nQUIT\n!end\n"); !strings.Contains(out, "multiplexing_api:select\r\n") {
		t.Errorf("INFO server: %s", out)
	}
}

// What SAVE writes in a pVM, and what a forked pVM writes for a replica, through a pipe to its parent, a native server loads: the
// same keys, by digest.
func TestRedisDump(t *testing.T) {
	h := newHome(t)
	const digest = "DEBUG DIGEST\nDBSIZE\nQUIT\n"
	const fill = redisCommands + "DEBUG POPULATE 20000 many 100\nDEBUG POPULATE 50 large 50000\n"
	out := redisInPVM(t, h, "!open 6379\n"+fill+"BGSAVE\n!until rdb_bgsave_in_progress:0 INFO persistence\nSAVE\n"+digest+"!end\n!file /dump.rdb\n"+
		"!open 6379\nREPLCONF capa eof\n!quiet 500\nPSYNC ? -1\n!dump\n")
	_, out, some := strings.Cut(out, "+Background saving started\r\n")
	if !some || !strings.Contains(out, "rdb_last_bgsave_status:ok\r\n") || !strings.Contains(out, "rdb_saves:1\r\n") {
		t.Errorf("BGSAVE: %.2000s", out)
	}
	_, out, _ = strings.Cut(out, "\r\n\r\n+OK\r\n") // the last INFO's end, SAVE
	digests, out, some := strings.Cut(out, "+OK\r\n")
	line, out, _ := strings.Cut(out, "\n")
	saved, err := hex.DecodeString(line)
	if !some || err != nil {
		t.Fatalf("the saved dump: %v, %.100q", err, line)
	}
	// +FULLRESYNC ID OFFSET, $EOF:MARK, the dump, MARK.
	_, out, _ = strings.Cut(out, "$EOF:")
	mark, out, _ := strings.Cut(out, "\r\n")
	sent, _, some := strings.Cut(out, mark)
	if len(mark) != 40 || !some {
		t.Fatalf("the dump for a replica: %.200q", out)
	}
	for name, dump := range map[string]string{"saved": string(saved), "sent by a child": sent} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "dump.rdb"), []byte(dump), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := ask(t, redisNative(t, dir), digest); got != digests+"+OK\r\n" {
			t.Errorf("%s: natively %q, in the pVM %q", name, got, digests)
		}
	}
}
