package bench

import (
	"archive/tar"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"kxsh/engine"
)

// Of the native server's rate.
const (
	webHosted = 0.6
	webXen    = 0.8
)

// pageSize is that of the file that clients ask for, bytes.
const pageSize = 4096

// lighttpdConf needs the folder, the port, and how it waits.
const lighttpdConf = `server.document-root = %q
server.port = %s
server.event-handler = %q
server.modules = ("mod_indexfile", "mod_staticfile")
index-file.names = ("index.html")
mimetype.assign = (".html" => "text/html")
`

// wrkScript has wrk print one line of numbers.
//
//go:embed testdata/wrk.lua
var wrkScript string

// webServers are kinds of one web server; the first is what the others are compared with, the last is the pVM.
type webServers struct {
	name  string
	kinds []*contender
	loads []*loadSeries
	sums  []*scaled
}

// web measures two web servers in a pVM beside the same sources built natively: httpd, with a thread for each connection as the paper's, and lighttpd, which waits
// with poll, natively with epoll, too. What 50 clients get of one, what servers weigh, and what 1 to 8 do together.
func (b *Bench) web(ctx context.Context) (err error) {
	client, err := tool("wrk", "wrk")
	if err != nil {
		return err
	}
	hv, info, err := b.host()
	if err != nil {
		return err
	}
	defer hv.Close()
	e, err := b.engine("web", 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(e)) }()
	least, routed := webHosted, (func(context.Context, int, string) error)(nil)
	if info.Name == "xen" {
		least, routed = webXen, byHand
	}
	list, err := b.webServers(e, routed)
	if err != nil {
		return err
	}
	script := filepath.Join(b.dir, "wrk.lua")
	if err := os.WriteFile(script, []byte(wrkScript), 0o600); err != nil {
		return err
	}
	bench := webBench{client, script, 1}
	turns, counts := 10, b.counts(&info)
	if b.Quick {
		turns = 3 // a load lasts a second at least, and longer on an emulated machine
	}
	most := slices.Max(counts)
	loads := 0
	for _, w := range list {
		loads += turns * len(counts) * len(w.kinds)
		b.say("%s, %d of each kind", w.name, most)
		defer down(w.kinds)
		if err := up(ctx, w.kinds, most, hello{"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 "}); err != nil {
			return err
		}
		for _, k := range w.kinds {
			w.loads = append(w.loads, newLoadSeries(w.name, k.name, k.peer))
			w.sums = append(w.sums, newScaled(w.name, k.name, k.peer, counts))
		}
	}
	r := &Report{Bench: "web", Time: time.Now(), Machine: machine(&info)}
	next := b.begin(loads, "%v servers, %d clients each", counts, clients)
	for range turns {
		for j, n := range counts {
			for _, w := range list {
				for i, k := range w.kinds {
					next()
					all, err := bench.load(ctx, k, n)
					if err != nil {
						return err
					}
					w.sums[i].series[j].addRate(all.rate)
					if n == 1 {
						w.loads[i].add(all)
					}
				}
			}
		}
	}
	var rates []*Series
	for _, w := range list {
		sums := sumLoads(w.loads, least)
		r.Series = append(r.Series, sums...)
		rates = append(rates, sums...)
	}
	r.plots = []plot{rateBars(fmt.Sprintf("Requests a second, %d clients", clients), rates), latencyDots(rates)}
	for _, w := range list {
		r.addScaled(w.sums)
		r.plots = append(r.plots, byNumber(w.name+": requests a second of 1 to "+fmt.Sprint(most)+" servers, each with a client of its own", w.sums))
		values, err := weights(w.name, w.kinds)
		if err != nil {
			return err
		}
		r.Values = append(r.Values, values...)
		r.plots = append(r.plots, weightBars(values, w.kinds))
	}
	return b.print(r)
}

// webBench is a run of it: how many seconds each load lasts.
type webBench struct {
	client, script string
	seconds        int
}

// mostSeconds is what a load lasts at most.
const mostSeconds = 32

// errFew says that a load was too short. An emulated machine needs seconds until all clients have a connection.
var errFew = errors.New("too few to tell")

// load asks n servers of a kind at once: their rates together, and the slowest one's latencies. All loads are longer from then on if one was too short.
func (w *webBench) load(ctx context.Context, k *contender, n int) (load, error) {
	for {
		sum, err := w.once(ctx, k, n)
		if !errors.Is(err, errFew) || w.seconds >= mostSeconds {
			return sum, err
		}
		w.seconds *= 2
	}
}

