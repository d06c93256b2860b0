package engine

import (
	"crypto/rand"
	"encoding/hex"

	"kxsh/elf"
)

// Who may have loaded the library whose pages a pVM gets (§3.3.4 of the paper, loader): with self its read-only pages are there once more, for
// nobody else; with app other pVMs of the same image have them, too; with any all of the host. A child of fork has its parent's, as all of
// its memory.

// ownPages returns what of a library a pVM of an image is to be linked with, by its loader: lib itself, or one with other pages. The caller puts that
// back, not lib.
func (e *Engine) ownPages(lib *library, loader elf.Loader, image string) *library {
	if loader == elf.LoaderAny {
		return lib
	}
	defer e.libs.put(lib)
	own := &library{cached: cached{sha: lib.sha}, elf: lib.elf, record: lib.record, holder: image}
	if loader == elf.LoaderApp {
		return e.libs.variant(lib, own, image)
	}
	var once [16]byte
	rand.Read(once[:])
	own.holder = hex.EncodeToString(once[:])
	own.users, own.stale = 1, true // it is in no cache, and goes when it is put back
	return own
}
