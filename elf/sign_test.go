package elf

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	stdelf "debug/elf"
	"errors"
	"math/bits"
	"os/exec"
	"reflect"
	"strings"
	"testing"
)

// testKey is the same key in every run.
func testKey(seed byte) (ed25519.PrivateKey, []*Key) {
	k := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	public, err := NewKey(k.Public())
	if err != nil {
		panic(err)
	}
	return k, []*Key{public}
}

func testRecord() Record {
	return Record{Name: "hello", Version: 7, Loader: LoaderApp, SignedLibraries: true, Needs: []Need{{"libm.so", 3}, {"libz.so.1", 0}}}
}

func sign(t testing.TB, data []byte, rec Record, key crypto.Signer) []byte {
	t.Helper()
	out, err := Sign(data, rec, key)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func readRecord(b []byte) (*Record, error) { return ReadRecord(bytes.NewReader(b), int64(len(b))) }

// verifyBytes reads the record and checks the signature.
func verifyBytes(b []byte, keys []*Key) error {
	r, err := readRecord(b)
	if err != nil {
		return err
	}
	return r.Verify(keys, false)
}

// ruleOf is the rule that err says was broken; "damaged" for a file that is refused before.
func ruleOf(err error) string {
	var broken *Refusal
	var refused *Error
	switch {
	case errors.As(err, &broken):
		return broken.Rule
	case errors.As(err, &refused):
		return "damaged"
	case err == nil:
		return ""
	}
	return err.Error()
}

// TestSign signs files of every make, and again with other contents of the record.
func TestSign(t *testing.T) {
	key, keys := testKey(1)
	root := validSpec()
	root.root = rootTar(t)
	tail := append(root.build(), make([]byte, 5000)...)
	image := buildImage(t)
	library := gcc(t, map[string]string{"a.c": "int counter = 1; int next(void) { return counter++; }"}, "-shared", "-fPIC", "-g")
	plain := readFile(t, library)
	if out, err := exec.Command("strip", library).CombinedOutput(); err != nil {
		t.Fatalf("strip: %v\n%s", err, out)
	}
	bare := readFile(t, library) // without section headers, and what they speak of
	le.PutUint64(bare[40:], 0)
	le.PutUint32(bare[60:], 0)
	f, err := open(bytes.NewReader(bare), int64(len(bare)))
	if err != nil {
		t.Fatal(err)
	}
	progs, err := f.progs()
	if err != nil {
		t.Fatal(err)
	}
	end, err := f.end(progs)
	if err != nil {
		t.Fatal(err)
	}
	bare = bare[:end]

	for name, b := range map[string][]byte{
		"synthetic": namedSections(validSpec().build()), "root": namedSections(root.build()), "root and zeros": namedSections(tail),
		"image": readFile(t, image), "library": plain, "stripped": readFile(t, library), "no sections": bare,
	} {
		if r, err := readRecord(b); r != nil || err != nil {
			t.Fatalf("%s: a record before: %+v, %v", name, r, err)
		}
		want := testRecord()
		signed := sign(t, b, want, key)
		got, err := readRecord(signed)
		if err != nil || got.Verify(keys, false) != nil {
			t.Fatalf("%s: %v, %v", name, err, got.Verify(keys, false))
		}
		want.Algorithm, want.Key = Ed25519, keys[0].ID
		want.signature, want.digest, want.at = got.signature, got.digest, got.at
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, *got, want)
		}
		sameProgram(t, name, b, signed)

		second := sign(t, signed, Record{Name: "hello", Version: 8, Loader: LoaderSelf}, key)
		if len(second) != len(signed) {
			t.Errorf("%s: signed again it has %d bytes, before %d", name, len(second), len(signed))
		}
		if got, err := readRecord(second); err != nil || got.Verify(keys, false) != nil || got.Version != 8 || got.Needs != nil {
			t.Errorf("%s again: %+v, %v", name, got, err)
		}
		if back := sign(t, second, testRecord(), key); !bytes.Equal(back, signed) {
			t.Errorf("%s: signed as at first it is not the same file", name)
		}
	}
}

// namedSections gives a synthetic image, which has none, a section of section names: the one of its symbols.
func namedSections(b []byte) []byte {
	le.PutUint16(b[62:], secStrtab)
	return b
}

