package netif_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"kxsh/ipc/netif"
	"kxsh/ipc/netif/netiftest"
)

func area(t testing.TB, pages int) []byte {
	p, err := unix.Mmap(-1, 0, pages*netif.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(p) })
	return p
}

func ends(t testing.TB, pages int) (*netiftest.Front, *netif.Tx, *netif.Rx) {
	a := area(t, pages)
	f, _, err := netiftest.New(a)
	if err != nil {
		t.Fatal(err)
	}
	tx, rx, err := netif.Attach(a)
	if err != nil {
		t.Fatal(err)
	}
	return f, tx, rx
}

func frame(r *rand.Rand) []byte {
	p := make([]byte, netif.MinFrame+r.IntN(netif.MaxFrame-netif.MinFrame+1))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// TestFrames holds that frames arrive in order and whole, both ways, whatever the order of steps, and that who
// sleeps as the protocol says is woken.
func TestFrames(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		f, tx, rx := ends(t, 3+r.IntN(300))
		var up, down [][]byte // on their way
		upAsleep, downAsleep := false, false
		buf := make([]byte, netif.MaxFrame)
		for range 20000 {
			switch r.IntN(4) {
			case 0:
				p := frame(r)
				ok, notify, err := f.Send(p)
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					up = append(up, p)
				}
				if upAsleep && ok && !notify {
					t.Fatal("the back end sleeps, and a frame rang no bell")
				}
				upAsleep = upAsleep && !notify
			case 1:
				n, ok, err := tx.Next(buf)
				if err != nil || ok != (len(up) > 0) {
					t.Fatalf("Next: %v, %v with %d frames on their way", ok, err, len(up))
				}
				if ok && !bytes.Equal(buf[:n], up[0]) {
					t.Fatal("another frame came than was sent")
				}
				if ok {
					up = up[1:]
				} else if upAsleep, err = tx.Sleep(); err != nil {
					t.Fatal(err)
				}
				tx.Push()
			case 2:
				p := frame(r)
				ok, err := rx.Put(p)
				if err != nil {
					t.Fatal(err)
				}
				if ok {
					down = append(down, p)
				}
				notify := rx.Push()
				if downAsleep && ok && !notify {
					t.Fatal("the front end sleeps, and a frame made no event")
				}
				downAsleep = downAsleep && !notify
			case 3:
				n, ok, _, err := f.Receive(buf)
				if err != nil || ok != (len(down) > 0) {
					t.Fatalf("Receive: %v, %v with %d frames on their way", ok, err, len(down))
				}
				if !ok {
					downAsleep = f.Sleep()
					continue
				}
				if !bytes.Equal(buf[:n], down[0]) {
					t.Fatal("another frame came than was sent")
				}
				down = down[1:]
			}
		}
		if f.Rejected != 0 {
			t.Errorf("%d frames refused", f.Rejected)
		}
	}
}

// TestRoomRings holds that a back end that waits for room is told of it.
func TestRoomRings(t *testing.T) {
	f, _, rx := ends(t, 3)
	p := make([]byte, 60)
	if ok, _ := rx.Put(p); !ok {
		t.Fatal("no room in a new ring")
	}
	rx.Push()
	if ok, _ := rx.Put(p); ok {
		t.Fatal("room for two frames in one buffer")
	}
	if sleep, err := rx.Sleep(); !sleep || err != nil {
		t.Fatal(sleep, err)
	}
	if _, ok, notify, err := f.Receive(p); !ok || !notify || err != nil {
		t.Fatal(ok, notify, err)
	}
	if ok, _ := rx.Put(p); !ok {
		t.Fatal("no room after the frame was taken")
	}
}

// TestAttachAgain holds that a second back end goes on where the first was.
func TestAttachAgain(t *testing.T) {
	a := area(t, 100)
	f, _, _ := netiftest.New(a)
	buf, want := make([]byte, netif.MaxFrame), []byte("a frame of some bytes, which are many enough")
	for i := range 3000 {
		tx, rx, err := netif.Attach(a)
		if err != nil {
			t.Fatal(err)
		}
		want[20] = byte(i)
		f.Send(want)
		if n, ok, err := tx.Next(buf); !ok || err != nil || !bytes.Equal(buf[:n], want) {
			t.Fatal(i, ok, err)
		}
		rx.Put(want)
		tx.Push()
		rx.Push()
		if n, ok, _, err := f.Receive(buf); !ok || err != nil || !bytes.Equal(buf[:n], want) {
			t.Fatal(i, ok, err)
		}
	}
}

// TestHostileRequests holds that what cannot be is refused, and the next frame taken.
func TestHostileRequests(t *testing.T) {
	const pages = 10
	for name, r := range map[string]struct {
		ref    uint32
		offset int
		flags  uint32
		size   int
	}{
		"the tx ring":      {0, 100, 0, 60},
		"the rx ring":      {1, 100, 0, 60},
		"behind the area":  {pages, 0, 0, 60},
		"far away":         {1<<32 - 1, 0, 0, 60},
		"across a page":    {5, 4040, 0, 60},
		"largest offset":   {5, 65535, 0, 60},
		"too short":        {5, 0, 0, netif.MinFrame - 1},
		"empty":            {5, 0, 0, 0},
		"too long":         {5, 0, 0, netif.MaxFrame + 1},
		"largest":          {5, 0, 0, 65535},
		"without checksum": {5, 0, netif.TxCsumBlank, 60},
	} {
		f, tx, _ := ends(t, pages)
		f.Request(r.ref, r.offset, r.flags, 3, r.size)
		f.PushTx()
		buf := make([]byte, netif.MaxFrame)
		if n, ok, err := tx.Next(buf); n != 0 || !ok || err != nil {
			t.Errorf("%s: %d, %v, %v", name, n, ok, err)
		}
		tx.Push()
		f.Send(make([]byte, 60))
		if n, ok, err := tx.Next(buf); n != 60 || !ok || err != nil {
			t.Errorf("%s: the frame behind it: %d, %v, %v", name, n, ok, err)
		}
		if f.Rejected != 1 {
			t.Errorf("%s: %d refused", name, f.Rejected)
		}
	}
}

