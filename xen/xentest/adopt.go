package xentest

import (
	"context"
	"errors"
	"testing"

	"kxsh/xen"
)

// testAdopt has a second engine take over what a first one left.
func testAdopt(t *testing.T, b *bench) {
	// Not b.create: what the first engine held is of no use after its end.
	start := func(args ...string) xen.Domain {
		d, err := b.hv.Create(context.Background(), b.config(args...))
		b.must(err)
		// The first engine lets go of what it maps, where it still can, after the second one has ended it.
		t.Cleanup(func() { d.Destroy(); d.Release() })
		return d
	}
	pong, waiting, dead := start("pong"), start("status", "9"), start("spin")
	b.must(pong.Unpause())
	b.must(dead.Unpause())
	b.must(pong.Notify())
	await(t, pong.Rang(), "an answer")
	ids := []xen.DomID{pong.ID(), waiting.ID(), dead.ID()}
	tokens := [][]byte{pong.Token(), waiting.Token(), dead.Token()}
	b.must(b.hv.Close())
	b.must(dead.Destroy())
	b.open()
	eventually(t, "two domains", func() bool {
		left, err := b.hv.Domains()
		return err == nil && len(left) == 2 && left[0] == ids[0] && left[1] == ids[1]
	})
	for name, f := range map[string]func() (xen.Domain, error){
		"dead":        func() (xen.Domain, error) { return b.hv.Adopt(ids[2], tokens[2]) },
		"wrong token": func() (xen.Domain, error) { return b.hv.Adopt(ids[0], tokens[1]) },
		"unknown":     func() (xen.Domain, error) { return b.hv.Adopt(4711, tokens[0]) },
	} {
		if _, err := f(); !errors.Is(err, xen.ErrNoDomain) {
			t.Errorf("adopt %s: %v", name, err)
		}
	}
	d, err := b.hv.Adopt(ids[0], tokens[0])
	b.must(err)
	t.Cleanup(func() { end(t, d) })
	if _, err := b.hv.Adopt(ids[0], tokens[0]); !errors.Is(err, xen.ErrNoDomain) {
		t.Errorf("adopted twice: %v", err)
	}
	await(t, d.Rang(), "the ring of an adopted domain")
	for range 100 {
		b.must(d.Notify())
		await(t, d.Rang(), "an answer to the second engine")
	}
	if st, err := d.Status(); err != nil || st.Memory == 0 || st.Weight != 256 {
		t.Errorf("status %+v, %v", st, err)
	}
	w, err := b.hv.Adopt(ids[1], tokens[1])
	b.must(err)
	t.Cleanup(func() { end(t, w) })
	if k := control(w); k.Domid != uint32(ids[1]) {
		t.Errorf("control %+v", k)
	}
	b.must(w.Unpause())
	b.exited(w, 9)
	if fresh := b.create("status", "0"); fresh.ID() == ids[0] {
		t.Error("a number that is in use was given again")
	}
}
