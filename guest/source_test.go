package guest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fetch runs fetch-source.sh with tools from PATH and without a network.
func fetch(t *testing.T, env []string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("lib/fetch-source.sh", args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errs
	if err := cmd.Run(); (err == nil) != (errs.Len() == 0) {
		t.Errorf("fetch-source.sh %q: %v, but it said %q", args, err, errs.String())
	}
	return out.String(), errs.String()
}

// pathWithout is a PATH with what the script needs, but no apt-get.
func pathWithout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, tool := range []string{"sh", "grep", "sha256sum", "mkdir", "flock", "dirname"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	return "PATH=" + dir
}

func TestFetchSource(t *testing.T) {
	const pinned = "musl_1.2.3.orig.tar.gz"
	forged := write(t, map[string]string{pinned: "not musl"})
	path, cache := pathWithout(t), "XDG_CACHE_HOME="+t.TempDir()
	tests := []struct {
		name string
		env  []string
		args string
		want string
	}{
		{"no arguments", []string{path, cache}, "", "fetch-source: usage: "},
		{"not pinned", []string{path, cache}, "musl 9.9", "fetch-source: musl 9.9: not pinned: "},
		{"forged", []string{path, cache, "KXSH_SOURCES=" + forged}, "musl 1.2.3", "checksum differs"},
		{"no apt-get", []string{path, cache}, "musl 1.2.3", "apt-get: not found: put " + pinned},
		{"no cache", []string{path, "XDG_CACHE_HOME=/proc/1"}, "musl 1.2.3", "set XDG_CACHE_HOME"},
	}
	for _, tt := range tests {
		stdout, stderr := fetch(t, tt.env, strings.Fields(tt.args)...)
		if stdout != "" || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: stdout %q, stderr %q", tt.name, stdout, stderr)
		}
	}

	// A cached tarball that was damaged is not used either.
	dir := t.TempDir()
	src := filepath.Join(dir, "kxsh/src")
	if err := os.MkdirAll(src, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, pinned), []byte("half"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr := fetch(t, []string{path, "XDG_CACHE_HOME=" + dir}, "musl", "1.2.3"); !strings.Contains(stderr, "checksum differs") {
		t.Errorf("damaged cache: %q", stderr)
	}
}
