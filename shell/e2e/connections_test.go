package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// webServers are what runs each of them in a pVM on a folder that has www with a website, published at an address of the host.
func (h *home) webServers(t *testing.T, dir string) map[string]func(addr string) (pid string) {
	t.Helper()
	writeFile(t, filepath.Join(dir, "lighttpd.conf"), lighttpdConf+"server.max-keep-alive-idle = 600\nserver.max-read-idle = 600\nserver.max-fds = 4096\nserver.max-connections = 2000\n")
	start := func(addr string, args ...string) string {
		return strings.TrimSpace(h.output(t, append([]string{"run", "-d", "-m", "256M", "--publish", addr + ":80"}, args...)...))
	}
	return map[string]func(addr string) string{
		"httpd": func(addr string) string {
			return start(addr, "-v", filepath.Join(dir, "www")+":/srv:ro", filepath.Join(root, "guest/apps/httpd.kx"), "/srv")
		},
		"lighttpd": func(addr string) string {
			return start(addr, "--root", dir, portOf("lighttpd", "lighttpd").image, "-D", "-f", "/lighttpd.conf")
		},
	}
}

// siteWithConf is a website in a folder's www.
func siteWithConf(t *testing.T) (dir string, big []byte) {
	t.Helper()
	site, big := website(t)
	dir = t.TempDir()
	if err := os.Rename(site, filepath.Join(dir, "www")); err != nil {
		t.Fatal(err)
	}
	return dir, big
}

// serving waits until something answers a request at an address.
func serving(t *testing.T, addr string) {
	t.Helper()
	await(t, "a web server to answer", func() (bool, string) {
		resp, err := http.Get("http://" + addr + "/")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil, fmt.Sprint(err)
	})
}

// Both web servers in pVMs give curl every byte of files, pieces of them, and many on one connection.
func TestNetworkCurl(t *testing.T) {
	h := newHome(t)
	dir, big := siteWithConf(t)
	for name, start := range h.webServers(t, dir) {
		addr := "127.0.0.1:" + freePort(t)
		start(addr)
		serving(t, addr)
		curl := func(args ...string) []byte {
			cmd := exec.Command("curl", append([]string{"-sS", "--fail", "--path-as-is", "--max-time", fmt.Sprint(int(patience.Seconds()))}, args...)...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s: curl %q: %v\n%.300s", name, args, err, out)
			}
			return out
		}
		url := "http://" + addr
		sameBytes(t, name+": the big file", curl(url+"/big.bin"), big)
		sameBytes(t, name+": four on a connection", curl(url+"/", url+"/big.bin", url+"/empty.txt", url+"/a%20b.txt"), []byte("<p>home\n"+string(big)+"blank\n"))
		if head := string(curl("-I", url+"/big.bin")); !strings.Contains(head, fmt.Sprintf("Content-Length: %d\r\n", len(big))) {
			t.Errorf("%s: HEAD: %s", name, head)
		}
		if name == "lighttpd" {
			sameBytes(t, "a range", curl("-r", "1000-99999", url+"/big.bin"), big[1000:100000])
		}
		out, err := exec.Command("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--path-as-is", url+"/../lighttpd.conf").Output()
		if code := string(out); err != nil || code != "404" && code != "403" {
			t.Errorf("%s: outside of the folder: %s, %v", name, code, err)
		}
	}
}

// many connections to a server are open at the same time, and each is answered twice while all are: by want, as answer reads it.
func many(t *testing.T, addr, request, want string, answer func(*bufio.Reader) (string, error)) {
	t.Helper()
	conns := make([]net.Conn, max(1020/(slowness*slowness), 60)) // with the other files more than a set of 1024 has room for; the switch takes no more
	for i := range conns {
		conns[i] = dial(t, addr)
	}
	for round := range 2 {
		begin := time.Now()
		var all sync.WaitGroup
		for i, c := range conns {
			all.Go(func() {
				c.SetDeadline(time.Now().Add(2 * patience))
				io.WriteString(c, request)
				if got, err := answer(bufio.NewReader(c)); err != nil || got != want {
					t.Errorf("round %d, connection %d of %d: %d bytes, not %d, or others, %v", round, i, len(conns), len(got), len(want), err)
				}
			})
		}
		all.Wait()
		t.Logf("%d connections: round %d took %v", len(conns), round, time.Since(begin))
	}
	for _, c := range conns {
		c.Close()
	}
}

// More than a thousand connections at once to a web server with a thread for each, to one that waits with poll, and to Redis, which waits with select.
func TestNetworkThousand(t *testing.T) {
	h := newHome(t)
	dir, _ := siteWithConf(t)
	page := bytes.Repeat([]byte("a thousand "), 2000)
	writeFile(t, filepath.Join(dir, "www", "page.txt"), string(page))
	for name, start := range h.webServers(t, dir) {
		t.Run(name, func(t *testing.T) {
			addr := "127.0.0.1:" + freePort(t)
			pid := start(addr)
			serving(t, addr)
			many(t, addr, "GET /page.txt HTTP/1.1\r\nHost: x\r\n\r\n", string(page), func(from *bufio.Reader) (string, error) {
				resp, err := http.ReadResponse(from, nil)
				if err != nil {
					return "", err
				}
				body, err := io.ReadAll(resp.Body)
				return string(body), err
			})
			serving(t, addr)
			h.output(t, "kill", "-KILL", pid)
		})
	}
	t.Run("redis", func(t *testing.T) {
		pid, addr := h.redis(t, nil)
		value := strings.Repeat("x", 20000)
		redisDo(t, addr, "SET", "key", value)
		many(t, addr, "GET key\r\n", value, func(from *bufio.Reader) (string, error) {
			got, err := (&redisConn{from: from}).answer()
			s, _ := got.(string)
			return s, err
		})
		h.output(t, "kill", "-KILL", pid)
	})
}
