package guest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A new SDK takes the place of those that nobody has used for long, and of nothing else.
func TestPruneSDKs(t *testing.T) {
	cache := t.TempDir()
	old := time.Now().Add(-sdkUnused - time.Hour)
	for name, age := range map[string]time.Time{
		"sdk-0123456789abcdef": old, ".sdk-1234": old, "sdk-fedcba9876543210": old.Add(2 * time.Hour),
		"sdk-mine": old, "musl-0123456789abcdef": old,
	} {
		dir := filepath.Join(cache, name)
		if err := os.MkdirAll(filepath.Join(dir, "lib"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, age, age); err != nil {
			t.Fatal(err)
		}
	}
	used, err := unpackSDK(cache)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"sdk-0123456789abcdef": false, ".sdk-1234": false, "sdk-fedcba9876543210": true,
		"sdk-mine": true, "musl-0123456789abcdef": true, filepath.Base(used): true,
	} {
		if _, err := os.Stat(filepath.Join(cache, name)); err == nil != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
	// Its use is noted.
	if err := os.Chtimes(used, old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := unpackSDK(cache); err != nil {
		t.Fatal(err)
	}
	pruneSDKs(cache)
	if _, err := os.Stat(used); err != nil {
		t.Errorf("the SDK in use: %v", err)
	}
}
