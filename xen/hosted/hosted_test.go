package hosted

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/xen"
	"kxsh/xen/xentest"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == engineArg {
		engineMain(os.Args[2:])
	}
	code := m.Run()
	xentest.RemoveGuest()
	for _, key := range keys {
		// What a failed test left would be found by the next run.
		for _, s := range scan(fileKey(key)) {
			unix.Kill(s.pid, unix.SIGKILL)
		}
	}
	os.Exit(code)
}

var keys []string

func open(t testing.TB, key string) *Hypervisor {
	t.Helper()
	return openPool(t, key, 0)
}

// openPool starts a hypervisor with a key of this process's own.
func openPool(t testing.TB, key string, pool int) *Hypervisor {
	t.Helper()
	key = fmt.Sprintf("%s %d", key, os.Getpid())
	keys = append(keys, key)
	h, err := New(Options{Key: key, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func suite() xentest.Suite {
	return xentest.Suite{
		Open:    func(t testing.TB, key string) xen.Hypervisor { return open(t, key) },
		Prepare: xentest.PrepareGuest,
		Real:    true,
		Moves:   true,
		Cycles:  500, // shell/e2e has more of them
		Resets:  200,
		Watch:   watch,
		Frames:  openWire,
	}
}

// watch fails a test that leaves descriptors, mappings or processes behind.
func watch(t testing.TB) func(bool) {
	before := things(t)
	return func(adopted bool) {
		if adopted { // what the first engine holds goes with its process
			return
		}
		remains(t, "at the end", before)
	}
}

// remains waits until there are the things that there were before: some end a moment later.
func remains(t testing.TB, what, before string) {
	t.Helper()
	after := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if after = things(t); after == before {
			return
		}
	}
	t.Fatalf("%s: left behind:\nbefore %s\nafter  %s", what, before, after)
}

func TestConformance(t *testing.T) { xentest.Run(t, suite()) }
