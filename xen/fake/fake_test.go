package fake_test

import (
	"errors"
	"sync"
	"testing"

	"kxsh/xen"
	"kxsh/xen/fake"
	"kxsh/xen/xentest"
)

func TestConformance(t *testing.T) {
	var mu sync.Mutex
	hosts := map[string]*fake.Host{}
	xentest.Run(t, xentest.Suite{
		Open: func(t testing.TB, key string) xen.Hypervisor {
			mu.Lock()
			defer mu.Unlock()
			if hosts[key] == nil {
				hosts[key] = fake.NewHost(xentest.Program)
			}
			return hosts[key].Open(1)
		},
		Prepare: func(t testing.TB, hv xen.Hypervisor) xen.Image {
			im, err := hv.Prepare(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			return im
		},
	})
}

// TestFail holds that a step that was made to fail fails, and leaves nothing.
func TestFail(t *testing.T) {
	h := fake.NewHost(xentest.Program)
	hv := h.Open(1)
	im, _ := hv.Prepare(nil, nil)
	injected := errors.New("injected")
	for _, name := range []string{"memory", "boot", "start"} {
		h.Fail(func(step string) error {
			if step == name {
				return injected
			}
			return nil
		})
		if _, err := hv.Create(t.Context(), &xen.Config{Image: im, Memory: 1 << 20}); !errors.Is(err, injected) {
			t.Errorf("%s: %v", name, err)
		}
		if ids, _ := hv.Domains(); len(ids) != 0 {
			t.Errorf("%s: domains left: %v", name, ids)
		}
	}
}
