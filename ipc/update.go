package ipc

import (
	"bytes"
	"time"
	"unsafe"

	"kxsh/ipc/abi"
)

// Update is how a library is replaced by another one: struct kx_update with what follows it. The pVM gets it in pages that it cannot write to, and its
// address in an abi.TaskUpdate. Its parts are as struct kx_update has them.
type Update struct {
	Old, New        UpdateSpan
	Parts           []UpdatePart
	Pages           []UpdatePage
	Moves           []UpdateMove
	Literals, Words []UpdateWord
}

// UpdateSpan is a library's range of addresses.
type UpdateSpan struct{ VA, End uint64 }

// UpdatePart is a run of mapped pages of the old library.
type UpdatePart struct {
	VA, End uint64
	Kind    uint32 // abi.UpdateCode and its neighbours
}

// UpdatePage is a page that is to be the pVM's own, and its first content: abi.PageSize bytes at most, zeroes behind them.
type UpdatePage struct {
	VA    uint64
	Bytes []byte
}

// UpdateMove is something that both libraries have.
type UpdateMove struct {
	From, To, Size uint64
	Kind           uint32
}

// UpdateWord is 8 bytes at an address.
type UpdateWord struct{ VA, Value uint64 }

// layout is where the content of pages begins, and how large all of it is, bytes.
func (u *Update) layout() (content, end int) {
	content = wholePages(sizeOf(abi.KxUpdate{}) + len(u.Parts)*sizeOf(abi.KxUpdatePart{}) + len(u.Pages)*sizeOf(abi.KxUpdatePage{}) +
		len(u.Moves)*sizeOf(abi.KxUpdateMove{}) + (len(u.Literals)+len(u.Words))*sizeOf(abi.KxUpdateWord{}))
	end = content
	for _, p := range u.Pages {
		if holds(p.Bytes) {
			end += abi.PageSize
		}
	}
	return content, end
}

// Size is how many bytes Encode returns.
func (u *Update) Size() uint64 {
	_, end := u.layout()
	return uint64(end)
}

// Encode lays it out for a page-aligned address: struct kx_update and its arrays, and then, each in a page of its own, the first content of pages that hold
// anything else than zeroes. The result is whole pages.
func (u *Update) Encode(at uint64) []byte {
	head := abi.KxUpdate{
		OldVa: u.Old.VA, OldEnd: u.Old.End, NewVa: u.New.VA, NewEnd: u.New.End,
		Parts: uint32(len(u.Parts)), Pages: uint32(len(u.Pages)), Moves: uint32(len(u.Moves)), Literals: uint32(len(u.Literals)), Words: uint32(len(u.Words)),
	}
	content, end := u.layout()
	b := make([]byte, 0, end)
	b = put(b, head)
	for _, p := range u.Parts {
		b = put(b, abi.KxUpdatePart{Va: p.VA, End: p.End, Kind: p.Kind})
	}
	for _, p := range u.Pages {
		e := abi.KxUpdatePage{Va: p.VA}
		if holds(p.Bytes) {
			e.Content = at + uint64(content)
			copy(b[:end][content:content+abi.PageSize], p.Bytes)
			content += abi.PageSize
		}
		b = put(b, e)
	}
	for _, m := range u.Moves {
		b = put(b, abi.KxUpdateMove{From: m.From, To: m.To, Size: m.Size, Kind: m.Kind})
	}
	for _, list := range [][]UpdateWord{u.Literals, u.Words} {
		for _, w := range list {
			b = put(b, abi.KxUpdateWord{Va: w.VA, Value: w.Value})
		}
	}
	return b[:end]
}

func wholePages(n int) int { return (n + abi.PageSize - 1) / abi.PageSize * abi.PageSize }

// holds tells whether a page begins with anything else than zeroes.
func holds(p []byte) bool {
	return !bytes.Equal(p, zeroes[:len(p)])
}

var zeroes [abi.PageSize]byte

func sizeOf[T any](v T) int { return int(unsafe.Sizeof(v)) }

// put appends a struct of the ABI as it is in memory.
func put[T any](b []byte, v T) []byte {
	return append(b, unsafe.Slice((*byte)(unsafe.Pointer(&v)), unsafe.Sizeof(v))...)
}

// Updated is how an abi.TaskUpdate went. All of it is the pVM's own word.
type Updated struct {
	Stages    [abi.UpdateStages]time.Duration // by abi.UpdateQuiesce and its neighbours
	Scanned   uint64                          // bytes that were looked through
	Functions uint64                          // pointers to functions that have changed, Update.Words included
	Variables uint64                          // variables that were copied
	Pointers  uint64                          // pointers to variables and constants that have changed
	Pinned    uint64                          // pointers to the old library's constants: those stay mapped
	At, Value uint64                          // the first word that stands in the way, and what it holds; 0: none
	TID       int                             // the thread on whose stack, or in whose registers, it is; 0: nobody's
}

// maxStage bounds what a pVM says of a stage, so that sums are what they seem.
const maxStage = 24 * time.Hour

// ParseUpdated reads the data of an abi.TaskUpdate that is done.
func ParseUpdated(data []byte) (*Updated, error) {
	var e abi.KxUpdated
	if len(data) != sizeOf(e) {
		return nil, corrupt("%d bytes about an update, want %d", len(data), sizeOf(e))
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&e)), sizeOf(e)), data)
	u := &Updated{Scanned: e.Bytes, Functions: e.Functions, Variables: e.Variables, Pointers: e.Pointers, Pinned: e.Pinned, At: e.At, Value: e.Value, TID: int(e.Tid)}
	for i, ns := range e.Ns {
		u.Stages[i] = time.Duration(min(ns, uint64(maxStage)))
	}
	return u, nil
}
