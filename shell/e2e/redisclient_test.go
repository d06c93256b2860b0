package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// redis starts a server in a pVM, with run's options: its PID, and its address on the host when it answers.
func (h *home) redis(t *testing.T, options []string, args ...string) (pid, addr string) {
	t.Helper()
	addr = "127.0.0.1:" + freePort(t)
	command := append([]string{"run", "-d", "-m", "256M", "--publish", addr + ":6379"}, options...)
	command = append(command, portOf("redis", "redis-server").image, "--save", "", "--protected-mode", "no", "--enable-debug-command", "yes")
	pid = strings.TrimSpace(h.output(t, append(command, args...)...))
	await(t, "redis-server to answer", func() (bool, string) {
		answer, err := askOnce(addr, "PING")
		return answer == "+PONG\r\n", fmt.Sprint(answer, err)
	})
	return pid, addr
}

// askOnce has one command, of words, answered by one line or more.
func askOnce(addr string, command ...string) (string, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(append(request(command...), request("QUIT")...)); err != nil {
		return "", err
	}
	out, err := io.ReadAll(c)
	return strings.TrimSuffix(string(out), "+OK\r\n"), err
}

// request is a command as clients send it.
func request(words ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.Bytes()
}

// redisScript is a random list of commands whose answers tell nothing of the clock, of random numbers, or of the order of a hash table.
func redisScript(seed uint64, n int) (all [][]string) {
	r := rand.New(rand.NewPCG(seed, 0))
	say := func(words ...any) {
		command := make([]string, len(words))
		for i, w := range words {
			command[i] = fmt.Sprint(w)
		}
		all = append(all, command)
	}
	key := func(kind string) string { return kind + strconv.Itoa(r.IntN(6)) }
	value := func() string {
		b := make([]byte, r.IntN(60))
		if r.IntN(20) == 0 {
			b = make([]byte, r.IntN(40000))
		}
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
	number := func() string { return strconv.FormatFloat(r.NormFloat64()*1e3, 'g', 2+r.IntN(14), 64) }
	from, to := func() int { return r.IntN(20) - 10 }, func() int { return r.IntN(20) - 5 }
	kinds := []func(){
		func() { say("SET", key("s"), value()) },
		func() { say("SETRANGE", key("s"), r.IntN(200), value()) },
		func() { say("GETRANGE", key("s"), from(), to()) },
		func() { say("GETSET", key("s"), value()) },
		func() { say("APPEND", key("s"), value()) },
		func() { say("BITCOUNT", key("s")) },
		func() { say("SETBIT", key("s"), r.IntN(5000), r.IntN(2)) },
		func() { say("INCRBY", key("n"), r.IntN(1000)-500) },
		func() { say("INCRBYFLOAT", key("n"), number()) },
		func() { say("LPUSH", key("l"), value(), value()) },
		func() { say("RPUSH", key("l"), value()) },
		func() { say("LRANGE", key("l"), from(), to()) },
		func() { say("LMOVE", key("l"), key("l"), "LEFT", "RIGHT") },
		func() { say("SORT", key("n"), "ALPHA") },
		func() { say("HSET", key("h"), r.IntN(30), value()) },
		func() { say("HGET", key("h"), r.IntN(30)) },
		func() { say("HDEL", key("h"), r.IntN(30)) },
		func() { say("SADD", key("m"), r.IntN(50), r.IntN(50)) },
		func() { say("SINTERCARD", 2, key("m"), key("m")) },
		func() { say("SORT", key("m"), "DESC") },
		func() { say("ZADD", key("z"), number(), r.IntN(40)) },
		func() { say("ZINCRBY", key("z"), number(), r.IntN(40)) },
		func() { say("ZRANGE", key("z"), from(), to(), "WITHSCORES") },
		func() { say("ZRANGEBYSCORE", key("z"), "("+number(), "+inf", "LIMIT", 0, 3) },
		func() { say("XADD", key("x"), fmt.Sprintf("%d-%d", len(all)+1, r.IntN(9)+1), "f", value()) },
		func() { say("XRANGE", key("x"), "-", "+", "COUNT", 2) },
		func() { say("PFADD", key("p"), r.IntN(1000), r.IntN(1000)) },
		func() { say("PFCOUNT", key("p")) },
		func() { say("GEOADD", key("g"), r.IntN(360)-180, r.IntN(160)-80, r.IntN(9)) },
		func() { say("GEODIST", key("g"), r.IntN(9), r.IntN(9)) },
		func() { say("PEXPIREAT", key("s"), 4102444800000+r.IntN(1000)) },
		func() { say("PEXPIRETIME", key("s")) },
		func() { say("EXPIREAT", key("l"), r.IntN(1000)) }, // long ago
		func() { say("PERSIST", key("s")) },
		func() {
			k := key("s")
			say("SET", k, "soon gone", "PX", 1)
			say("DEBUG", "SLEEP", "0.01")
			say("GET", k)
		},
		func() { say("RENAME", key("s"), key("s")) },
		func() { say("DEL", key("l"), key("h")) },
		func() { say("OBJECT", "ENCODING", key("l")) },
		func() { say("TYPE", key("z")) },
		func() { say("WATCH", key("s")) },
		func() {
			say("MULTI")
			for range r.IntN(5) {
				say("APPEND", key("s"), value())
				say("INCR", key([]string{"n", "l"}[r.IntN(2)])) // one of two has a wrong type
			}
			say([]any{"EXEC", "DISCARD", "NOSUCH"}[r.IntN(3)])
			say("EXEC")
		},
		func() {
			say("EVAL", "local a = {} for i = 1, tonumber(ARGV[1]) do a[i] = redis.call('INCR', KEYS[1]) + math.random(1000) end return a", 1, key("i"), r.IntN(30))
		},
		func() {
			say("EVAL", "return {cjson.encode({ARGV[1], tonumber(ARGV[2])}), cmsgpack.pack(ARGV), redis.sha1hex(ARGV[1]), struct.pack('>d', ARGV[2])}", 0, r.IntN(1e9), number())
		},
		func() { say("EVAL", "return redis.pcall('LPUSH', KEYS[1], ARGV[1])", 1, key("s"), "x") },
		func() { say("EVAL", "error('"+strconv.Itoa(r.IntN(9))+"')", 0) },
		func() { say("PUBLISH", "news"+strconv.Itoa(r.IntN(3)), value()) },
		func() { say("NOSUCH", r.IntN(9)) },
	}
	for len(all) < n {
		kinds[r.IntN(len(kinds))]()
	}
	return all
}

// pipelined sends commands, many at once and in pieces that end anywhere, with a subscriber beside: what each of both clients is told.
func pipelined(t *testing.T, addr string, script [][]string, seed uint64) (answers, messages []byte) {
	t.Helper()
	listener, c := dial(t, addr), dial(t, addr)
	heard := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(listener)
		heard <- b
	}()
	listener.Write(request("PSUBSCRIBE", "news[12]", "last"))
	listener.Write(request("SUBSCRIBE", "news0"))
	await(t, "the subscriber to be known", func() (bool, string) {
		answer, err := askOnce(addr, "PUBSUB", "NUMSUB", "news0")
		return strings.HasSuffix(answer, ":1\r\n"), fmt.Sprint(answer, err)
	})
	var all bytes.Buffer
	for _, command := range script {
		all.Write(request(command...))
	}
	all.Write(request("DEBUG", "DIGEST"))
	all.Write(request("PUBLISH", "last", "word"))
	all.Write(request("QUIT"))
	go func() {
		for r := rand.New(rand.NewPCG(seed, 1)); all.Len() > 0; {
			c.Write(all.Next(1 + r.IntN(1<<r.IntN(18))))
		}
	}()
	answers, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	listener.Write(request("QUIT"))
	return answers, <-heard
}