// sameProgram holds that a signed file is what it was, for us and for Go's debug/elf.
func sameProgram(t *testing.T, name string, before, after []byte) {
	t.Helper()
	if m, err := parse(before); err == nil {
		n, err := parse(after)
		if err != nil {
			t.Fatalf("%s: signed: %v", name, err)
		}
		if !bytes.Equal(before[m.Root.Off:m.Root.Off+m.Root.Len], after[n.Root.Off:n.Root.Off+n.Root.Len]) {
			t.Errorf("%s: another root archive", name)
		}
		m.Root, m.Size, n.Root, n.Size = Range{}, 0, Range{}, 0
		if !reflect.DeepEqual(m, n) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, n, m)
		}
	}
	f, err := stdelf.NewFile(bytes.NewReader(before))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	g, err := stdelf.NewFile(bytes.NewReader(after))
	if err != nil {
		t.Fatalf("%s: signed: %v", name, err)
	}
	if s := g.Section(recordSection); s == nil || s.Type != stdelf.SHT_NOTE || s.Flags != 0 {
		t.Errorf("%s: section %+v", name, s)
	}
	for i, s := range f.Sections {
		if s.Name == ".shstrtab" {
			continue
		}
		old, _ := s.Data()
		now, _ := g.Sections[i].Data()
		if g.Sections[i].Name != s.Name || s.Type != stdelf.SHT_STRTAB && !bytes.Equal(old, now) {
			t.Errorf("%s: section %d, %s, is not what it was", name, i, s.Name)
		}
	}
	for i, p := range f.Progs {
		if g.Progs[i].ProgHeader != p.ProgHeader {
			t.Errorf("%s: segment %d: %+v, want %+v", name, i, g.Progs[i].ProgHeader, p.ProgHeader)
		}
	}
}

// TestFlips changes every third byte of a signed file, its root archive included, and cuts it and adds to it.
func TestFlips(t *testing.T) {
	key, keys := testKey(1)
	s := validSpec()
	s.root = rootTar(t)
	b := sign(t, namedSections(s.build()), testRecord(), key)
	rec, err := readRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	try := func(what string, n int, b []byte) {
		rule := ruleOf(verifyBytes(b, keys))
		switch rule {
		case "signature", "signed", "key", "record", "damaged":
		default:
			t.Fatalf("%s %d: broken rule %q", what, n, rule)
		}
		count[rule]++
	}
	for i := 0; i < len(b); i += 3 {
		bit := byte(1) << (i % 8)
		b[i] ^= bit
		try("flip at", i, b)
		b[i] ^= bit
	}
	for i := rec.at; i < rec.at+signatureAt+64; i++ {
		for bit := range 8 {
			b[i] ^= 1 << bit
			try("flip in the record at", int(i-rec.at), b)
			b[i] ^= 1 << bit
		}
	}
	for n := 0; n < len(b); n += 7 {
		try("cut to", n, b[:n])
	}
	for n := range 3 {
		try("longer by", n+1, append(bytes.Clone(b), make([]byte, n+1)...))
	}
	for rule, least := range map[string]int{"signature": 1500, "damaged": 100, "record": 100, "key": 32, "signed": 1} {
		if count[rule] < least {
			t.Errorf("only %d broke rule %s: %v", count[rule], rule, count)
		}
	}
	if err := verifyBytes(b, keys); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
}

// TestForged has what an attacker with a key of his own can do.
func TestForged(t *testing.T) {
	key, keys := testKey(1)
	evil, evilKeys := testKey(2)
	b := sign(t, namedSections(validSpec().build()), testRecord(), key)
	rec, _ := readRecord(b)

	other := sign(t, b, testRecord(), evil)
	if rule := ruleOf(verifyBytes(other, keys)); rule != "key" {
		t.Errorf("signed by another: rule %q", rule)
	}
	copy(other[rec.at+96:], keys[0].ID[:])
	if rule := ruleOf(verifyBytes(other, append(evilKeys, keys...))); rule != "signature" {
		t.Errorf("signed by another, and the right key's ID: rule %q", rule)
	}
	// The old signature on a newer record.
	newer := bytes.Clone(b)
	le.PutUint64(newer[rec.at+16:], 8)
	if rule := ruleOf(verifyBytes(newer, keys)); rule != "signature" {
		t.Errorf("newer version: rule %q", rule)
	}
	// A second record, that of another file.
	h := sectionHeader{typ: sectionNote, off: uint64(len(b)), size: noteHead + 4 + recordSize, align: 4}
	at := rec.at - noteHead - 4
	two := append(bytes.Clone(b), b[at:at+h.size]...)
	le.PutUint64(two[40:], uint64(len(two)))
	le.PutUint16(two[60:], le.Uint16(two[60:])+1)
	shoff := le.Uint64(b[40:])
	two = append(append(two, b[shoff:]...), h.encode()...)
	if err := verifyBytes(two, keys); err == nil || err.Error() != "rule record: two restriction records" {
		t.Errorf("second record: %v", err)
	}
	// Two sections that are the same bytes are two records as well.
	copy(two[len(two)-sectionSize:], two[len(two)-2*sectionSize:len(two)-sectionSize])
	if err := verifyBytes(two, keys); err == nil || err.Error() != "rule record: two restriction records" {
		t.Errorf("the same record twice: %v", err)
	}
	if rule := ruleOf(verifyBytes(validSpec().build(), keys)); rule != "signed" {
		t.Errorf("no record: rule %q", rule)
	}
	if _, err := Sign(two, testRecord(), key); err == nil {
		t.Error("a file with two records is signed")
	}
}

