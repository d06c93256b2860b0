package privcmd

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"kxsh/elf"
	"kxsh/ipc/abi"
	"kxsh/xen"
)

// image is a prepared image: what its pages hold where they are not zero, and how they are mapped.
type image struct {
	entry, hypercallPage uint64
	pages                uint64
	spans                []span
	data                 []pageData
	closed               atomic.Bool
}

// pageData is the content of pages from the image's page first on; whole pages.
type pageData struct {
	first uint64
	bytes []byte
}

// Prepare implements xen.Hypervisor.
func (h *Hypervisor) Prepare(img *elf.Image, r io.ReaderAt) (xen.Image, error) {
	m := &image{entry: img.Entry, hypercallPage: img.HypercallPage, pages: img.Pages()}
	for _, s := range img.Segments {
		start := s.VA &^ (pageSize - 1)
		into := s.VA - start
		first := (start - abi.ImageVa) / pageSize
		m.spans = append(m.spans, span{va: start, pages: pagesOf(into + s.MemSize), first: first, bits: bitsOf(s.Prot)})
		if s.FileSize == 0 {
			continue
		}
		p := make([]byte, pagesOf(into+s.FileSize)*pageSize)
		if _, err := io.ReadFull(io.NewSectionReader(r, int64(s.Off), int64(s.FileSize)), p[into:into+s.FileSize]); err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
		m.data = append(m.data, pageData{first, p})
	}
	return m, nil
}

func bitsOf(p elf.Prot) uint64 {
	switch {
	case p&elf.Write != 0:
		return spanData
	case p&elf.Exec != 0:
		return spanText
	}
	return spanConst
}

func pagesOf(bytes uint64) uint64 { return (bytes + pageSize - 1) / pageSize }

// Close implements xen.Image.
func (m *image) Close() error {
	m.closed.Store(true)
	return nil
}

// use checks that the image was not closed.
func (m *image) use() error {
	if m.closed.Load() {
		return fmt.Errorf("image: %w", os.ErrClosed)
	}
	return nil
}
