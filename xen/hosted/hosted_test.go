package hosted

import (
	"os"
	"testing"

	"kxsh/xen"
	"kxsh/xen/xentest"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == engineArg {
		engineMain(os.Args[2:])
	}
	code := m.Run()
	xentest.RemoveGuest()
	os.Exit(code)
}

func open(t testing.TB, key string) *Hypervisor {
	t.Helper()
	h, err := New(Options{Key: key})
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
	}
}

func TestConformance(t *testing.T) { xentest.Run(t, suite()) }
