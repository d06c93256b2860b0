package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kxsh/xen"
)

func TestParseRedis(t *testing.T) {
	const names = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"` + "\n"
	got, err := parseRedis(names+`"SET","17211.71","2.356","0.152","1.687","5.887","8.111","39.935"`+"\n"+`"GET","50","1","1","1","1","2.5","3"`+"\n", redisTests)
	if want := (load{17211.71, 1687 * time.Microsecond, 8111 * time.Microsecond}); err != nil || got["SET"] != want {
		t.Errorf("%v, %v", got["SET"], err)
	}
	if want := (load{50, time.Millisecond, 2500 * time.Microsecond}); got["GET"] != want {
		t.Errorf("%v", got["GET"])
	}
	for _, bad := range []string{
		"", names, `"test","rps"` + "\n" + `"SET","1"` + "\n", names + `"GET","1","1","1","1","1","1","1"` + "\n", names + `"SET","0","1","1","1","1","1","1"` + "\n",
		names + `"SET","-1","1","1","1","1","1","1"` + "\n", names + `"SET","NaN","1","1","1","1","1","1"` + "\n", names + `"SET","1","1","1","x","1","1","1"` + "\n",
		"SET: 17211.71 requests per second\n",
	} {
		if got, err := parseRedis(bad, redisTests[:1]); err == nil || !strings.HasPrefix(err.Error(), "redis-benchmark: ") {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

func TestParseWrk(t *testing.T) {
	got, err := parseWrk("Running 1s test\n  1 threads\nmeasured 5000 1000000 449 25300 0\n")
	if want := (load{5000, 449 * time.Microsecond, 25300 * time.Microsecond}); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{
		"", "Requests/sec: 5000\n", "measured 100 0 1 1 0\n", "measured 100 1000000 1 1 3\n", "measured 100 1000000 2 1 0\n", "measured ten\n",
	} {
		if got, err := parseWrk(bad); err == nil || !strings.HasPrefix(err.Error(), "wrk: ") {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

// A load in which too few requests were answered is made again, longer, and so are all after it.
func TestFewRequests(t *testing.T) {
	dir := t.TempDir()
	client := filepath.Join(dir, "wrk")
	if err := os.WriteFile(client, []byte("#!/bin/sh\necho measured ${6%s}0 1000000 1 2 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	k := &contender{name: "pVM", servers: []*server{{ended: func() error { return nil }}}}
	w := webBench{client, "", 1}
	if got, err := w.load(t.Context(), k, 1); err != nil || got.rate != 80 || w.seconds != 8 {
		t.Errorf("%v, %v after %d s", got, err, w.seconds)
	}
	if err := os.WriteFile(client, []byte("#!/bin/sh\necho measured 0 1000000 0 0 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := w.load(t.Context(), k, 1); !errors.Is(err, errFew) || w.seconds != mostSeconds {
		t.Errorf("%v after %d s", err, w.seconds)
	}
}

// A rate's ratio is to the peer's rate, and its target what it is to reach.
func TestRates(t *testing.T) {
	peer, ours := newLoadSeries("GET", "native", 1), newLoadSeries("GET", "pVM", 0)
	for i := range 11 {
		peer.add(load{float64(20000 + 100*i), time.Millisecond, 2 * time.Millisecond})
		ours.add(load{float64(10000 + 100*i), 2 * time.Millisecond, 3 * time.Millisecond})
	}
	list := sumLoads([]*loadSeries{peer, ours}, 0.6)
	s := list[1]
	if s != ours.rate || s.PerSecond < 10499 || s.PerSecond > 10501 || s.Ratio < 0.51 || s.Ratio > 0.52 || s.Target != 0.6 || list[0].Ratio != 0 {
		t.Errorf("%+v", s)
	}
	if got := s.figures(); !slices.Equal(got, []string{"10.5k/s", "10.1k/s", "10.9k/s", ""}) {
		t.Errorf("%q", got)
	}
	if p50 := list[3]; p50 != ours.p50 || p50.Ratio != 2 || p50.Target != 0 {
		t.Errorf("%+v", p50)
	}
	if rows := rateBars("", list).rows; len(rows) != 2 || rows[0].target != 0 || rows[1].target < 0.6*20499 || rows[1].target > 0.6*20501 {
		t.Errorf("%+v", rows)
	}
	var b strings.Builder
	if err := writePage(&b, oneRun(&Report{Bench: "redis", Series: list})); err != nil {
		t.Fatal(err)
	}
	if want := `<td>10.5k/s</td><td>10.1k/s</td><td>10.9k/s</td><td></td><td>11</td><td class="miss">0.51</td><td>≥ 0.60</td></tr>`; !strings.Contains(b.String(), want) {
		t.Errorf("no %s in\n%s", want, b.String())
	}
	var c strings.Builder
	if err := writeCSV(&c, oneRun(&Report{Bench: "redis", Series: list[1:2]})); err != nil || !strings.Contains(c.String(), "redis,GET: pVM,1,100000\n") {
		t.Errorf("%v\n%s", err, c.String())
	}
}

func TestScaled(t *testing.T) {
	counts := (&Bench{}).counts(&xen.Info{})
	native, pvm := newScaled("SET", "native", 1, counts), newScaled("SET", "pVM", 0, counts)
	for i := range counts {
		native.series[i].addRate(float64(1000 * (i + 1)))
		pvm.series[i].addRate(500)
	}
	r := &Report{}
	r.addScaled([]*scaled{native, pvm})
	if len(r.Series) != 2*len(counts) || r.Series[1].Name != "SET, 1 server: pVM" || r.Series[1].Ratio != 0.5 || r.Series[7].Ratio != 0.125 {
		t.Errorf("%+v", r.Series)
	}
	if len(r.Values) != 2 || r.Values[0] != (Value{Name: "SET, 8 servers to 1: native", Value: 4, Unit: "times"}) || r.Values[1].Value != 1 {
		t.Errorf("%+v", r.Values)
	}
}

func TestDecades(t *testing.T) {
	for n, want := range map[int][]decade{
		0: nil, 1: {{1, 1}}, 10: {{1, 10}}, 11: {{1, 10}, {11, 11}}, 200: {{1, 10}, {11, 100}, {101, 200}}, 1000: {{1, 10}, {11, 100}, {101, 1000}},
	} {
		if got := decades(n); !slices.Equal(got, want) {
			t.Errorf("%d: %v", n, got)
		}
	}
}

// A server that ends instead of answering is said with its last words; so is a client that is not there, with how to have it.
func TestServerEnds(t *testing.T) {
	k := &contender{name: "native", start: nativeServer(func(port string) ([]string, error) {
		return []string{"/bin/sh", "-c", "echo starting; echo no port $0 >&2; exit 3", port}, nil
	})}
	kinds := []*contender{k}
	defer down(kinds)
	err := up(t.Context(), kinds, 2, hello{"PING\r\n", "+PONG\r\n"})
	if err == nil || !strings.HasPrefix(err.Error(), "native: the server ended before it answered: exit status 3: no port ") || len(k.servers) != 1 {
		t.Errorf("%v", err)
	}
	if err := k.together(1, func(string) error { return errors.New("connection reset") }); err == nil || !strings.HasPrefix(err.Error(), "native: the server ended: exit status 3: no port ") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	mute := []*contender{{name: "mute", start: nativeServer(func(string) ([]string, error) { return []string{"/bin/sleep", "1000"}, nil })}}
	defer down(mute)
	if err := up(ctx, mute, 1, hello{"PING\r\n", "+PONG\r\n"}); err == nil || err.Error() != "mute: context canceled" {
		t.Errorf("%v", err)
	}
	if err := mute[0].together(1, func(string) error { return errors.New("connection reset") }); err == nil || err.Error() != "mute: connection reset" {
		t.Errorf("%v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := tool("wrk", "wrk"); err == nil || err.Error() != "wrk: not found: install it: apt-get install wrk" {
		t.Error(err)
	}
}

// Ports that have been built are taken along, and found where they were taken; of others it is said how to have them.
func TestTakePorts(t *testing.T) {
	self, dir := filepath.Join(t.TempDir(), "kxsh"), t.TempDir()
	from := portsBeside(self)
	if err := errors.Join(os.MkdirAll(filepath.Join(from, "redis"), 0o755), os.WriteFile(filepath.Join(from, ports[0]), []byte("image"), 0o755)); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if err := takePorts(dir, from, &said); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(said.String(), "\n"); n != len(ports)-1 || !strings.Contains(said.String(), "bench: without lighttpd/lighttpd.kx: make ports builds it\n") {
		t.Errorf("%q", said.String())
	}
	for _, b := range []*Bench{{Programs: dir}, {Self: self}} {
		if path, err := b.port(ports[0]); err != nil {
			t.Error(err)
		} else if text, err := os.ReadFile(path); err != nil || string(text) != "image" {
			t.Errorf("%s: %q, %v", path, text, err)
		}
		if _, err := b.port(ports[1]); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "build it with make ports") {
			t.Errorf("%v", err)
		}
	}
}
