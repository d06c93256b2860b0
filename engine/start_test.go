package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where no state folder can be is said in a line, with the mend.
func TestStartNowhere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := StartBackground(context.Background(), filepath.Join(dir, "socket"), filepath.Join(file, "state"), []string{"false"})
	if err == nil || !strings.HasPrefix(err.Error(), "engine: cannot start: ") || !strings.HasSuffix(err.Error(), ": name other places with --state and --socket") {
		t.Error(err)
	}
}
