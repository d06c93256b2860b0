package elf

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"hash"
)

// signContext keeps a signature of something else from being taken for one of a file (RFC 8032, 2.4).
const signContext = "kxsh restriction record 1"

// Key is a public key that a record may be signed with: Ed25519, or RSA of 2048 to 4096 bits.
type Key struct {
	ID     KeyID
	public crypto.PublicKey
	der    []byte
}

// NewKey checks a public key.
func NewKey(public crypto.PublicKey) (*Key, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < 2048 || n > 8*signatureMax || n%8 != 0 {
			return nil, fmt.Errorf("an RSA key of %d bits: 2048 to %d are taken", n, 8*signatureMax)
		}
	default:
		return nil, fmt.Errorf("a key of another kind than Ed25519 or RSA")
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	return &Key{KeyID(sha256.Sum256(der)), public, der}, nil
}

// ParseKey reads a public key in PKIX form.
func ParseKey(der []byte) (*Key, error) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("not a public key: %v", err)
	}
	return NewKey(public)
}

// DER is the key in PKIX form.
func (k *Key) DER() []byte { return bytes.Clone(k.der) }

// String tells kind and ID.
func (k *Key) String() string {
	kind := "Ed25519"
	if k, ok := k.public.(*rsa.PublicKey); ok {
		kind = fmt.Sprintf("RSA %d", k.N.BitLen())
	}
	return kind + " " + k.ID.String()
}

// hash is the digest that the algorithm signs.
func (a Algorithm) hash() (crypto.Hash, hash.Hash) {
	switch a {
	case Ed25519:
		return crypto.SHA512, sha512.New()
	case RSASHA1:
		return crypto.SHA1, sha1.New()
	}
	return crypto.SHA256, sha256.New()
}

// digest hashes the whole file, the bytes of the signature taken for zeroes.
func (f *file) digest(rec *Record) ([]byte, error) {
	from := rec.at + signatureAt
	to := from + uint64(len(rec.signature))
	_, h := rec.Algorithm.hash()
	for at := uint64(0); at < f.size; {
		p, err := f.read(at, min(f.size-at, scanBlock))
		if err != nil {
			return nil, err
		}
		end := at + uint64(len(p))
		if lo, hi := max(at, from), min(end, to); lo < hi {
			clear(p[lo-at : hi-at])
		}
		h.Write(p)
		at = end
	}
	return h.Sum(nil), nil
}

// verify tells whether key made the signature.
func (k *Key) verify(rec *Record) bool {
	hash, _ := rec.Algorithm.hash()
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return rec.Algorithm == Ed25519 &&
			ed25519.VerifyWithOptions(public, rec.digest, rec.signature, &ed25519.Options{Hash: hash, Context: signContext}) == nil
	case *rsa.PublicKey:
		return (rec.Algorithm == RSASHA256 || rec.Algorithm == RSASHA1) &&
			rsa.VerifyPKCS1v15(public, hash, rec.digest, rec.signature) == nil
	}
	return false
}

// Sign returns file with what rec says in its restriction record, signed by key. The record that is there is
// overwritten; else a section for it is added, before the root archive. rec's Algorithm and Key are set.
func Sign(data []byte, rec Record, key crypto.Signer) ([]byte, error) {
	public, err := NewKey(key.Public())
	if err != nil {
		return nil, err
	}
	rec.Key = public.ID
	rec.Algorithm, rec.signature = Ed25519, make([]byte, ed25519.SignatureSize)
	if k, ok := public.public.(*rsa.PublicKey); ok {
		rec.Algorithm, rec.signature = RSASHA256, make([]byte, k.Size())
	}
	out, err := withRecord(data, &rec)
	if err != nil {
		return nil, err
	}
	f, err := open(bytes.NewReader(out), int64(len(out)))
	if err != nil {
		return nil, err
	}
	if rec.digest, err = f.digest(&rec); err != nil {
		return nil, err
	}
	hash, _ := rec.Algorithm.hash()
	var o crypto.SignerOpts = hash
	if rec.Algorithm == Ed25519 {
		o = &ed25519.Options{Hash: hash, Context: signContext}
	}
	if rec.signature, err = key.Sign(rand.Reader, rec.digest, o); err != nil {
		return nil, err
	}
	copy(out[rec.at+signatureAt:], rec.signature)
	made, err := ReadRecord(bytes.NewReader(out), int64(len(out)))
	if err != nil {
		return nil, err
	}
	return out, made.Verify([]*Key{public}, false)
}

