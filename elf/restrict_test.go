package elf

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// TestRecordReasons has a case for every way in which a record can be damaged.
func TestRecordReasons(t *testing.T) {
	key, _ := testKey(1)
	b := sign(t, namedSections(validSpec().build()), testRecord(), key)
	rec, err := readRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	note := rec.at - noteHead - 4
	at := func(off uint64, v ...byte) func([]byte) {
		return func(b []byte) { copy(b[rec.at+off:], v) }
	}
	last := func(change func(h []byte)) func([]byte) { // the record's section header
		return func(b []byte) { change(b[len(b)-sectionSize:]) }
	}
	for _, c := range []struct {
		name   string
		change func([]byte)
		reason string
	}{
		{"format", at(0, 2), "restriction record of format 2, this kxsh knows 1: sign it with this kxsh"},
		{"size", func(b []byte) { le.PutUint32(b[note+4:], 100) }, "damaged restriction record: 100 bytes, want 2688"},
		{"no bytes", func(b []byte) { le.PutUint32(b[note+4:], 0) }, "damaged restriction record: 0 bytes, want 2688"},
		{"algorithm", at(4, 4), "damaged restriction record: algorithm 4"},
		{"loader 0", at(8, 0), "damaged restriction record: loader 0"},
		{"loader", at(8, 4), "damaged restriction record: loader 4"},
		{"flags", at(12, 2), "damaged restriction record: flags 0x2"},
		{"signature of none", at(4, 0), "damaged restriction record: a signature of 64 bytes, unsigned"},
		{"short signature", at(24, 63), "damaged restriction record: a signature of 63 bytes, Ed25519"},
		{"long RSA signature", at(4, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2), "damaged restriction record: a signature of 513 bytes, RSA-SHA256"},
		{"after the signature", at(signatureAt+64, 1), "damaged restriction record: something beside the signature"},
		{"name", at(32, '/'), "damaged restriction record: a name of other characters than letters, digits, _ . + and -"},
		{"no name", at(32, 0, 0, 0, 0, 0), "damaged restriction record: a name of other characters than letters, digits, _ . + and -"},
		{"after the name", at(95, 'x'), "damaged restriction record: a name of other characters than letters, digits, _ . + and -"},
		{"fewer needs", at(28, 1), "damaged restriction record: 1 needs, or more than it says"},
		{"more needs", at(28, 33), "damaged restriction record: 33 needs, or more than it says"},
		{"nameless need", at(28, 3), "damaged restriction record: bad name of need 2, or twice"},
		{"need twice", func(b []byte) {
			d := b[rec.at:]
			copy(d[needsAt+needSize:needsAt+2*needSize], d[needsAt:])
		}, "damaged restriction record: bad name of need 1, or twice"},
		{"note cut", last(func(h []byte) { le.PutUint64(h[32:], 100) }), "damaged note section 5: a note at byte 0 passes its end"},
		{"huge section", last(func(h []byte) { le.PutUint64(h[24:], 0); le.PutUint64(h[32:], 70000) }), "note section 5 has 70000 bytes, at most 65536 are taken"},
	} {
		bad := append(bytes.Clone(b), make([]byte, 1<<17)...)
		c.change(bad[:len(b)])
		if _, err := readRecord(bad); err == nil || err.Error() != "rule record: "+c.reason {
			t.Errorf("%s:\n got %v\nwant %q", c.name, err, c.reason)
		}
	}
	many := bytes.Clone(b)
	le.PutUint64(many[40:], uint64(len(many)))
	le.PutUint16(many[60:], 65)
	for range 65 {
		h := sectionHeader{typ: sectionNote, off: 0, size: 0}
		many = append(many, h.encode()...)
	}
	if _, err := readRecord(many); err == nil || err.Error() != "rule record: more than 64 sections of notes" {
		t.Errorf("65 sections of notes: %v", err)
	}
}

func TestRequirements(t *testing.T) {
	for _, c := range []struct {
		text string
		want Requirement
		err  string
	}{
		{"signed", Requirement{Signed: true, Later: true}, ""},
		{"version=3", Requirement{Signed: true, Version: 3}, ""},
		{"signed,version=3+,loader=app", Requirement{Signed: true, Version: 3, Later: true, Loader: LoaderApp}, ""},
		{"name=web,no-rollback", Requirement{Signed: true, Name: "web", Later: true, NoRollback: true}, ""},
		{"", Requirement{}, `"": signed, name=`},
		{"signed=1", Requirement{}, `"signed=1": signed,`},
		{"signed,signed", Requirement{}, "signed twice"},
		{"version=", Requirement{}, `version "": N for`},
		{"version=-1", Requirement{}, `version "-1": N for`},
		{"loader=all", Requirement{}, `loader "all": self, app or any`},
		{"name=a/b", Requirement{}, `"name=a/b": signed`},
	} {
		got, err := ParseRequirement(c.text)
		if c.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("%q: %v, want %s…", c.text, err, c.err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%q: %+v, %v, want %+v", c.text, got, err, c.want)
		}
	}
}

