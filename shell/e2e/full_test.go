package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Where Xen has no memory left run says so in one line, with the mend, and leaves nothing; the mend helps.
func TestXenOutOfMemory(t *testing.T) {
	onlyOn(t, "xen", "hosted, a pVM's memory is the host's: TestGreedy")
	h := newHome(t)
	hog, image := h.compile(t, "hog"), filepath.Join(root, "guest/apps/hello.kx")
	h.noPool(t)
	const left = 48 << 20 // less than a pVM may have if nothing is said
	pid := strings.TrimSpace(h.output(t, "run", "-d", "--name", "hog", "-m", fmt.Sprint(h.info(t).FreeMemory-left), hog))
	h.logged(t, pid, "all of it\n")
	before := h.info(t)
	out, errs, code := h.run(t, "run", "--name", "late", image)
	want := `^run: ` + regexp.QuoteMeta(image) + `: (create domain: \w+: )?not enough memory on the host: \d+ MiB are needed, \d+ MiB are free: [^\n]*end other pVMs\n$`
	if out != "" || code != 1 || !regexp.MustCompile(want).MatchString(errs) {
		t.Errorf("status %d, %q, %q; want %s", code, out, errs, want)
	}
	await(t, "all that was free before", func() (bool, string) {
		now := h.info(t)
		return now.FreeMemory >= before.FreeMemory && now.Running == 1, fmt.Sprint(now.FreeMemory, " bytes free, ", before.FreeMemory, " before; ", now.Running, " pVMs")
	})
	if out := h.output(t, "ps", "-e", "--no-headers", "-o", "name"); out != "hog\n" {
		t.Errorf("ps: %q", out)
	}
	h.output(t, "-c", "kill -9 hog; wait "+pid+" || true")
	await(t, "its memory", func() (bool, string) {
		out, errs, code := h.run(t, "run", image)
		return code == 0 && out == "Hello from a pVM\n", out + errs
	})
}
