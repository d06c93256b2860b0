package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	debugelf "debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kxsh/elf"
)

// defect is what is wrong with a library that a signed image is started with, or is to be updated to, and the refusal: that at the start where
// it is another one, "-" where it is none.
type defect struct {
	name    string
	sign    string // flags of sign; "-": not signed
	change  func(t *testing.T, b []byte) []byte
	refusal string
	start   string
}

const changed = "refused by rule signature: it was changed after key "

var defects = []defect{
	{"unsigned", "-", nil, "refused by rule signed: it is not signed", ""},
	{"another key", "--key evil.key --version 3", nil, "refused by rule key: signed by key ", ""},
	{"forged: by another key under the name of the trusted one", "--key evil.key --version 3", forged, changed, ""},
	{"a byte of text", "--version 3", flipped(".text", 0), changed, ""},
	{"a byte of data", "--version 3", flipped(".data", 0), changed, ""},
	{"a byte of the header", "--version 3", func(_ *testing.T, b []byte) []byte { b[0x30] ^= 1; return b }, changed, ""},
	{"a byte more", "--version 3", func(_ *testing.T, b []byte) []byte { return append(b, 0) }, changed, ""},
	{"version in the record", "--version 1", inRecord(16), changed, ""},
	{"loader in the record", "--version 3 --loader self", inRecord(8), changed, ""},
	{"signature in the record", "--version 3", inRecord(128), changed, ""},
	{"format of the record", "--version 3", inRecord(0), "refused by rule record: ", ""},
	{"below what the image needs", "--version 1", nil, "refused by rule version: version 1, want 2 or later", ""},
	{"below what it replaces", "--version 2", nil, "version 2, was 3", "-"},
	{"another name", "--name libother.so --version 3", nil, "refused by rule name: it is libother.so, want libcounter.so", ""},
	{"laxer", "--version 3 --loader any", nil, "loader any, was app", "-"},
}

// forged gives a file the ID of the trusted key in place of that of the key that has signed it.
func forged(t *testing.T, b []byte) []byte {
	good, err := os.ReadFile("good.so")
	if err != nil {
		t.Fatal(err)
	}
	from, to := recordIn(t, b).Key, recordIn(t, good).Key
	if bytes.Count(b, from[:]) != 1 {
		t.Fatal("the key's ID is not there once")
	}
	return bytes.Replace(b, from[:], to[:], 1)
}

func recordIn(t *testing.T, b []byte) *elf.Record {
	r, err := elf.ReadRecord(bytes.NewReader(b), int64(len(b)))
	if err != nil || r == nil {
		t.Fatalf("record: %v, %v", r, err)
	}
	return r
}