// TestFrameOfSeveralRequests holds that all of its requests are refused, and not taken for frames.
func TestFrameOfSeveralRequests(t *testing.T) {
	f, tx, _ := ends(t, 10)
	f.Request(5, 0, netif.TxMoreData, 1, 200)
	f.Request(5, 0, netif.TxMoreData, 2, 100)
	f.Request(5, 0, 0, 3, 100)
	f.Request(5, 0, 0, 4, 77)
	f.PushTx()
	buf := make([]byte, netif.MaxFrame)
	for i, want := range []int{0, 0, 0, 77} {
		if n, ok, err := tx.Next(buf); n != want || !ok || err != nil {
			t.Errorf("request %d: %d, %v, %v", i, n, ok, err)
		}
	}
}

// TestHostileIndices holds that a ring ends when its index or its entries cannot be.
func TestHostileIndices(t *testing.T) {
	for _, v := range []uint32{netif.RingSize + 1, 1 << 31, 1<<32 - 1} {
		f, tx, rx := ends(t, 10)
		atomic.StoreUint32(&f.Tx.ReqProd, v)
		atomic.StoreUint32(&f.Rx.ReqProd, v)
		buf := make([]byte, netif.MaxFrame)
		if _, ok, err := tx.Next(buf); ok || !errors.Is(err, netif.ErrRing) {
			t.Errorf("%#x: Next: %v, %v", v, ok, err)
		}
		if ok, err := rx.Put(buf); ok || !errors.Is(err, netif.ErrRing) {
			t.Errorf("%#x: Put: %v, %v", v, ok, err)
		}
		if _, err := tx.Sleep(); !errors.Is(err, netif.ErrRing) {
			t.Errorf("%#x: Sleep: %v", v, err)
		}
	}
	f, tx, _ := ends(t, 10)
	f.Request(5, 0, netif.TxExtraInfo, 1, 100)
	f.PushTx()
	if _, ok, err := tx.Next(make([]byte, netif.MaxFrame)); ok || !errors.Is(err, netif.ErrRing) {
		t.Errorf("extra information: %v, %v", ok, err)
	}
}

// TestHostileRoom holds that room which cannot be is answered with an error, and the next taken.
func TestHostileRoom(t *testing.T) {
	f, _, rx := ends(t, 10)
	for i, ref := range []uint32{0, 1, 10, 1<<32 - 1} {
		atomic.StoreUint32(f.Rx.Word(uint32(i), 1), ref)
	}
	if ok, err := rx.Put(make([]byte, 60)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for i := range uint32(4) {
		if status := int16(atomic.LoadUint32(f.Rx.Word(i, 1)) >> 16); status != netif.StatusError {
			t.Errorf("room %d: status %d", i, status)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, n := range []int{0, 1, 2 * netif.PageSize, 3*netif.PageSize - 1, (netif.MaxPages + 1) * netif.PageSize} {
		if _, _, err := netif.Attach(area(t, n/netif.PageSize+1)[:n]); err == nil {
			t.Errorf("%d bytes are no net area", n)
		}
	}
}

// FuzzArea gives the back end rings of any content: it must neither fail otherwise than with ErrRing nor go on
// for ever.
func FuzzArea(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0}, []byte{1, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{255}, 100), bytes.Repeat([]byte{2, 0}, 600))
	f.Fuzz(func(t *testing.T, up, down []byte) {
		a := area(t, 8)
		tx, rx, err := netif.Attach(a)
		if err != nil {
			t.Fatal(err)
		}
		copy(a[:netif.PageSize], up)
		copy(a[netif.PageSize:2*netif.PageSize], down)
		buf := make([]byte, netif.MaxFrame)
		for i := 0; ; i++ {
			n, ok, err := tx.Next(buf)
			if err != nil && !errors.Is(err, netif.ErrRing) || n > netif.MaxFrame || n > 0 && n < netif.MinFrame {
				t.Fatal(n, err)
			}
			if !ok {
				break
			}
			if i > netif.RingSize {
				t.Fatal("more requests than a ring holds")
			}
		}
		for i := 0; ; i++ {
			ok, err := rx.Put(buf)
			if err != nil && !errors.Is(err, netif.ErrRing) {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if i > netif.RingSize {
				t.Fatal("more room than a ring holds")
			}
		}
		tx.Push()
		rx.Push()
	})
}

// BenchmarkFrames is both ends on a CPU each, without bells: the cost of a frame's copies and requests.
func BenchmarkFrames(b *testing.B) {
	f, tx, _ := ends(b, 258)
	b.SetBytes(netif.MaxFrame)
	go func() {
		p := make([]byte, netif.MaxFrame)
		for i := 0; i < b.N; {
			if ok, _, _ := f.Send(p); ok {
				i++
			} else {
				runtime.Gosched()
			}
		}
	}()
	buf := make([]byte, netif.MaxFrame)
	for i := 0; i < b.N; {
		_, ok, err := tx.Next(buf)
		if err != nil {
			b.Fatal(err)
		}
		if ok {
			i++
		} else {
			runtime.Gosched()
		}
		tx.Push()
	}
}