// sameBytes wants both to be the same, and shows the first difference.
func sameBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	if at < max(len(got), len(want)) {
		around := func(b []byte) []byte { return b[max(0, min(at, len(b))-200):min(at+200, len(b))] }
		t.Fatalf("%s: byte %d of %d, natively of %d:\n pVM    %q\n native %q", what, at, len(got), len(want), around(got), around(want))
	}
}

// A server in a pVM answers clients of the host, through a published port, byte for byte as natively: random commands of all kinds, ahead of
// their answers, with big values, scripts, transactions, expiry and subscribers.
func TestNetworkRedis(t *testing.T) {
	h := newHome(t)
	_, addr := h.redis(t, nil)
	native := redisNative(t, t.TempDir())
	for seed := uint64(1); seed <= uint64(max(3/slowness, 1)); seed++ {
		script := redisScript(seed, max(5000/slowness, 400))
		want, wantHeard := pipelined(t, native, script, seed)
		got, gotHeard := pipelined(t, addr, script, seed)
		sameBytes(t, fmt.Sprint("answers, seed ", seed), got, want)
		sameBytes(t, fmt.Sprint("messages, seed ", seed), gotHeard, wantHeard)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), (8<<20)/16/slowness)
	for _, to := range []string{native, addr} {
		askOnce(to, "SET", "big", string(big))
		if got, err := askOnce(to, "GET", "big"); err != nil || got != fmt.Sprintf("$%d\r\n%s\r\n", len(big), big) {
			t.Errorf("%s: %d bytes of %d, %v", to, len(got), len(big), err)
		}
	}
}

