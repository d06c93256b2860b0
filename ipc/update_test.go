package ipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"kxsh/ipc/abi"
)

// decode reads a plan as the LibOS does: struct after struct, and pages by their addresses.
func decode(t *testing.T, b []byte, at uint64) *Update {
	t.Helper()
	var head abi.KxUpdate
	var u Update
	off := 0
	take := func(v any) {
		if _, err := binary.Decode(b[off:], binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
		off += binary.Size(v)
	}
	take(&head)
	u.Old, u.New = UpdateSpan{head.OldVa, head.OldEnd}, UpdateSpan{head.NewVa, head.NewEnd}
	for range head.Parts {
		var e abi.KxUpdatePart
		take(&e)
		u.Parts = append(u.Parts, UpdatePart{e.Va, e.End, e.Kind})
	}
	for range head.Pages {
		var e abi.KxUpdatePage
		take(&e)
		p := UpdatePage{VA: e.Va}
		if e.Content != 0 {
			if e.Content%abi.PageSize != 0 || e.Content < at+uint64(off) || e.Content-at > uint64(len(b)-abi.PageSize) {
				t.Fatalf("content at %#x, of %d bytes at %#x", e.Content, len(b), at)
			}
			p.Bytes = b[e.Content-at:][:abi.PageSize]
		}
		u.Pages = append(u.Pages, p)
	}
	for range head.Moves {
		var e abi.KxUpdateMove
		take(&e)
		u.Moves = append(u.Moves, UpdateMove{e.From, e.To, e.Size, e.Kind})
	}
	for i := range head.Literals + head.Words {
		var e abi.KxUpdateWord
		take(&e)
		list := &u.Literals
		if i >= head.Literals {
			list = &u.Words
		}
		*list = append(*list, UpdateWord{e.Va, e.Value})
	}
	if head.Pad != 0 || bytes.Trim(b[off:(off+abi.PageSize-1)/abi.PageSize*abi.PageSize], "\x00") != nil {
		t.Errorf("something behind the plan's %d bytes", off)
	}
	return &u
}

func TestUpdateEncode(t *testing.T) {
	full := func(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }
	many := func(n int) (list []UpdateMove) {
		for i := range uint64(n) {
			list = append(list, UpdateMove{i << 12, i << 20, i, uint32(i%3) + 1})
		}
		return list
	}
	const at = 0x7f0000000000
	head := int(unsafe.Sizeof(abi.KxUpdate{}))
	perMove := int(unsafe.Sizeof(abi.KxUpdateMove{}))
	for _, c := range []struct {
		u     Update
		pages int
	}{
		{Update{}, 1},
		{Update{Old: UpdateSpan{1, 2}, New: UpdateSpan{3, 4}, Words: []UpdateWord{{5, 6}}}, 1},
		{Update{Moves: many((abi.PageSize - head) / perMove)}, 1},
		{Update{Moves: many((abi.PageSize-head)/perMove + 1)}, 2},
		{Update{
			Parts:    []UpdatePart{{1 << 12, 2 << 12, abi.UpdateCode}, {2 << 12, 1 << 63, abi.UpdateData}},
			Pages:    []UpdatePage{{1 << 30, full(abi.PageSize, 7)}, {2 << 30, nil}, {3 << 30, full(abi.PageSize, 9)}},
			Moves:    many(500),
			Literals: []UpdateWord{{1, math.MaxUint64}, {2, 3}}, Words: []UpdateWord{{4, 5}, {6, 7}, {8, 9}},
		}, 4 + 2},
	} {
		b := c.u.Encode(at)
		if len(b) != c.pages*abi.PageSize {
			t.Errorf("%d bytes, want %d pages", len(b), c.pages)
		}
		if got := decode(t, b, at); !reflect.DeepEqual(got, &c.u) {
			t.Errorf("got  %+v\nwant %+v", got, c.u)
		}
	}
	// A page that is all zeroes needs none; a short one ends in zeroes.
	u := Update{Pages: []UpdatePage{{1 << 12, full(abi.PageSize, 0)}, {2 << 12, []byte{0, 0, 1}}}}
	b := u.Encode(at)
	got := decode(t, b, at)
	if len(b) != 2*abi.PageSize || got.Pages[0].Bytes != nil || !bytes.Equal(got.Pages[1].Bytes, append([]byte{0, 0, 1}, full(abi.PageSize-3, 0)...)) {
		t.Errorf("%d bytes: %v", len(b), got.Pages)
	}
}

func TestParseUpdated(t *testing.T) {
	e := abi.KxUpdated{Ns: [abi.UpdateStages]uint64{1, 2, 3, 4, math.MaxUint64}, Bytes: 5, Functions: 6, Variables: 7, Pointers: 8, Pinned: 9, At: 10, Value: 11, Tid: 12}
	b, err := binary.Append(nil, binary.LittleEndian, &e)
	if err != nil {
		t.Fatal(err)
	}
	u, err := ParseUpdated(b)
	want := &Updated{Stages: [abi.UpdateStages]time.Duration{1, 2, 3, 4, maxStage}, Scanned: 5, Functions: 6, Variables: 7, Pointers: 8, Pinned: 9, At: 10, Value: 11, TID: 12}
	if err != nil || !reflect.DeepEqual(u, want) {
		t.Errorf("%+v, %v; want %+v", u, err, want)
	}
	for _, n := range []int{0, 1, len(b) - 1, len(b) + 1} {
		if u, err := ParseUpdated(append(bytes.Clone(b), 0)[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%d bytes: %+v, %v", n, u, err)
		}
	}
}