// TestRules tries requirements on a signed file: name hello, version 7, loader app.
func TestRules(t *testing.T) {
	key, keys := testKey(1)
	rec, err := readRecord(sign(t, namedSections(validSpec().build()), testRecord(), key))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		require string
		floor   uint64
		want    string
	}{
		{"signed", 9, ""},
		{"version=7", 0, ""}, {"version=7+", 0, ""}, {"version=6+", 0, ""},
		{"version=6", 0, "rule version: version 7, want 6"},
		{"version=8", 0, "rule version: version 7, want 8"},
		{"version=8+", 0, "rule version: version 7, want 8 or later"},
		{"loader=any", 0, ""}, {"loader=app", 0, ""},
		{"loader=self", 0, "rule loader: its libraries may be loaded by app, want self"},
		{"name=hello", 0, ""},
		{"name=other", 0, "rule name: it is hello, want other"},
		{"no-rollback", 7, ""},
		{"no-rollback", 8, "rule rollback: version 7 of hello is older than 8, which has run here"},
	} {
		q, err := ParseRequirement(c.require)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := q.Check(rec, keys, false, c.floor); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.require, got, c.want)
		}
		if rule := ruleOf(q.Check(nil, keys, false, 0)); rule != "signed" {
			t.Errorf("%s of an unsigned file: rule %q", c.require, rule)
		}
		if rule := ruleOf(q.Check(rec, nil, false, 0)); rule != "key" {
			t.Errorf("%s without keys: rule %q", c.require, rule)
		}
	}
	if err := (&Requirement{}).Check(nil, nil, false, 0); err != nil {
		t.Errorf("nothing required: %v", err)
	}
}

func TestAdmit(t *testing.T) {
	key, keys := testKey(1)
	image := testRecord() // libm.so from 3 on, libz.so.1, all signed
	free := Record{Name: "free", Loader: LoaderAny, Needs: []Need{{"libm.so", 3}}}
	library := func(name string, version uint64) *Record {
		r, err := readRecord(sign(t, namedSections(validSpec().build()), Record{Name: name, Version: version, Loader: LoaderAny}, key))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, c := range []struct {
		what string
		by   *Record
		name string
		lib  *Record
		rule string
	}{
		{"as wanted", &image, "libm.so", library("libm.so", 3), ""},
		{"later", &image, "libm.so", library("libm.so", 4), ""},
		{"older", &image, "libm.so", library("libm.so", 2), "version"},
		{"another library under its name", &image, "libm.so", library("libz.so.1", 9), "name"},
		{"not spoken of", &image, "libfoo.so", library("libfoo.so", 0), ""},
		{"unsigned", &image, "libfoo.so", nil, "signed"},
		{"unsigned, which is allowed", &free, "libfoo.so", nil, ""},
		{"unsigned, but a version is wanted", &free, "libm.so", nil, "signed"},
	} {
		if rule := ruleOf(c.by.Admit(c.name, c.lib, keys, false)); rule != c.rule {
			t.Errorf("%s: rule %q, want %q", c.what, rule, c.rule)
		}
	}
}

// checkRecord holds what ReadRecord promises of any bytes, and that there is one way only to write what it takes.
func checkRecord(t testing.TB, b []byte) {
	r, err := readRecord(b)
	if err != nil {
		if rule := ruleOf(err); rule != "record" && rule != "damaged" {
			t.Fatalf("error %v is neither *Error nor *Refusal", err)
		}
		return
	}
	if r == nil {
		return
	}
	d, err := r.encode()
	if err != nil || !bytes.Equal(d, b[r.at:r.at+recordSize]) {
		t.Fatalf("%+v is not written as it was read: %v", r, err)
	}
	if (r.digest == nil) != (r.Algorithm == Unsigned) {
		t.Fatalf("digest %x of %v", r.digest, r.Algorithm)
	}
}

func FuzzRecord(f *testing.F) {
	key, _ := testKey(1)
	s := validSpec()
	s.root = rootTar(f)
	for _, spec := range []*imageSpec{validSpec(), s} {
		f.Add(sign(f, namedSections(spec.build()), testRecord(), key))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkRecord(t, b) })
}

// TestRecordMutated changes every byte of a signed image in several ways.
func TestRecordMutated(t *testing.T) {
	key, keys := testKey(1)
	b := sign(t, namedSections(validSpec().build()), testRecord(), key)
	for i := range b {
		old := b[i]
		for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff, old + 1, old - 1} {
			b[i] = v
			checkRecord(t, b)
		}
		b[i] = old
	}
	for i := range b {
		old := b[i]
		b[i] = 0xff
		if out, err := Sign(b, testRecord(), key); err == nil {
			if err := verifyBytes(out, keys); err != nil {
				t.Fatalf("byte %d: signed and not verified: %v", i, err)
			}
		}
		b[i] = old
	}
	unsigned := testRecord()
	d, err := unsigned.encode()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := decodeRecord(d); err != nil || !reflect.DeepEqual(*r, func() Record { u := unsigned; u.signature = []byte{}; return u }()) {
		t.Errorf("unsigned: %+v, %v", r, err)
	}
}
