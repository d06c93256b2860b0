package elf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// The restriction record is the description of a note of name "KX" and type 2, in a section of notes.
// Its size is fixed, so that a file can be signed again in place. Little-endian:
//
//	  0  format, 1                   32 bits
//	  4  algorithm                   32 bits
//	  8  loader                      32 bits
//	 12  flags                       32 bits
//	 16  version                     64 bits
//	 24  bytes of the signature      32 bits
//	 28  needs that are used         32 bits
//	 32  name, then zeroes           64 bytes
//	 96  key ID, or zeroes           32 bytes
//	128  signature, then zeroes     512 bytes
//	640  needs, then zeroes          32 times: name 56 bytes, least version 64 bits
const (
	noteRecord   = 2
	recordFormat = 1
	recordSize   = 640 + maxNeeds*needSize
	recordName   = 64
	signatureAt  = 128
	signatureMax = 512
	needsAt      = 640
	needSize     = 64
	needName     = 56
	maxNeeds     = 32

	flagSignedLibraries = 1 // of a record

	maxNoteSections = 64
)

// Loader says who may have a library linked into a pVM, the stricter the less.
type Loader uint32

const (
	LoaderSelf Loader = 1 + iota // the pVM itself
	LoaderApp                    // also other pVMs of the same application
	LoaderAny                    // also others
)

var loaders = []string{LoaderSelf: "self", LoaderApp: "app", LoaderAny: "any"}

func (l Loader) String() string { return loaders[l] }

// ParseLoader reads self, app or any.
func ParseLoader(s string) (Loader, error) {
	if i := slices.Index(loaders, s); i > 0 {
		return Loader(i), nil
	}
	return 0, fmt.Errorf("loader %q: self, app or any", s)
}

// LoadedBy is who may have a library linked into a pVM by the word of a file with that record, or with none: anybody. The stricter word of two
// counts, that of what links to a library and the library's own.
func (r *Record) LoadedBy() Loader {
	if r == nil {
		return LoaderAny
	}
	return r.Loader
}

// Algorithm is how a record is signed.
type Algorithm uint32

const (
	Unsigned  Algorithm = iota
	Ed25519             // Ed25519ph of RFC 8032, of the SHA-512 digest
	RSASHA256           // RSASSA-PKCS1-v1_5
	RSASHA1             // the paper's; broken, verified on request and never made
)

var algorithms = []string{"unsigned", "Ed25519", "RSA-SHA256", "RSA-SHA1"}

func (a Algorithm) String() string { return algorithms[a] }

// Need is a library that an image or a library links to, and the least version that will do.
type Need struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
}

// Record is the restriction record of an image or a library.
type Record struct {
	Name            string // what it is, whatever its file is called
	Version         uint64
	Loader          Loader
	SignedLibraries bool // what it links to must be signed, too
	Needs           []Need
	Algorithm       Algorithm
	Key             KeyID // of the key that signed it

	signature []byte
	digest    []byte // of the file, by Algorithm; nil: unsigned
	at        uint64 // where it begins in the file
}

// ReadRecord reads the restriction record of a file, and the whole file if it is signed. A file without one gives nil. What it says
// is true of the bytes that r gave: who uses a file must use those, and read them once. A damaged record, or a second one, gives a *Refusal.
func ReadRecord(r io.ReaderAt, size int64) (*Record, error) {
	f, err := open(r, size)
	if err != nil {
		return nil, err
	}
	rec, err := f.record()
	var damaged *Error
	if errors.As(err, &damaged) {
		return nil, breaks("record", "%s", damaged.Reason)
	}
	if err != nil || rec == nil || rec.Algorithm == Unsigned {
		return rec, err
	}
	rec.digest, err = f.digest(rec)
	return rec, err
}