// flipped changes a byte of a section.
func flipped(section string, at uint64) func(*testing.T, []byte) []byte {
	return func(t *testing.T, b []byte) []byte {
		f, err := debugelf.NewFile(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		b[f.Section(section).Offset+at] ^= 1
		return b
	}
}

// inRecord changes a byte of the record, which begins 96 bytes before the key's ID.
func inRecord(at int) func(*testing.T, []byte) []byte {
	return func(t *testing.T, b []byte) []byte {
		key := recordIn(t, b).Key
		b[bytes.Index(b, key[:])-96+at] ^= 2
		return b
	}
}

// defective makes libraries that each have a defect, d0.so and so on, in the home's folder, beside a good one of version 2 and the image, server.kx, whose library is of version 3.
func (h *home) defective(t *testing.T) {
	t.Helper()
	h.counter(t)
	script := "cd " + h.dir + `; keygen --trust; keygen evil.key; sign --loader app --need-signed --need libcounter.so=2 server.kx
		sign --loader app --version 3 libcounter.so; cp libcounter.so old.so; cp next.so good.so; sign --name libcounter.so --loader app --version 3 good.so`
	for i, d := range defects {
		script += fmt.Sprintf("\ncp next.so d%d.so", i)
		if d.sign != "-" {
			script += fmt.Sprintf("; sign --name libcounter.so --loader app %s d%d.so", d.sign, i)
		}
	}
	h.output(t, "-c", script)
	t.Chdir(h.dir)
	for i, d := range defects {
		if d.change == nil {
			continue
		}
		name := fmt.Sprintf("d%d.so", i)
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(name, d.change(t, b), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A library that breaks a restriction is refused by name, at the start, where nothing starts, and in an update, where the pVM is as it was. After all
// of them a good one takes its place.
func TestRefusals(t *testing.T) {
	h := newHome(t)
	h.defective(t)
	pid := h.server(t, "--require", "signed", filepath.Join(h.dir, "server.kx"))
	h.wantSeen(t, pid, 1, 6, 1)
	script := "cd " + h.dir
	for i := range defects {
		script += fmt.Sprintf("\ncp d%[1]d.so part; mv part libcounter.so; s=$(run -d --require signed server.kx 2>&1); echo %[1]d start $? $s; kill $s 2>/dev/null", i)
		script += fmt.Sprintf("\ns=$(update %s d%d.so libcounter.so 2>&1); echo %d update $? $s", pid, i, i)
	}
	out, errs, _ := h.run(t, "-c", script)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 2*len(defects) {
		t.Fatalf("%d lines\n%s%s", len(lines), out, errs)
	}
	for i, d := range defects {
		want := fmt.Sprintf("%d start 126 run: %s/libcounter.so: ", i, h.dir)
		if d.start == "-" {
			want = fmt.Sprintf("%d start 0 ", i)
		}
		if got := lines[2*i]; !strings.HasPrefix(got, want) || d.start != "-" && !strings.Contains(got, d.refusal) {
			t.Errorf("%s: %s, want %s%s", d.name, got, want, d.refusal)
		}
		want = fmt.Sprintf("%d update 1 update: ", i)
		if got := lines[2*i+1]; !strings.HasPrefix(got, want) || !strings.Contains(got, d.refusal) {
			t.Errorf("%s: %s, want %s%s", d.name, got, want, d.refusal)
		}
	}
	h.wantSeen(t, pid, 2, 7, 1)
	if l := h.ldd(t, pid)[0]; l.Path != filepath.Join(h.dir, "libcounter.so") || l.Previous != nil {
		t.Errorf("%+v", l)
	}
	if _, errs, code := h.run(t, "run", "--require", "signed,loader=self", "server.kx"); code != 126 || !strings.Contains(errs, "refused by rule loader: its libraries may be loaded by app, want self") {
		t.Errorf("the image's loader: status %d\n%s", code, errs)
	}
	h.update(t, pid, filepath.Join(h.dir, "good.so"), "libcounter.so")
	h.wantSeen(t, pid, 3, 107, 2)
}

// What was checked is what is used, whatever the file is by then: another one in its place, or the same with other content.
func TestSwapped(t *testing.T) {
	h := newHome(t)
	h.defective(t)
	h.image(t, filepath.Join(root, "shell/e2e/testdata/update/step.c"), "-O2", "-L.", "-lcounter")
	pid := h.server(t, "--require", "signed", "server.kx")
	h.wantSeen(t, pid, 1, 6, 1)
	h.thread(t, pid, "inside")
	good, err := os.ReadFile("good.so")
	if err != nil {
		t.Fatal(err)
	}
	bad := func(name string) {
		if err := os.WriteFile(name, []byte("swapped"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := h.waiting(t, "update", "--timeout", fmt.Sprint(2*patience), pid, "good.so", "libcounter.so")
	bad("good.so")
	bad("server.kx")
	h.output(t, "kill", "-USR2", pid)
	s.exit(0)
	h.wantSeen(t, pid, 2, 106, 2)
	if l := h.ldd(t, pid)[0]; l.SHA256 != fmt.Sprintf("%x", sha256.Sum256(good)) {
		t.Errorf("%+v", l)
	}
	h.notUpdated(t, "good.so: not a library of pVMs", pid, "good.so", "libcounter.so")

	// Somebody puts a library that is not signed in the place of the one that is, and back, all the time.
	h.output(t, "sign", "--need-signed", "step.kx")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			err := os.Link([]string{"old.so", "next.so"}[i%2], "part")
			if err == nil {
				err = os.Rename("part", "libcounter.so")
			}
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	out, errs, _ := h.run(t, "-c", "for i in $(seq 40); do run --require signed step.kx; done")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	ran, refused := strings.Count(out, "step 1\n"), strings.Count(errs, "/libcounter.so: refused by rule signed")
	if ran+refused != 40 || strings.Count(out, "\n") != ran || strings.Count(errs, "\n") != refused {
		t.Errorf("%d ran, %d were refused\n%s%s", ran, refused, out, errs)
	}
	t.Logf("%d ran, %d were refused", ran, refused)
}
