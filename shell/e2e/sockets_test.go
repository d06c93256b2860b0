package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The network's part of the guest test program, in a pVM with no more memory than it needs.
func TestSockets(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(root, "guest/test/test.h"))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"run", "-m", "32M", filepath.Join(root, "guest/test/usertests.kx")}
	for _, m := range regexp.MustCompile(`T\((net_\w+), `).FindAllStringSubmatch(string(table), -1) {
		args = append(args, m[1])
	}
	h := newHome(t)
	out, errs, code := h.run(t, args...)
	if code != 0 || !strings.Contains(out, " passed, 0 failed") {
		t.Errorf("status %d\n%s%s", code, out, errs)
	}
}
