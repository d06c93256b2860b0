package ipc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"kxsh/ipc/abi"
)

// TestAgree runs the LibOS's own code of console and calls, compiled for Linux, against this package over one
// mapped file: random writes, non-blocking writes, writes that fault, kernel messages, reads and calls, while
// the engine drains, feeds and answers. Every byte must arrive, and nobody may sleep through an event.
func TestAgree(t *testing.T) {
	dir := t.TempDir()
	bin := buildGuest(t, dir)
	for seed := range uint64(4) {
		agree(t, dir, bin, seed)
	}
}

// TestRestlessIndices holds that the LibOS reads an index once and sticks to what it read.
func TestRestlessIndices(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ctl")
	if err := os.WriteFile(path, make([]byte, abi.CtlSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(buildGuest(t, dir), path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func buildGuest(t *testing.T, dir string) string {
	t.Helper()
	bin := filepath.Join(dir, "agree")
	guest := filepath.Join("..", "guest")
	cc := exec.Command("gcc", "-std=gnu11", "-O2", "-mno-red-zone", "-Wall", "-Wextra", "-D_GNU_SOURCE", "-pthread",
		"-I"+filepath.Join(guest, "include"), "-I"+filepath.Join(guest, "kern"), "-I"+filepath.Join(guest, "arch", "x86_64"),
		"-o", bin, "testdata/agree.c", filepath.Join(guest, "kern", "console.c"),
		filepath.Join(guest, "kern", "call.c"))
	if out, err := cc.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return bin
}

func agree(t *testing.T, dir, bin string, seed uint64) {
	path := filepath.Join(dir, "ctl")
	if err := os.WriteFile(path, make([]byte, abi.CtlSize), 0o600); err != nil {
		t.Fatal(err)
	}
	ctl := mapArea(path)
	defer syscall.Munmap(ctl)
	startIndex(ctl, uint32(seed)*0x1000-0x10123)
	input := randomBytes(rand.New(rand.NewPCG(seed, 5)), 200000)

	journal, err := os.Create(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	cmd := exec.Command(bin, path, fmt.Sprint(seed), "3000", fmt.Sprint(len(input)))
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{journal}
	toGuest, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	fromGuest, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	rang, gone := newChannel(), make(chan struct{})
	go func() {
		defer close(gone)
		for p := make([]byte, 64); ; rang.ring() {
			if _, err := fromGuest.Read(p); err != nil {
				return
			}
		}
	}()
	notify := func() { toGuest.Write([]byte{0}) } // to a guest that is gone: no harm
	printed, err := serve(ctl, input, notify, rang, gone)
	if err != nil {
		cmd.Process.Kill()
	}
	if werr := cmd.Wait(); err != nil || werr != nil {
		t.Fatalf("seed %d: %v; guest: %v", seed, err, werr)
	}

	want := readJournal(t, journal.Name())
	printed[0] = input
	for s := range want {
		if len(want[s]) == 0 || !bytes.Equal(printed[s], want[s]) {
			t.Errorf("seed %d, stream %d (0: input): %s", seed, s, difference(printed[s], want[s]))
		}
	}
}

// difference shows where the engine's bytes and the guest's part.
func difference(engine, guest []byte) string {
	at := 0
	for at < min(len(engine), len(guest)) && engine[at] == guest[at] {
		at++
	}
	show := func(p []byte) []byte { return p[max(at-10, 0):min(at+30, len(p))] }
	return fmt.Sprintf("at byte %d the engine has %q, of %d bytes, the guest %q, of %d", at, show(engine), len(engine), show(guest), len(guest))
}

// serve is an engine: it reads output, gives input and answers calls, and sleeps when it can do nothing.
func serve(ctl, input []byte, notify func(), rang channel, gone <-chan struct{}) (printed [4][]byte, err error) {
	out, in, calls := NewOutput(ctl), NewInput(ctl), NewCalls(ctl)
	for last := false; ; {
		chunks, err := out.Read()
		if err != nil {
			return printed, err
		}
		for _, c := range chunks {
			printed[c.Stream] = append(printed[c.Stream], c.Data...)
		}
		if out.Release() {
			notify()
		}
		if call, ok := calls.Next(); ok {
			calls.Answer(call, int64(uint64(call.Op)+call.A[0]-2*call.A[1]+3*call.A[2]))
			notify()
		}
		n, wake, err := in.Write(input)
		if err != nil {
			return printed, err
		}
		if wake {
			notify()
		}
		input = input[n:]
		if last && len(chunks) == 0 {
			return printed, nil
		}
		sleep := out.Sleep()
		if len(input) > 0 {
			full, err := in.Sleep()
			if err != nil {
				return printed, err
			}
			sleep = sleep && full
		}
		if !sleep || last {
			continue
		}
		select {
		case <-rang:
		case <-gone:
			last = true
		case <-time.After(20 * time.Second):
			return printed, fmt.Errorf("no event comes; %d bytes of input left", len(input))
		}
	}
}

// readJournal reads what the guest says it printed, by stream, and read (0).
func readJournal(t *testing.T, path string) (streams [4][]byte) {
	t.Helper()
	j, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for len(j) > 0 {
		s, n := binary.LittleEndian.Uint32(j), binary.LittleEndian.Uint32(j[4:])
		streams[s] = append(streams[s], j[8:8+n]...)
		j = j[8+n:]
	}
	return streams
}
