package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// website is a folder with what web servers are asked for.
func website(t *testing.T) (dir string, big []byte) {
	t.Helper()
	dir, big = t.TempDir(), make([]byte, 1<<20+7)
	for i := range big {
		big[i] = byte(rand.Uint32())
	}
	for name, content := range map[string][]byte{
		"index.html": []byte("<p>home\n"), "big.bin": big, "empty.txt": {}, "a b.txt": []byte("blank\n"), "sub/index.html": []byte("<p>sub\n"), "bare/x.css": []byte("p {}\n"),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, big
}

// httpdNative starts httpd, compiled for this machine with sanitizers, and ends it with the test: its address.
func httpdNative(t *testing.T, h *home, dir string) string {
	t.Helper()
	port := freePort(t)
	addr := "127.0.0.1:" + port
	cmd := exec.Command(h.program(t, filepath.Join(root, "guest/apps/httpd.c"), "-O2", "-g", "-std=gnu11", "-fsanitize=address,undefined"), "-p", port, dir)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if errs.Len() > 0 {
			t.Errorf("httpd: %s", errs.String())
		}
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "httpd: port "+port+"\n" {
		t.Fatalf("httpd: %q %v %s", line, err, errs.String())
	}
	return addr
}

// asked is a request and its answer.
type asked struct {
	request string
	status  int
	body    string // of the answer; statuses other than 200 say themselves
	keeps   bool   // the connection goes on
	header  string // a field that is there, with its value
}

// requests are all kinds of them. ~ stands for HTTP/1.1 and a host.
var requests = []asked{
	{"GET / ~", 200, "<p>home\n", true, "Content-Type: text/html; charset=utf-8"},
	{"GET //index.html?x=%zz ~", 200, "<p>home\n", true, "Content-Length: 8"},
	{"GET /a%20b.txt ~", 200, "blank\n", true, "Content-Type: text/plain; charset=utf-8"},
	{"GET /empty.txt ~", 200, "", true, "Content-Length: 0"},
	{"GET /bare/x.css ~", 200, "p {}\n", true, "Content-Type: text/css"},
	{"GET /sub/ ~", 200, "<p>sub\n", true, ""},
	{"GET http://elsewhere/sub/index.html ~", 200, "<p>sub\n", true, ""},
	{"HEAD /big.bin ~", 200, "", true, "Content-Length: 1048583"},
	{"GET / HTTP/1.1\r\nhOST:x\r\nConnection: TE,  Close\r\n\r\n", 200, "<p>home\n", false, ""},
	{"GET / HTTP/1.0\r\n\r\n", 200, "<p>home\n", false, ""},
	{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", 200, "<p>home\n", true, ""},
	{"\r\n\r\nGET / ~", 200, "<p>home\n", true, ""},
	{"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", 200, "<p>home\n", false, ""},
	{"GET /sub ~", 301, "", true, "Location: /sub/"},
	{"GET ///sub ~", 301, "", true, "Location: /sub/"},
	{"GET /none ~", 404, "", true, ""},
	{"HEAD /none ~", 404, "", true, ""},
	{"GET /index.html/x ~", 404, "", true, ""},
	{"GET /bare/ ~", 404, "", true, ""},
	{"GET /../etc/passwd ~", 403, "", true, ""},
	{"GET /sub/%2e%2E/%2e./etc/passwd ~", 403, "", true, ""},
	{"GET /sub/.. ~", 403, "", true, ""},
	{"GET /..x/...y/z.. ~", 404, "", true, ""},
	{"GET /index.html%00.png ~", 400, "", false, ""},
	{"GET /%4 ~", 400, "", false, ""},
	{"GET sub ~", 400, "", false, ""},
	{"GET / HTTP/1.1\r\n\r\n", 400, "", false, ""},
	{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "", false, ""},
	{"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "", false, ""},
	{"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400, "", false, ""},
	{"GET /\x00 ~", 400, "", false, ""},
	{"GET  / ~", 400, "", false, ""},
	{"nonsense\r\n\r\n", 400, "", false, ""},
	{"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, "", false, ""},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx=1", 405, "", false, "Allow: GET, HEAD"},
	{"get / ~", 405, "", false, ""},
	{"GET /" + strings.Repeat("x", 2000) + " ~", 414, "", true, ""},
	{"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + strings.Repeat("x", 9000) + "\r\n\r\n", 431, "", false, ""},
}

func (a asked) raw() string { return strings.Replace(a.request, "~", "HTTP/1.1\r\nHost: x\r\n\r\n", 1) }

func (a asked) method() string {
	method, _, _ := strings.Cut(strings.TrimLeft(a.request, "\r\n"), " ")
	return method
}

// answered reads the answer to the request from a connection, whose body is then in memory.
func (a asked) answered(t *testing.T, from *bufio.Reader) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(from, &http.Request{Method: a.method()})
	if err != nil {
		t.Fatalf("%.80q: %v", a.request, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%.80q: %v", a.request, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

// check reads it and finds it right.
func (a asked) check(t *testing.T, from *bufio.Reader) {
	t.Helper()
	resp := a.answered(t, from)
	body, _ := io.ReadAll(resp.Body)
	want := a.body
	if a.status/100 != 2 && a.method() != "HEAD" {
		want = resp.Status + "\n"
	}
	if resp.StatusCode != a.status || string(body) != want || resp.Close == a.keeps {
		t.Errorf("%.80q: %s, %.80q, close %v", a.request, resp.Status, body, resp.Close)
	}
	if name, value, some := strings.Cut(a.header, ": "); some && resp.Header.Get(name) != value {
		t.Errorf("%.80q: %s: %q", a.request, name, resp.Header.Get(name))
	}
}

// checkLast reads it and finds the connection closed if it should be.
func (a asked) checkLast(t *testing.T, from *bufio.Reader) {
	t.Helper()
	a.check(t, from)
	if !a.keeps {
		if n, err := io.Copy(io.Discard, from); n > 0 || err != nil {
			t.Errorf("%.80q: %d bytes after the last answer, %v", a.request, n, err)
		}
	}
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c
}

// lines is the request as inside.c sends it, over a connection of its own to port 80, which ends as it is told.
func (a asked) lines(end string) string {
	return fmt.Sprintf("!open 80\n%s\n%s\n", strings.ReplaceAll(strings.TrimSuffix(a.raw(), "\r\n"), "\r\n", "\n"), end)
}

// In a pVM it answers all kinds of requests of a client over loopback, and the file's bytes are all there.
func TestHTTPD(t *testing.T) {
	h := newHome(t)
	dir, big := website(t)
	image := h.image(t, filepath.Join(root, "guest/apps/httpd.c"), "-O2", "-std=gnu11", filepath.Join(root, "guest/ports/inside.c"))
	var in strings.Builder
	whole := asked{"GET /big.bin HTTP/1.0\r\n\r\n", 200, string(big), false, ""}
	all := append(slices.Clone(requests), whole)
	for _, a := range all {
		in.WriteString(a.lines("!end"))
	}
	out, errs, code := h.runInput(t, in.String(), "run", "-i", "-m", "64M", "--root", dir, image)
	if code != 0 || errs != "" {
		t.Errorf("status %d: %s", code, errs)
	}
	from := bufio.NewReader(strings.NewReader(strings.Replace(out, "httpd: port 80\n", "", 1)))
	for _, a := range all {
		a.check(t, from)
	}
}

// The example web server answers all kinds of requests as it should, one by one and sent ahead; many connections at once get
// every byte; and clients that go in the middle harm nobody.
func TestHTTPDNative(t *testing.T) {
	onlyOn(t, "hosted", "it is the native build, with sanitizers")
	h := newHome(t)
	dir, big := website(t)
	addr := httpdNative(t, h, dir)
	for _, a := range requests {
		c := dial(t, addr)
		io.WriteString(c, a.raw())
		a.checkLast(t, bufio.NewReader(c))
		c.Close()
	}

	// Ahead of their turn, in pieces that end anywhere.
	var all strings.Builder
	var order []asked
	for _, a := range requests {
		if a.keeps {
			all.WriteString(a.raw())
			order = append(order, a)
		}
	}
	for _, piece := range []int{1 << 20, 700, 7} {
		c := dial(t, addr)
		go func() {
			for b := []byte(all.String()); len(b) > 0; b = b[min(piece, len(b)):] {
				c.Write(b[:min(piece, len(b))])
			}
		}()
		from := bufio.NewReader(c)
		for _, a := range order {
			a.check(t, from)
		}
	}

	var all50 sync.WaitGroup
	for range 50 {
		all50.Go(func() {
			for i := range 4 {
				if i == 2 { // gone with most of the answer still to come
					if c, err := net.Dial("tcp", addr); err == nil {
						fmt.Fprint(c, "GET /big.bin HTTP/1.0\r\n\r\n")
						c.Read(make([]byte, 1000))
						c.(*net.TCPConn).SetLinger(0)
						c.Close()
					}
				}
				resp, err := http.Get("http://" + addr + "/big.bin")
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, big) {
					t.Errorf("%d bytes of %d, %v", len(got), len(big), err)
				}
			}
		})
	}
	all50.Wait()
}

// -h is no mistake.
func TestHttpdUsage(t *testing.T) {
	h := newHome(t)
	for flag, code := range map[string]int{"-h": 0, "-x": 2} {
		out, errs, got := h.run(t, "run", filepath.Join(root, "guest/apps/httpd.kx"), flag)
		if usage := "usage: httpd [-p PORT] [FOLDER]\n"; got != code || (code == 0) != (out == usage && errs == "") || (code == 2) != (out == "" && strings.HasSuffix(errs, usage)) {
			t.Errorf("%s: status %d: %s%s", flag, got, out, errs)
		}
	}
}
