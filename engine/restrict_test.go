package engine

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kxsh/elf"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// signer is a key of a test, and what of it a request brings.
func signer(t *testing.T, seed byte) (ed25519.PrivateKey, [][]byte) {
	t.Helper()
	k := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	public, err := elf.NewKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return k, [][]byte{public.DER()}
}

// signedGuest writes the test guest, signed, to path.
func signedGuest(t *testing.T, path string, key ed25519.PrivateKey, name string, version uint64) {
	t.Helper()
	data, err := os.ReadFile(xentest.GuestPath(t))
	if err != nil {
		t.Fatal(err)
	}
	out, err := elf.Sign(data, elf.Record{Name: name, Version: version, Loader: elf.LoaderApp}, key)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, path, out)
}

// replace puts a new file at path, as sign does.
func replace(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// runs starts an image of words and tells what came of it: "" or the rule that it breaks.
func runs(t *testing.T, e *Engine, r RunRequest) string {
	t.Helper()
	r.Args = []string{"hello"}
	reply, err := e.Run(context.Background(), r)
	if err == nil {
		if _, err := e.Wait(context.Background(), reply.PID); err != nil {
			t.Fatal(err)
		}
		return ""
	}
	var own *Error
	if !errors.As(err, &own) || strings.Contains(own.Msg, "\n") {
		t.Fatalf("%v", err)
	}
	_, rule, found := strings.Cut(own.Msg, ": refused by rule ")
	if found != (own.Code == CodeRestricted) {
		t.Fatalf("%s: %v", own.Code, own)
	}
	if !found {
		return string(own.Code)
	}
	rule, _, _ = strings.Cut(rule, ":")
	return rule
}

func TestRestrictions(t *testing.T) {
	e, _ := testEngine(t)
	key, keys := signer(t, 1)
	evil, evilKeys := signer(t, 2)
	path := filepath.Join(t.TempDir(), "guest.kx")
	for _, c := range []struct {
		require string
		keys    [][]byte
		want    string
	}{
		{"", nil, ""},
		{"signed", keys, ""},
		{"signed", append(evilKeys, keys...), ""},
		{"signed", nil, "key"},
		{"signed", evilKeys, "key"},
		{"version=3", keys, ""},
		{"version=4+", keys, "version"},
		{"loader=self", keys, "loader"},
		{"name=other", keys, "name"},
		{"sealed", keys, string(CodeInvalid)},
		{"signed", [][]byte{{1, 2, 3}}, string(CodeInvalid)},
		{"signed", make([][]byte, maxKeys+1), string(CodeInvalid)},
	} {
		signedGuest(t, path, key, "guest", 3)
		if got := runs(t, e, RunRequest{Image: path, Require: c.require, Keys: c.keys}); got != c.want {
			t.Errorf("%q, %d keys: %q, want %q", c.require, len(c.keys), got, c.want)
		}
	}
	// The same path, now another file: what the engine keeps of the first does not count for it.
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/3] ^= 1
	longer := append(bytes.Clone(good), make([]byte, 512)...)
	for name, data := range map[string][]byte{"signature": flipped, string(CodeBadImage): longer} {
		replace(t, path, data)
		if got := runs(t, e, RunRequest{Image: path, Require: "signed", Keys: keys}); got != name {
			t.Errorf("want %q, got %q", name, got)
		}
	}
	damaged := bytes.Clone(good)
	copy(damaged[bytes.LastIndex(damaged, []byte("KX\x00\x00"))+4:], []byte{2})
	replace(t, path, damaged)
	if got := runs(t, e, RunRequest{Image: path}); got != "record" {
		t.Errorf("a damaged record, and nothing demanded: %q", got)
	}
	signedGuest(t, path, evil, "guest", 3)
	if got := runs(t, e, RunRequest{Image: path, Require: "signed", Keys: keys}); got != "key" {
		t.Errorf("signed by another: %q", got)
	}
	if got := runs(t, e, RunRequest{Image: xentest.GuestPath(t), Require: "signed", Keys: keys}); got != "signed" {
		t.Errorf("unsigned: %q", got)
	}
	r, err := e.Events(context.Background(), 0, false)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for ev, err := r.Recv(); err == nil; ev, err = r.Recv() {
		if ev.Type == "refused" && strings.Contains(ev.Text, path+": rule ") {
			refused++
		}
	}
	if refused != 7 {
		t.Errorf("%d refusals in events, want 7", refused)
	}
	if ids, _ := e.hv.Domains(); len(ids) != 0 {
		t.Errorf("domains left: %v", ids)
	}
}

