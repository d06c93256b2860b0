package bench

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"kxsh/engine"
)

// redisFloor is which part of the native server's rate with select is to be reached, with a request at a time and with some.
type redisFloor struct{ single, ahead float64 }

var (
	redisHosted = redisFloor{0.6, 0.8}
	redisXen    = redisFloor{0.8, 0.8}
)

// ahead is how many requests a pipelining client sends before it waits.
const ahead = 16

// redisNone: nothing is saved while it is measured.
var redisNone = []string{"--save", "", "--appendonly", "no"}

// redisTests are the commands, as redis-benchmark calls them.
var redisTests = []string{"SET", "GET"}

// redisBench is a run of it: how long each load should last.
type redisBench struct {
	client string
	lasts  time.Duration
}

// redis measures the server in a pVM, beside the same source built natively with select, and as it is built on Linux, with epoll: what 50 clients get of one, what servers
// weigh, and what 1 to 8 do together.
func (b *Bench) redis(ctx context.Context) (err error) {
	client, err := tool("redis-benchmark", "redis-tools")
	if err != nil {
		return err
	}
	var paths [3]string
	for i, name := range []string{"redis-server.kx", "redis-server-select.native", "redis-server.native"} {
		if paths[i], err = b.port("redis/" + name); err != nil {
			return err
		}
	}
	hv, info, err := b.host()
	if err != nil {
		return err
	}
	defer hv.Close()
	e, err := b.engine("redis", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(e)) }()
	floor, routed := redisHosted, (func(context.Context, int, string) error)(nil)
	if info.Name == "xen" {
		floor, routed = redisXen, byHand
	}
	native := func(path string) func(context.Context) (*server, error) {
		return nativeServer(func(port string) ([]string, error) {
			return append([]string{path, "--port", port, "--bind", "127.0.0.1", "--dir", b.dir}, redisNone...), nil
		})
	}
	kinds := []*contender{
		{name: "native, select", peer: 1, start: native(paths[1])},
		{name: "native, epoll", peer: 2, start: native(paths[2])},
		{name: "pVM", start: pvmServer(e, engine.RunRequest{
			Image: paths[0], Args: append([]string{"redis-server", "--protected-mode", "no"}, redisNone...),
		}, "6379", routed)},
	}
	counts := b.counts(&info)
	most := slices.Max(counts)
	b.say("%d servers of each kind", most)
	defer down(kinds)
	if err := up(ctx, kinds, most, hello{"PING\r\n", "+PONG\r\n"}); err != nil {
		return err
	}
	r := &Report{Bench: "redis", Time: time.Now(), Machine: machine(&info)}
	bench, turns := redisBench{client, time.Second}, 10
	together := time.Second // the start of the clients is in it
	if b.Quick {
		bench.lasts, together, turns = time.Second/10, time.Second/3, 3
	}
	if info.Name == "xen" { // an emulated machine takes a second to start one
		bench.lasts, together = time.Second, 3*time.Second
	}
	for _, pipeline := range []int{1, ahead} {
		least := floor.single
		if pipeline > 1 {
			least = floor.ahead
		}
		next := b.begin(turns*len(kinds), "%d clients, -P %d", clients, pipeline)
		list, err := bench.one(ctx, kinds, pipeline, turns, least, next)
		if err != nil {
			return err
		}
		r.Series = append(r.Series, list...)
		r.plots = append(r.plots, rateBars(fmt.Sprintf("Commands a second, %d clients, -P %d", clients, pipeline), list))
	}
	r.plots = append(r.plots, latencyDots(r.Series))
	if r.Values, err = weights("server", kinds); err != nil {
		return err
	}
	weighed := weightBars(r.Values, kinds)
	next := b.begin(turns*len(counts)*len(kinds), "%v servers, %d clients each", counts, clients)
	bench.lasts = together
	list, err := bench.many(ctx, kinds, counts, turns, next)
	if err != nil {
		return err
	}
	r.addScaled(list)
	r.plots = append([]plot{byNumber("Writes a second of 1 to "+fmt.Sprint(most)+" servers, each with a client of its own", list)}, append(r.plots, weighed)...)
	return b.print(r)
}