// TestRSA verifies RSA-SHA256, and the paper's SHA-1 only if asked to.
func TestRSA(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := NewKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	b := sign(t, namedSections(validSpec().build()), testRecord(), key)
	rec, err := readRecord(b)
	if err != nil || rec.Algorithm != RSASHA256 || rec.Verify([]*Key{public}, false) != nil {
		t.Fatalf("%+v, %v", rec, err)
	}
	b[len(b)-1] ^= 1
	if rule := ruleOf(verifyBytes(b, []*Key{public})); rule != "signature" {
		t.Errorf("flipped: rule %q", rule)
	}
	b[len(b)-1] ^= 1

	le.PutUint32(b[rec.at+4:], uint32(RSASHA1))
	rec, err = readRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA1, rec.digest)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[rec.at+signatureAt:], sig)
	if rec, err = readRecord(b); err != nil {
		t.Fatal(err)
	}
	if rule := ruleOf(rec.Verify([]*Key{public}, false)); rule != "algorithm" {
		t.Errorf("SHA-1: rule %q", rule)
	}
	if err := rec.Verify([]*Key{public}, true); err != nil {
		t.Errorf("SHA-1 that was asked for: %v", err)
	}

	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		_, err = NewKey(weak.Public())
	}
	if err == nil || !strings.Contains(err.Error(), "1024") {
		t.Errorf("an RSA key of 1024 bits: %v", err)
	}
	again, err := ParseKey(public.DER())
	if err != nil || again.ID != public.ID || public.String() != "RSA 2048 "+public.ID.String() {
		t.Errorf("%v, %v, want %v", again, err, public)
	}
}

// TestSignRefuses has files that are not signed.
func TestSignRefuses(t *testing.T) {
	key, _ := testKey(1)
	src := map[string]string{"a.c": "int x;"}
	stray := append(namedSections(validSpec().build()), 'x')
	for _, c := range []struct {
		name   string
		data   []byte
		change func(*Record)
		reason string
	}{
		{"script", []byte("#!/bin/sh\n"), nil, `not an ELF file: it begins with "#!/b"`},
		{"object", readFile(t, gcc(t, src, "-c")), nil, "an object file, not linked: link it with kxsh cc"},
		{"stray", stray, nil, "1 stray bytes after the image"},
		{"no names", validSpec().build(), nil, "no section of section names: build it again, without strip's --strip-section-headers"},
		{"name", namedSections(validSpec().build()), func(r *Record) { r.Name = "a/b" }, `name "a/b": 1 to 63 letters, digits, _ . + or -`},
		{"library", namedSections(validSpec().build()), func(r *Record) { r.Needs[0].Name = strings.Repeat("a", 56) },
			`library "` + strings.Repeat("a", 56) + `": 1 to 55 letters, digits, _ . + or -`},
		{"needs", namedSections(validSpec().build()), func(r *Record) { r.Needs = make([]Need, 33) }, "33 needs, at most 32 are taken"},
	} {
		rec := testRecord()
		if c.change != nil {
			c.change(&rec)
		}
		if _, err := Sign(c.data, rec, key); err == nil || err.Error() != c.reason {
			t.Errorf("%s: %v, want %q", c.name, err, c.reason)
		}
	}
}

// TestDigestPieces holds that a signature across the border of two reads is left out whole.
func TestDigestPieces(t *testing.T) {
	data := bytes.Repeat([]byte{0xaa}, 3*scanBlock)
	for _, at := range []uint64{0, scanBlock - signatureAt - 1, scanBlock - signatureAt - 63, 2*scanBlock - signatureAt, 3*scanBlock - signatureAt - 64} {
		rec := &Record{Algorithm: Ed25519, signature: make([]byte, 64), at: at}
		f := &file{r: bytes.NewReader(data), size: uint64(len(data))}
		got, err := f.digest(rec)
		if err != nil {
			t.Fatal(err)
		}
		zeroed := bytes.Clone(data)
		clear(zeroed[at+signatureAt : at+signatureAt+64])
		_, h := Ed25519.hash()
		h.Write(zeroed)
		if !bytes.Equal(got, h.Sum(nil)) {
			t.Errorf("a record at %d: wrong digest", at)
		}
		if n := bits.OnesCount8(data[at]); n != 4 {
			t.Errorf("the file was changed")
		}
	}
}
