package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// metricsKept is how long one answer is given again: whoever asks more often than that costs no more.
	metricsKept = time.Second
	// metricsClients is how many connections there may be to the metrics: the engine's own descriptors are for pVMs.
	metricsClients = 16
	metricsTimeout = 10 * time.Second
)

// metricsUnix begins an address that is a socket's path.
const metricsUnix = "unix:"

// CheckMetrics tells whether metrics can be served at an address: HOST:PORT with a loopback address or localhost for
// HOST, or unix:PATH with an absolute path. There is no password on them.
func CheckMetrics(addr string) error {
	if path, ok := strings.CutPrefix(addr, metricsUnix); ok {
		if !filepath.IsAbs(path) {
			return errors.New("the path of a socket must be absolute")
		}
		return checkSocket(path)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("HOST:PORT or unix:PATH")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port %s: a number from 1 to 65535", port)
	}
	if !loopback(host) {
		return fmt.Errorf("%q is not the loopback: say 127.0.0.1, [::1] or localhost, and let a proxy with a password serve others", host)
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// serveMetrics serves metrics at addr, if it is not empty, until stop is called.
func (e *Engine) serveMetrics(addr string) (stop func() error, err error) {
	if addr == "" {
		return func() error { return nil }, nil
	}
	failed := func(err error) error { return errf(CodeEngine, "engine: metrics %s: %v", addr, err) }
	if err := CheckMetrics(addr); err != nil {
		return nil, failed(err)
	}
	var ln net.Listener
	if path, ok := strings.CutPrefix(addr, metricsUnix); ok {
		ln, err = Listen(path)
	} else {
		ln, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return nil, failed(err)
	}
	s := &http.Server{
		Handler:           (&scraped{e: e}).routes(),
		ReadHeaderTimeout: metricsTimeout, ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout, IdleTimeout: metricsTimeout,
		MaxHeaderBytes: 16 << 10,
	}
	go s.Serve(&fewClients{Listener: ln, free: make(chan struct{}, metricsClients)}) // it ends with Close
	return s.Close, nil
}

// scraped is the metrics as they were last asked for.
type scraped struct {
	e *Engine

	mu   sync.Mutex
	at   time.Time
	text []byte
}

func (s *scraped) get(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) < metricsKept {
		return s.text, nil
	}
	text, err := s.e.Metrics(ctx)
	if err == nil {
		s.at, s.text = time.Now(), text
	}
	return text, err
}

func (s *scraped) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		// A web page whose host's name has come to mean the loopback may not read them (DNS rebinding).
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = strings.Trim(r.Host, "[]")
		}
		if _, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok && !loopback(host) {
			http.Error(w, "metrics are for the loopback", http.StatusForbidden)
			return
		}
		text, err := s.get(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", MetricsType)
		w.Write(text)
	})
	return m
}

// fewClients lets metricsClients connections in at a time; others wait in the kernel's queue.
type fewClients struct {
	net.Listener
	free chan struct{}
}

func (l *fewClients) Accept() (net.Conn, error) {
	l.free <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &countedConn{Conn: c, leave: sync.OnceFunc(func() { <-l.free })}, nil
}

type countedConn struct {
	net.Conn
	leave func()
}

func (c *countedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