// one measures what clients get of one server of each kind, in turns. next is called before each load.
func (r *redisBench) one(ctx context.Context, kinds []*contender, pipeline, turns int, least float64, next func()) (list []*Series, err error) {
	suffix := ""
	if pipeline > 1 {
		suffix = fmt.Sprintf(", -P %d", pipeline)
	}
	rows := map[string][]*loadSeries{} // by test, in the order of kinds
	for _, test := range redisTests {
		for _, k := range kinds {
			rows[test] = append(rows[test], newLoadSeries(test+suffix, k.name, k.peer))
		}
	}
	requests := make([]int, len(kinds))
	for i, k := range kinds {
		if requests[i], err = r.requests(ctx, k, pipeline); err != nil {
			return nil, err
		}
	}
	for range turns {
		for i, k := range kinds {
			next()
			got, err := r.load(ctx, k.servers[0].addr, pipeline, requests[i], redisTests)
			if err != nil {
				return nil, k.failed(k.servers[0], err)
			}
			for _, test := range redisTests {
				rows[test][i].add(got[test])
			}
		}
	}
	for _, test := range redisTests {
		list = append(list, sumLoads(rows[test], least)...)
	}
	return list, nil
}

// many measures what some servers of a kind do together, each with a client of its own: so many commands until the last of them has ended. next is called before each load.
func (r *redisBench) many(ctx context.Context, kinds []*contender, counts []int, turns int, next func()) (list []*scaled, err error) {
	test := redisTests[:1]
	requests := make([]int, len(kinds))
	for i, k := range kinds {
		list = append(list, newScaled(test[0], k.name, k.peer, counts))
		if requests[i], err = r.requests(ctx, k, 1); err != nil {
			return nil, err
		}
	}
	for range turns {
		for j, n := range counts {
			for i, k := range kinds {
				next()
				each := max(requests[i]/n, clients)
				start := time.Now()
				if err := k.together(n, func(addr string) error {
					_, err := r.load(ctx, addr, 1, each, test)
					return err
				}); err != nil {
					return nil, err
				}
				list[i].series[j].addRate(float64(n*each) / time.Since(start).Seconds())
			}
		}
	}
	return list, nil
}

// redisLeast is how many commands say something: an emulated machine does a hundred in a second.
const redisLeast = 2 * clients

// requests is how many commands a server of a kind does in the time that a load should last.
func (r *redisBench) requests(ctx context.Context, k *contender, pipeline int) (int, error) {
	got, err := r.load(ctx, k.servers[0].addr, pipeline, redisLeast*pipeline, redisTests[:1])
	if err != nil {
		return 0, k.failed(k.servers[0], err)
	}
	return max(int(got[redisTests[0]].rate*r.lasts.Seconds()), redisLeast*pipeline), nil
}

// load has redis-benchmark do each test that many times.
func (r *redisBench) load(ctx context.Context, addr string, pipeline, requests int, tests []string) (map[string]load, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	out, err := output(ctx, r.client, "-h", host, "-p", port, "-c", strconv.Itoa(clients), "-P", strconv.Itoa(pipeline), "-n", strconv.Itoa(requests),
		"-t", strings.ToLower(strings.Join(tests, ",")), "--csv")
	if err != nil {
		return nil, err
	}
	return parseRedis(out, tests)
}

// parseRedis reads what redis-benchmark --csv prints: a line of names, and one for each test.
func parseRedis(out string, tests []string) (map[string]load, error) {
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 1+len(tests) {
		return nil, fmt.Errorf("redis-benchmark: not what --csv of version 7 prints: %q", out)
	}
	got := map[string]load{}
	for i, test := range tests {
		row, fields := rows[1+i], [3]float64{}
		for j, name := range []string{"rps", "p50_latency_ms", "p99_latency_ms"} {
			at := slices.Index(rows[0], name)
			if at < 0 || row[0] != test {
				return nil, fmt.Errorf("redis-benchmark: not what --csv of version 7 prints: %q", out)
			}
			if fields[j], err = strconv.ParseFloat(row[at], 64); err != nil || !(fields[j] >= 0) || (j == 0 && fields[j] == 0) {
				return nil, fmt.Errorf("redis-benchmark: %s of %s: %q", name, test, row[at])
			}
		}
		ms := float64(time.Millisecond)
		got[test] = load{fields[0], time.Duration(fields[1] * ms), time.Duration(fields[2] * ms)}
	}
	return got, nil
}
