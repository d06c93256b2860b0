package ipc

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"kxsh/ipc/abi"
	"kxsh/ipc/ipctest"
)

// TestFiles holds that a request is taken once and answered in its place, and that the next server has another number, and takes what has no answer.
func TestFiles(t *testing.T) {
	ctl := ipctest.NewArea()
	area, data := &control(ctl).Files, part(ctl, abi.FilesVa, abi.FilesSize)
	buf := make([]byte, abi.FilesSize)
	f := NewFiles(ctl)
	first := area.Server
	if msg, err := f.Next(buf); msg != nil || err != nil || first == 0 {
		t.Fatalf("%q, %v, server %d", msg, err, first)
	}
	copy(data, "\x08\x00\x00\x00\x01\x02\x03\x04beyond")
	area.Asked++
	msg, err := f.Next(buf)
	if string(msg) != "\x08\x00\x00\x00\x01\x02\x03\x04" || err != nil {
		t.Fatalf("%q, %v", msg, err)
	}
	next := NewFiles(ctl)
	if area.Server == first || area.Server == 0 {
		t.Errorf("server %d follows %d", area.Server, first)
	}
	if again, err := next.Next(buf); string(again) != string(msg) || err != nil {
		t.Fatalf("%q, %v", again, err)
	}
	if !next.Answer([]byte("reply"), false) {
		t.Error("it sleeps, and is not to be woken")
	}
	if area.Done != area.Asked || string(data[:5]) != "reply" {
		t.Errorf("answered %d of %d with %q", area.Done, area.Asked, data[:5])
	}
	area.Asked += 1 << 31 // one request still
	copy(data, msg)
	if msg, err := next.Next(buf); msg == nil || err != nil {
		t.Errorf("%q, %v", msg, err)
	}
	next.Answer(nil, false)
	if next.Asked() {
		t.Error("one request is two")
	}
	control(ctl).FilesLooks = abi.FilesPvm // and the pVM looks
	if next.Answer(nil, true) {
		t.Error("it looks, and is to be woken")
	}
	if control(ctl).FilesLooks != abi.FilesPvm|abi.FilesEngine {
		t.Errorf("looking: %d", control(ctl).FilesLooks)
	}
	if NewFiles(ctl); control(ctl).FilesLooks != abi.FilesPvm {
		t.Errorf("a new server is taken for one that looks: %d", control(ctl).FilesLooks)
	}
	next.Answer(nil, true)
	if next.Look(time.Millisecond) || control(ctl).FilesLooks != abi.FilesPvm {
		t.Errorf("nothing has come: %d", control(ctl).FilesLooks)
	}
	next.Answer(nil, true)
	area.Asked++
	if !next.Look(time.Hour) || control(ctl).FilesLooks != abi.FilesPvm {
		t.Errorf("something has come: %d", control(ctl).FilesLooks)
	}
	for _, size := range []uint32{0, 6, abi.FilesSize + 1, 0xffffffff} {
		binary.LittleEndian.PutUint32(data, size)
		if msg, err := next.Next(buf); msg != nil || !errors.Is(err, ErrCorrupt) {
			t.Errorf("a request of %d bytes: %d, %v", size, len(msg), err)
		}
	}
}