// cli runs the host's redis-cli against a server.
func cli(t *testing.T, addr, stdin string, args ...string) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("redis-cli", append([]string{"-p", port}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = time.Second
	defer time.AfterFunc(2*patience, func() { cmd.Process.Kill() }).Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("redis-cli %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// Debian's redis-cli sees no difference: of commands in both protocols, of many keys sent at once, of a copy of all that it asks for as a replica does. Debian's
// redis-benchmark gets all that it asks for.
func TestNetworkRedisTools(t *testing.T) {
	h := newHome(t)
	_, addr := h.redis(t, []string{"--name", "redis"}, "--repl-diskless-sync-delay", "0")
	native := redisNative(t, t.TempDir(), "--repl-diskless-sync-delay", "0")
	many := new(bytes.Buffer)
	for i := range max(20000/slowness, 1000) {
		many.Write(request("SET", fmt.Sprint("key:", i), strings.Repeat("v", i%100)))
	}
	for _, what := range []struct {
		stdin string
		args  []string
	}{
		{redisCommands, nil},
		{redisCommands, []string{"-3"}},
		{"FLUSHALL\n", nil},
		{many.String(), []string{"--pipe", "--pipe-timeout", "0"}},
		{"", []string{"--raw", "DEBUG", "DIGEST"}},
		{"all\n", []string{"-x", "SET", "from stdin"}},
		{"", []string{"--csv", "MGET", "key:7", "from stdin", "none"}},
		{"", []string{"--eval", filepath.Join(h.dir, "script.lua"), "key:9", ",", "x"}},
	} {
		writeFile(t, filepath.Join(h.dir, "script.lua"), "return {KEYS[1], ARGV[1], redis.call('STRLEN', KEYS[1])}")
		compare(t, cli(t, addr, what.stdin, what.args...), cli(t, native, what.stdin, what.args...))
	}
	dir := t.TempDir()
	cli(t, addr, "", "--rdb", filepath.Join(dir, "dump.rdb"))
	compare(t, cli(t, redisNative(t, dir), "", "DEBUG", "DIGEST"), cli(t, native, "", "DEBUG", "DIGEST"))

	_, port, _ := net.SplitHostPort(addr)
	const rows = `(?m)^"[A-Z].*","[0-9.]*[1-9][0-9.]*",` // something was done
	for _, load := range []string{
		fmt.Sprint("-t set,get,incr,mset -c 50 -n ", max(10000/(slowness*slowness), 300)),
		fmt.Sprint("-t set,get,incr,mset -c 50 -P 16 -n ", max(40000/(slowness*slowness), 1600)),
		fmt.Sprint("-t set,get,incr,mset -c 5 -k 0 -n ", max(500/(slowness*slowness), 20)), // a connection each
	} {
		cmd := exec.Command("redis-benchmark", append([]string{"-p", port, "--csv", "-d", "100"}, strings.Fields(load)...)...)
		defer time.AfterFunc(4*patience, func() { cmd.Process.Kill() }).Stop()
		out, err := cmd.CombinedOutput()
		found := regexp.MustCompile(rows).FindAllString(string(out), -1)
		if err != nil || len(found) != 4 || strings.Contains(string(out), "rror") {
			t.Errorf("redis-benchmark %s: %v\n%s", load, err, out)
		}
		t.Logf("redis-benchmark %s: %s", load, found)
	}
}

// Of Redis's own tests those that are quick end in a pVM as natively: make redis-suite has them all.
func TestNetworkRedisSuite(t *testing.T) {
	h := newHome(t)
	// The first two everywhere: unit/protocol wants 10,000 writes to be taken within 30 s.
	tests := []string{"unit/type/incr", "unit/auth", "unit/protocol", "unit/info", "unit/keyspace", "unit/multi", "unit/type/set"}
	options := []string{"--skiptest", "/script timeout"} // they want a server to run 200 ms of a script before another client's word comes
	for _, name := range tests[:max(len(tests)/slowness, 2)] {
		options = append(options, "--single", name)
	}
	allowed := []string{"--enable-protected-configs", "yes", "--enable-module-command", "yes"}
	suite := func(addr string) string {
		_, port, _ := net.SplitHostPort(addr)
		cmd := exec.Command(filepath.Join(root, "guest/ports/redis/suite"), append([]string{port}, options...)...)
		var errs strings.Builder
		cmd.Stderr = &errs
		defer time.AfterFunc(4*patience, func() { cmd.Process.Kill() }).Stop()
		out, err := cmd.Output()
		if err != nil || errs.Len() > 0 || strings.Count(string(out), "\nok ") < 20 {
			t.Errorf("%v\n%s%s", err, errs.String(), out)
		}
		return string(out)
	}
	_, addr := h.redis(t, []string{"-v", h.folder(t, "data") + ":/data"}, append(allowed, "--dir", "/data")...) // replicas are sent what is saved there
	compare(t, suite(addr), suite(redisNative(t, t.TempDir(), allowed...)))
}