// record finds the one record that there may be, by its place in the file: sections may overlap.
func (f *file) record() (*Record, error) {
	secs, err := f.sections()
	if err != nil {
		return nil, err
	}
	var rec *Record
	seen := 0
	for i, s := range secs {
		if s.typ != sectionNote {
			continue
		}
		if seen++; seen > maxNoteSections {
			return nil, refuse("more than %d sections of notes", maxNoteSections)
		}
		if s.size > maxNotes {
			return nil, refuse("note section %d has %d bytes, at most %d are taken", i, s.size, maxNotes)
		}
		data, err := f.read(s.off, s.size)
		if err != nil {
			return nil, err
		}
		err = eachNote(data, s.align, fmt.Sprintf("section %d", i), func(name string, typ uint32, desc []byte, at uint64) error {
			if name != "KX\x00" || typ != noteRecord {
				return nil
			}
			if rec != nil {
				return refuse("two restriction records")
			}
			rec, err = decodeRecord(desc)
			if rec != nil {
				rec.at = s.off + at
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return rec, nil
}

// decodeRecord checks every field; there is one way only to write a record.
func decodeRecord(d []byte) (*Record, error) {
	damaged := func(format string, args ...any) (*Record, error) {
		return nil, refuse("damaged restriction record: "+format, args...)
	}
	if len(d) >= 4 && le.Uint32(d) != recordFormat {
		return nil, refuse("restriction record of format %d, this kxsh knows %d: sign it with this kxsh", le.Uint32(d), recordFormat)
	}
	if len(d) != recordSize {
		return damaged("%d bytes, want %d", len(d), recordSize)
	}
	algorithm, loader, flags := le.Uint32(d[4:]), le.Uint32(d[8:]), le.Uint32(d[12:])
	sigLen, needs := le.Uint32(d[24:]), le.Uint32(d[28:])
	if algorithm >= uint32(len(algorithms)) {
		return damaged("algorithm %d", algorithm)
	}
	if loader == 0 || loader >= uint32(len(loaders)) {
		return damaged("loader %d", loader)
	}
	if flags&^flagSignedLibraries != 0 {
		return damaged("flags %#x", flags)
	}
	r := &Record{
		Version:         le.Uint64(d[16:]),
		Loader:          Loader(loader),
		SignedLibraries: flags&flagSignedLibraries != 0,
		Algorithm:       Algorithm(algorithm),
		Key:             KeyID(d[96:signatureAt]),
	}
	if !r.Algorithm.takes(sigLen) {
		return damaged("a signature of %d bytes, %s", sigLen, r.Algorithm)
	}
	field := d[signatureAt:needsAt]
	if !isZero(field[sigLen:]) || r.Algorithm == Unsigned && r.Key != (KeyID{}) {
		return damaged("something beside the signature")
	}
	r.signature = bytes.Clone(field[:sigLen])
	var ok bool
	if r.Name, ok = fixedName(d[32:96]); !ok {
		return damaged("a name of other characters than letters, digits, _ . + and -")
	}
	if needs > maxNeeds || !isZero(d[needsAt+needs*needSize:]) {
		return damaged("%d needs, or more than it says", needs)
	}
	for i := range needs {
		n := d[needsAt+i*needSize:][:needSize]
		name, ok := fixedName(n[:needName])
		if !ok || r.need(name) != nil {
			return damaged("bad name of need %d, or twice", i)
		}
		r.Needs = append(r.Needs, Need{name, le.Uint64(n[needName:])})
	}
	return r, nil
}

// takes tells whether a signature may have n bytes.
func (a Algorithm) takes(n uint32) bool {
	switch a {
	case Unsigned:
		return n == 0
	case Ed25519:
		return n == 64
	}
	return n >= 256 && n <= signatureMax
}

// fixedName reads a name out of a field that ends with a zero at least.
func fixedName(p []byte) (string, bool) {
	n := bytes.IndexByte(p, 0)
	if n < 0 || !isZero(p[n:]) || !ValidName(string(p[:n])) {
		return "", false
	}
	return string(p[:n]), true
}

// ValidName tells whether s can be the name in a record: letters, digits, _ . + and -.
func ValidName(s string) bool {
	return s != "" && len(s) < recordName && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.+-", r))
	}) < 0
}

// encode is the inverse of decodeRecord.
func (r *Record) encode() ([]byte, error) {
	if !ValidName(r.Name) {
		return nil, refuse("name %q: 1 to %d letters, digits, _ . + or -", r.Name, recordName-1)
	}
	if len(r.Needs) > maxNeeds {
		return nil, refuse("%d needs, at most %d are taken", len(r.Needs), maxNeeds)
	}
	d := make([]byte, recordSize)
	le.PutUint32(d, recordFormat)
	le.PutUint32(d[4:], uint32(r.Algorithm))
	le.PutUint32(d[8:], uint32(r.Loader))
	if r.SignedLibraries {
		le.PutUint32(d[12:], flagSignedLibraries)
	}
	le.PutUint64(d[16:], r.Version)
	le.PutUint32(d[24:], uint32(len(r.signature)))
	le.PutUint32(d[28:], uint32(len(r.Needs)))
	copy(d[32:], r.Name)
	copy(d[96:], r.Key[:])
	copy(d[signatureAt:], r.signature)
	for i, n := range r.Needs {
		if !ValidName(n.Name) || len(n.Name) >= needName {
			return nil, refuse("library %q: 1 to %d letters, digits, _ . + or -", n.Name, needName-1)
		}
		copy(d[needsAt+i*needSize:], n.Name)
		le.PutUint64(d[needsAt+i*needSize+needName:], n.Version)
	}
	return d, nil
}

// need is what the record says about a library, or nil.
func (r *Record) need(name string) *Need {
	for i := range r.Needs {
		if r.Needs[i].Name == name {
			return &r.Needs[i]
		}
	}
	return nil
}

// KeyID is the SHA-256 digest of a public key in its PKIX form.
type KeyID [32]byte

// String is the first 16 bytes, in hex.
func (k KeyID) String() string { return hex.EncodeToString(k[:16]) }