func TestRollback(t *testing.T) {
	e, host := testEngine(t)
	key, keys := signer(t, 1)
	other, otherKeys := signer(t, 2)
	dir := t.TempDir()
	at := func(name string, version uint64) string {
		path := filepath.Join(dir, fmt.Sprint(name, version))
		signedGuest(t, path, key, name, version)
		return path
	}
	fresh := func(path string) RunRequest { return RunRequest{Image: path, Require: "no-rollback", Keys: keys} }
	want := func(what, want string, r RunRequest) {
		t.Helper()
		if got := runs(t, e, r); got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	want("the first", "", fresh(at("web", 5)))
	want("the same again", "", fresh(at("web", 5)))
	want("older", "rollback", fresh(at("web", 4)))
	want("older, and nobody minds", "", RunRequest{Image: at("web", 4), Require: "signed", Keys: keys})
	want("another program", "", fresh(at("db", 1)))

	// A version that could not be started has not run.
	host.Fail(func(s string) error {
		if s == "start" {
			return xen.ErrNoMemory
		}
		return nil
	})
	want("newer, without memory", string(CodeLimit), fresh(at("web", 9)))
	host.Fail(nil)
	want("the old one", "", fresh(at("web", 5)))
	want("newer", "", fresh(at("web", 6)))
	want("the old one then", "rollback", fresh(at("web", 5)))

	// Another key's versions are counted for themselves.
	path := filepath.Join(dir, "other")
	signedGuest(t, path, other, "web", 1)
	want("of another key", "", RunRequest{Image: path, Require: "no-rollback", Keys: otherKeys})

	// The next engine knows as well, and without its memory nothing runs.
	e.floors = newFloors(e.o.State)
	want("the old one later", "rollback", fresh(at("web", 5)))
	for _, text := range []string{"{", "null", `{"a":-1}`} {
		if err := os.WriteFile(e.floors.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		want("damaged: "+text, string(CodeInternal), fresh(at("web", 6)))
	}
	if err := os.Remove(e.floors.path); err != nil {
		t.Fatal(err)
	}
	want("forgotten", "", fresh(at("web", 5)))
	if left, _ := filepath.Glob(e.floors.path + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestRestartRestricted holds that a restart is a run like the first: the file has changed, and is refused.
func TestRestartRestricted(t *testing.T) {
	e, _ := testEngine(t)
	key, keys := signer(t, 1)
	path := filepath.Join(t.TempDir(), "guest.kx")
	signedGuest(t, path, key, "guest", 1)
	reply, err := e.Run(context.Background(), RunRequest{
		Image: path, Args: []string{"sleep"}, Require: "version=1", Keys: keys, Restart: Restart{Policy: "always"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := e.Inspect(context.Background(), reply.PID); err != nil || d.Seal == nil || *d.Seal != *sealOf(&elf.Record{
		Name: "guest", Version: 1, Loader: elf.LoaderApp, Key: keyID(t, keys[0])}) {
		t.Errorf("inspect: %+v, %v", d, err)
	}
	signedGuest(t, path, key, "guest", 2)
	events, err := e.Events(context.Background(), 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	e.table[reply.PID].dom.Destroy()
	for {
		ev, err := events.Recv()
		if err != nil || ev.Type == "restarted" {
			t.Fatalf("%+v, %v", ev, err)
		}
		if ev.Type == "refused" && strings.HasPrefix(ev.Text, "restart: ") {
			if !strings.Contains(ev.Text, "refused by rule version: version 2, want 1") {
				t.Errorf("%s", ev.Text)
			}
			return
		}
	}
}

func keyID(t *testing.T, der []byte) elf.KeyID {
	t.Helper()
	k, err := elf.ParseKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return k.ID
}

// TestSwap replaces and overwrites an image while it is started: what runs is what was signed, or nothing runs.
func TestSwap(t *testing.T) {
	e, _ := testEngine(t)
	key, keys := signer(t, 1)
	path := filepath.Join(t.TempDir(), "guest.kx")
	signedGuest(t, path, key, "guest", 1)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	evil := bytes.Clone(good)
	copy(evil[len(evil)/2:], "evil")
	sum := sha256.Sum256(good)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(i%20) * 100 * time.Microsecond):
			}
			data := [][]byte{good, evil}[i%2]
			if i%4 < 2 { // the same file, in place
				os.WriteFile(path, data, 0o644)
				continue
			}
			if os.WriteFile(path+".new", data, 0o644) == nil {
				os.Rename(path+".new", path)
			}
		}
	}()
	ran, refused := 0, 0
	for begin := time.Now(); (ran < 10 || refused < 10) && time.Since(begin) < time.Minute; {
		reply, err := e.Run(context.Background(), RunRequest{Image: path, Args: []string{"hello"}, Require: "signed", Keys: keys})
		if err != nil {
			refused++
			continue
		}
		ran++
		d, err := e.Inspect(context.Background(), reply.PID)
		if err != nil || d.ImageSHA != hex.EncodeToString(sum[:]) {
			t.Fatalf("%+v runs, %v", d, err)
		}
	}
	close(stop)
	<-stopped
	if ran < 10 || refused < 10 {
		t.Errorf("%d ran, %d were refused: nothing was swapped at the right time", ran, refused)
	}
}