func (w *webBench) once(ctx context.Context, k *contender, n int) (sum load, err error) {
	each := make(chan load, n)
	err = k.together(n, func(addr string) error {
		out, err := output(ctx, w.client, "-t", "1", "-c", strconv.Itoa(clients), "-d", fmt.Sprintf("%ds", w.seconds), "-s", w.script, "http://"+addr+"/")
		if err != nil {
			return err
		}
		l, err := parseWrk(out)
		each <- l
		return err
	})
	if err != nil {
		return sum, err
	}
	for range n {
		l := <-each
		sum.rate += l.rate
		sum.p50, sum.p99 = max(sum.p50, l.p50), max(sum.p99, l.p99)
	}
	return sum, nil
}

// parseWrk reads the line that wrkScript has wrk print: requests, microseconds that they took together, latencies in
// microseconds, and how many failed.
func parseWrk(out string) (l load, err error) {
	for line := range strings.Lines(out) {
		var requests, took, p50, p99, failed int64
		if n, _ := fmt.Sscanf(line, "measured %d %d %d %d %d\n", &requests, &took, &p50, &p99, &failed); n != 5 {
			continue
		}
		if failed > 0 || took <= 0 || p50 < 0 || p99 < p50 {
			return l, fmt.Errorf("wrk: %d requests in %d µs, %d failed", requests, took, failed)
		}
		if requests < clients {
			return l, fmt.Errorf("wrk: %d requests in %d µs: %w", requests, took, errFew)
		}
		return load{float64(requests) * 1e6 / float64(took), time.Duration(p50) * time.Microsecond, time.Duration(p99) * time.Microsecond}, nil
	}
	return l, fmt.Errorf("wrk: not what version 4 prints: %q", out)
}

// webServers are both, with a page to serve.
func (b *Bench) webServers(e *engine.Engine, routed func(context.Context, int, string) error) ([]*webServers, error) {
	page := bytes.Repeat([]byte("<p>page\n"), pageSize/8)
	folder := filepath.Join(b.dir, "www")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, "index.html"), page, 0o644); err != nil {
		return nil, err
	}
	root := filepath.Join(b.dir, "www.tar")
	if err := writeRoot(root, []rootFile{{"www/index.html", page}, {"lighttpd.conf", fmt.Appendf(nil, lighttpdConf, "/www", "80", "poll")}}); err != nil {
		return nil, err
	}
	var paths [4]string
	for i, find := range []func() (string, error){
		func() (string, error) { return b.program("httpd.kx") }, func() (string, error) { return b.program("httpd") },
		func() (string, error) { return b.port("lighttpd/lighttpd.kx") }, func() (string, error) { return b.port("lighttpd/lighttpd.native") },
	} {
		var err error
		if paths[i], err = find(); err != nil {
			return nil, err
		}
	}
	lighttpd := func(waits string) func(context.Context) (*server, error) {
		return nativeServer(func(port string) ([]string, error) {
			conf := filepath.Join(b.dir, "lighttpd-"+port+".conf")
			return []string{paths[3], "-D", "-f", conf}, os.WriteFile(conf, fmt.Appendf(nil, lighttpdConf, folder, port, waits), 0o600)
		})
	}
	return []*webServers{
		{name: "httpd", kinds: []*contender{
			{name: "native", peer: 1, start: nativeServer(func(port string) ([]string, error) { return []string{paths[1], "-p", port, folder}, nil })},
			{name: "pVM", start: pvmServer(e, engine.RunRequest{Image: paths[0], Args: []string{"httpd", "/www"}, Root: root}, "80", routed)},
		}},
		{name: "lighttpd", kinds: []*contender{
			{name: "native, poll", peer: 1, start: lighttpd("poll")},
			{name: "native, epoll", peer: 2, start: lighttpd("linux-sysepoll")},
			{name: "pVM", start: pvmServer(e, engine.RunRequest{Image: paths[2], Args: []string{"lighttpd", "-D", "-f", "/lighttpd.conf"}, Root: root}, "80", routed)},
		}},
	}, nil
}

// rootFile is a file of a pVM's root.
type rootFile struct {
	name string
	text []byte
}

// writeRoot writes a root file system of these files.
func writeRoot(path string, files []rootFile) error {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text))}); err != nil {
			return err
		}
		if _, err := w.Write(f.text); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), os.WriteFile(path, b.Bytes(), 0o600))
}
