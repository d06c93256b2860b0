package e2e

import (
	"strings"
	"testing"
)

// Redis, unmodified from Debian's source, starts in a pVM and knows itself; its memory test looks at every bit of some.
func TestRedisPrograms(t *testing.T) {
	h := newHome(t)
	for program, options := range map[string][]string{
		"redis-server":    {"--help"},
		"redis-cli":       {"--version", "--help"},
		"redis-benchmark": {"--version", "--help"},
	} {
		for _, option := range options {
			portOf("redis", program).likeNative(t, h, nil, "", option)
		}
	}
	server := portOf("redis", "redis-server").image
	if out, errs, code := h.run(t, "run", server, "--version"); code != 0 || !strings.HasPrefix(out, "Redis server v=7.0.15 ") || !strings.Contains(out, " malloc=libc bits=64 ") {
		t.Errorf("status %d: %s%s", code, out, errs)
	}
	if out, errs, code := h.run(t, "run", server, "--test-memory", "2"); code != 0 || !strings.Contains(out, "\nYour memory passed this test.\n") {
		t.Errorf("status %d: %s%s", code, out, errs)
	}
}
