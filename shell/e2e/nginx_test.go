package e2e

import (
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What does not begin with a slash is below /nginx.
const nginxConf = `daemon off;
user root root;
worker_processes 2;
error_log /dev/stdout notice;
events { worker_connections 64; }
http {
	access_log off;
	server {
		listen 80;
		root /www;
		add_header Worker $pid;
	}
}
`

// nginx's master listens, and leaves all connections to its workers, which are pVMs; told to read its configuration again, it begins others, and
// the old ones end.
func TestNetworkNginx(t *testing.T) {
	h := newHome(t)
	dir, port := t.TempDir(), freePort(t)
	for _, folder := range []string{"nginx/conf", "nginx/logs", "www"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(dir, "nginx/conf/nginx.conf"), nginxConf)
	writeFile(t, filepath.Join(dir, "www/index.html"), "<p>home\n")
	master := strings.TrimSpace(h.output(t, "run", "-d", "--root", dir, "--publish", "127.0.0.1:"+port+":80", portOf("nginx", "nginx").image))
	workers := func() []string {
		out, _, _ := h.run(t, "pgrep", "-P", master)
		return strings.Fields(out)
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answers := func(by []string) {
		t.Helper()
		seen := map[string]bool{}
		for range 10 {
			resp, err := client.Get("http://127.0.0.1:" + port + "/")
			if err != nil {
				t.Fatal(err)
			}
			page, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || string(page) != "<p>home\n" {
				t.Fatalf("%s, %q, %v", resp.Status, page, err)
			}
			seen[resp.Header.Get("Worker")] = true
		}
		if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, by) {
			t.Errorf("%q have answered, of %q", got, by)
		}
	}
	begun := func(old ...string) (now []string) {
		t.Helper()
		await(t, "two workers", func() (bool, string) {
			now = workers()
			slices.Sort(now)
			return len(now) == 2 && !slices.ContainsFunc(now, func(w string) bool { return slices.Contains(old, w) }), strings.Join(now, " ")
		})
		return now
	}
	first := begun()
	answers(first)
	h.output(t, "kill", "-HUP", master)
	answers(begun(first...))
	h.output(t, "kill", "-QUIT", master)
	if _, errs, code := h.run(t, "wait", master); code != 0 {
		t.Errorf("status %d: %s", code, errs)
	}
	if left := workers(); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	if log, _, _ := h.run(t, "logs", master); strings.Contains(log, "[emerg]") || !strings.Contains(log, "exited with code 0") {
		t.Error(log)
	}
}