// withRecord returns a copy of a file that has rec as its record, and says in rec where.
func withRecord(data []byte, rec *Record) ([]byte, error) {
	f, err := open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	if f.typ != typeDyn {
		if err := f.checkType(); err != nil {
			return nil, err
		}
	}
	progs, err := f.progs()
	if err != nil {
		return nil, err
	}
	end, err := f.end(progs)
	if err != nil {
		return nil, err
	}
	root, err := f.root(end)
	if err != nil {
		return nil, err
	}
	desc, err := rec.encode()
	if err != nil {
		return nil, err
	}
	old, err := f.record()
	if err != nil {
		return nil, err
	}
	if old != nil {
		rec.at = old.at
		out := bytes.Clone(data)
		copy(out[rec.at:], desc)
		return out, nil
	}
	out, err := f.addRecord(data, progs, desc, rec)
	if err != nil || root.Len == 0 {
		return out, err
	}
	out = append(out, make([]byte, tarUp(uint64(len(out)))-uint64(len(out)))...)
	return append(out, data[root.Off:]...), nil
}

// recordSection is the name of the section that is added.
const recordSection = ".note.kylinx"

// addRecord returns the file without its root archive and with a section for the record. Everything that is loaded stays
// where it is: what is new comes last, the section, the names of sections and the headers of sections.
func (f *file) addRecord(data []byte, progs []prog, desc []byte, rec *Record) ([]byte, error) {
	secs, err := f.sections()
	if err != nil {
		return nil, err
	}
	names := uint64(le.Uint16(data[62:]))
	if len(secs) >= 0xff00 || len(secs) > 0 && (names >= uint64(len(secs)) || secs[names].typ != sectionStrtab) {
		return nil, refuse("no section of section names: build it again, without strip's --strip-section-headers")
	}
	headers := bytes.Clone(data[f.shoff : f.shoff+f.shnum*sectionSize])
	strings := []byte{0}
	if len(secs) > 0 {
		strings = bytes.Clone(data[secs[names].off : secs[names].off+secs[names].size])
	}
	bare := *f
	bare.shoff, bare.shnum = 0, 0 // the headers, and sections' own bytes:
	end, err := bare.end(progs)
	if err != nil {
		return nil, err
	}
	for _, s := range secs {
		if s.inFile() {
			end = max(end, s.off+s.size)
		}
	}
	out := bytes.Clone(data[:end])
	align := func() { out = append(out, make([]byte, -len(out)&7)...) }
	add := func(h sectionHeader) { headers = append(headers, h.encode()...) }

	if len(secs) == 0 {
		add(sectionHeader{})
	}
	align()
	note := uint64(len(out))
	rec.at = note + noteHead + 4
	out = le.AppendUint32(out, 3)
	out = le.AppendUint32(out, recordSize)
	out = le.AppendUint32(out, noteRecord)
	out = append(append(out, "KX\x00\x00"...), desc...)
	if len(strings) == 0 || strings[len(strings)-1] != 0 {
		strings = append(strings, 0)
	}
	add(sectionHeader{name: uint32(len(strings)), typ: sectionNote, off: note, size: uint64(len(out)) - note, align: 4})
	strings = append(append(strings, recordSection...), 0)
	if len(secs) == 0 {
		names = 2
		add(sectionHeader{typ: sectionStrtab, align: 1})
		le.PutUint32(headers[names*sectionSize:], uint32(len(strings)))
		strings = append(strings, ".shstrtab\x00"...)
	}
	le.PutUint64(headers[names*sectionSize+24:], uint64(len(out)))
	le.PutUint64(headers[names*sectionSize+32:], uint64(len(strings)))
	out = append(out, strings...)
	align()
	le.PutUint64(out[40:], uint64(len(out)))
	le.PutUint16(out[58:], sectionSize)
	le.PutUint16(out[60:], uint16(len(headers)/sectionSize))
	le.PutUint16(out[62:], uint16(names))
	return append(out, headers...), nil
}

// sectionHeader is what addRecord writes of a section header.
type sectionHeader struct {
	name, typ        uint32
	off, size, align uint64
}

func (h *sectionHeader) encode() []byte {
	p := make([]byte, sectionSize)
	le.PutUint32(p, h.name)
	le.PutUint32(p[4:], h.typ)
	le.PutUint64(p[24:], h.off)
	le.PutUint64(p[32:], h.size)
	le.PutUint64(p[48:], h.align)
	return p
}
