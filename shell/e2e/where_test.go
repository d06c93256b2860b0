package e2e

import (
	"os"
	"strconv"
	"testing"
	"time"

	"kxsh/xen/privcmd"
)

// where is the hypervisor that the suite runs on, found as kxsh itself finds it.
var where = func() string {
	if privcmd.Available() {
		return "xen"
	}
	return "hosted"
}()

// onlyOn ends a case here if it is about another hypervisor, and has the table of cases say why.
func onlyOn(t testing.TB, hypervisor, why string) {
	t.Helper()
	if where != hypervisor {
		t.Skipf("only on %s: %s", hypervisor, why)
	}
}

// patience bounds every wait for something to appear, on a machine like a developer's. An emulated one needs
// KXSH_TEST_PATIENCE times as much.
var patience = 30 * time.Second * time.Duration(slowness)

var slowness = func() int {
	n, err := strconv.Atoi(os.Getenv("KXSH_TEST_PATIENCE"))
	if err != nil {
		return 1
	}
	return max(1, n)
}()
