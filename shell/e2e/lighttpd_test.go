package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const lighttpdConf = `server.document-root = "/www"
server.port = 80
server.event-handler = "poll"
server.modules = ("mod_access", "mod_indexfile", "mod_dirlisting", "mod_staticfile")
index-file.names = ("index.html")
mimetype.assign = (".html" => "text/html", ".css" => "text/css", "" => "application/octet-stream")
url.access-deny = (".key")
`

// lighttpd, unmodified from Debian's source, serves a client over loopback every byte, a range of them, and what it refuses.
func TestLighttpd(t *testing.T) {
	h := newHome(t)
	site, big := website(t)
	dir := t.TempDir()
	if err := os.Rename(site, filepath.Join(dir, "www")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lighttpd.conf"), []byte(lighttpdConf), 0o644); err != nil {
		t.Fatal(err)
	}
	// It takes a client that sends no more for one that has gone.
	const closing = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	all := []asked{
		{"GET /" + closing, 200, "<p>home\n", false, "Content-Type: text/html"},
		{"GET /bare/x.css" + closing, 200, "p {}\n", false, "Content-Type: text/css"},
		{"GET /sub/" + closing, 200, "<p>sub\n", false, ""},
		{"HEAD /big.bin" + closing, 200, "", false, fmt.Sprint("Content-Length: ", len(big))},
		{"GET /big.bin" + closing, 200, string(big), false, ""},
		{"GET /big.bin HTTP/1.1\r\nRange: bytes=100000-400000\r\nHost: x\r\nConnection: close\r\n\r\n", 206, string(big[100000:400001]), false, "Content-Length: 300001"},
	}
	refused := []asked{{"GET /none" + closing, 404, "", false, ""}, {"GET /../../lighttpd.conf" + closing, 404, "", false, ""}, {"GET /secret.key" + closing, 403, "", false, ""}}
	var in strings.Builder
	for _, a := range append(all, refused...) {
		in.WriteString(a.lines("!quiet -1"))
	}
	out, errs, code := h.runInput(t, in.String(), "run", "-i", "-m", "64M", "--root", dir, portOf("lighttpd", "lighttpd-inside").image, "-D", "-f", "/lighttpd.conf")
	if code != 0 || strings.Contains(errs, "kx:") {
		t.Errorf("status %d: %s", code, errs)
	}
	from := bufio.NewReader(strings.NewReader(out))
	for _, a := range all {
		a.check(t, from)
	}
	for _, a := range refused {
		if resp := a.answered(t, from); resp.StatusCode != a.status {
			t.Errorf("%q: %s", a.request, resp.Status)
		}
	}
}
