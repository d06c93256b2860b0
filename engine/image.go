package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"kxsh/elf"
	"kxsh/xen"
)

// image is one checked and prepared image file.
type image struct {
	cached
	elf    *elf.Image
	xen    xen.Image
	record *elf.Record // nil: it has none
	root   []byte      // appended tar archive
	syms   *elf.SymTab
}

func (im *image) close() { im.xen.Close() }

// loadImage makes an image of a file.
func (e *Engine) loadImage(path string, data []byte) (*image, error) {
	r := bytes.NewReader(data)
	parsed, err := elf.ParseImage(r, int64(len(data)))
	if err != nil {
		return nil, errf(CodeBadImage, "%s: not a pVM image: %v", path, err)
	}
	rec, err := recordOf(path, data)
	if err != nil {
		return nil, err
	}
	xi, err := e.hv.Prepare(parsed, r)
	if err != nil {
		return nil, errf(CodeInternal, "%s: %v", path, err)
	}
	im := &image{elf: parsed, xen: xi, record: rec, syms: symbolsOf(data)}
	if n := parsed.Root.Len; n > 0 {
		im.root = data[parsed.Root.Off : parsed.Root.Off+n]
	}
	return im, nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// symbolsOf reads the symbols of an image. A damaged table costs names in fault reports, no more.
func symbolsOf(data []byte) *elf.SymTab {
	syms, err := elf.Symbols(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return &elf.SymTab{}
	}
	return syms
}
