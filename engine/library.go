package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"kxsh/elf"
	"kxsh/xen"
)

// maxSlide is by how many pages at most the dynamic segment of a pVM is moved at random.
const maxSlide = 128

// library is one checked library, whose read-only pages the hypervisor keeps for all pVMs that use it.
type library struct {
	cached
	elf *elf.Library
	xen xen.Shared
	sha string
}

func (l *library) close() { l.xen.Close() }

// loadLibrary makes a library of a file.
func (e *Engine) loadLibrary(path string, data []byte) (*library, error) {
	parsed, err := elf.ParseLibrary(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, errf(CodeBadImage, "%s: not a library of pVMs: %v", path, err)
	}
	pages, err := parsed.ReadOnly()
	if err != nil {
		return nil, errf(CodeBadImage, "%s: %v", path, err)
	}
	shared, err := e.hv.Share(pages)
	if err != nil {
		return nil, errf(CodeInternal, "%s: %v", path, err)
	}
	return &library{elf: parsed, xen: shared, sha: digest(data)}, nil
}

// LibraryUse is a library of a pVM.
type LibraryUse struct {
	Name   string `json:"name"` // as it is needed
	Path   string `json:"path"`
	SHA256 string `json:"sha256"` // of the file
	Base   uint64 `json:"base"`   // address
	Bytes  uint64 `json:"bytes"`  // of addresses, from there
	Shared uint64 `json:"shared"` // bytes of memory that are the same for all pVMs that use it
}

// libraries are those of a pVM that is being born; the zero libraries are none.
type libraries struct {
	files   []*library // in the order of the tree
	uses    []LibraryUse
	shared  []xen.Shared
	dynamic xen.Dynamic
}

// link finds and binds the libraries of an image. The caller puts them back.
func (e *Engine) link(im *image, r *RunRequest) (l libraries, err error) {
	folders := append(append([]string(nil), r.LibPath...), filepath.Dir(r.Image))
	tree, err := elf.Tree(im.elf, func(name, by string) (*elf.Library, error) {
		file, path, err := e.findLibrary(name, folders)
		if errors.Is(err, os.ErrNotExist) {
			if by == "" {
				by = "it"
			}
			return nil, errf(CodeBadImage, "%s: %s needs %s, which is not in %s: name its folder with --lib-path", r.Image, by, name, strings.Join(folders, ", "))
		}
		if err != nil {
			return nil, err
		}
		l.files = append(l.files, file)
		l.uses = append(l.uses, LibraryUse{Name: name, Path: path, SHA256: file.sha})
		return file.elf, nil
	})
	var linked *elf.Linked
	if err == nil {
		linked, err = elf.Link(im.elf, tree, rand.Uint64N(maxSlide))
	}
	if err != nil {
		e.putLibraries(l)
		var bad *elf.Error
		if errors.As(err, &bad) {
			err = errf(CodeBadImage, "%s: %v", r.Image, err)
		}
		return libraries{}, err
	}
	l.place(linked)
	return l, nil
}

// findLibrary loads the first file of that name.
func (e *Engine) findLibrary(name string, folders []string) (*library, string, error) {
	for _, dir := range folders {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			file, err := e.libs.get(path)
			return file, path, err
		}
	}
	return nil, "", fmt.Errorf("%s: %w", name, os.ErrNotExist)
}

// place says what of the libraries is where.
func (l *libraries) place(linked *elf.Linked) {
	l.dynamic = xen.Dynamic{Pages: linked.Pages, Content: linked.Content}
	for i, p := range linked.Libraries {
		use := &l.uses[i]
		use.Base, use.Bytes = p.Base, p.Pages()*elf.PageSize
		first := uint64(0)
		for _, s := range p.Segments {
			at := xen.Range{VA: p.Base + s.VA&^(elf.PageSize-1), Pages: s.Pages()}
			if s.Prot&elf.Write != 0 {
				l.dynamic.Private = append(l.dynamic.Private, at)
				continue
			}
			l.dynamic.Shared = append(l.dynamic.Shared, xen.Mapping{Range: at, Of: i, First: first, Prot: s.Prot})
			first += at.Pages
		}
		use.Shared = first * elf.PageSize
		l.shared = append(l.shared, l.files[i].xen)
	}
}

func (e *Engine) putLibraries(l libraries) {
	for _, file := range l.files {
		e.libs.put(file)
	}
}
