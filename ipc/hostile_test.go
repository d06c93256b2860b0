package ipc

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"kxsh/ipc/abi"
	"kxsh/ipc/ipctest"
)

// TestHostileIndices sets each index to values that a correct pVM cannot reach.
func TestHostileIndices(t *testing.T) {
	for _, v := range []uint32{1 << 31, 5, abi.ConoutSize + 1, abi.ConinSize + 1} {
		ctl := ipctest.NewArea()
		o, in, c := NewOutput(ctl), NewInput(ctl), NewCommands(ctl)
		control(ctl).Conout.Prod = max(v, abi.ConoutSize+1)
		control(ctl).Conin.Cons = v
		control(ctl).Cmds.Cons = v
		for range 2 {
			if chunks, err := o.Read(); len(chunks) != 0 || !errors.Is(err, ErrCorrupt) {
				t.Errorf("%#x: Read: %d chunks, %v", v, len(chunks), err)
			}
		}
		if !o.Sleep() {
			t.Errorf("%#x: a broken console must not keep the engine awake", v)
		}
		if n, notify, err := in.Write([]byte("x")); n != 0 || notify || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%#x: Write: %d, %v, %v", v, n, notify, err)
		}
		if sleep, err := in.Sleep(); sleep || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%#x: Sleep: %v, %v", v, sleep, err)
		}
		if notify, err := c.EOF(); notify || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%#x: Send: %v, %v", v, notify, err)
		}
		if sleep, err := c.Sleep(); sleep || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%#x: Sleep of commands: %v, %v", v, sleep, err)
		}
	}
}

// TestHostileRecords writes records that a correct pVM does not write, behind one good one.
func TestHostileRecords(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"cut header":     {1, 2, 3},
		"stream 0":       {1, 0, 0, 0, 'x'},
		"stream 4":       {1, 0, 0, 4, 'x'},
		"stream 255":     {1, 0, 0, 255, 'x'},
		"too long":       append([]byte{1, 0x40, 0, 1}, make([]byte, abi.RecordMax+1)...),
		"not all there":  {2, 0, 0, 1, 'x'},
		"length 2^24-1":  {255, 255, 255, 1, 'x'},
		"second is junk": {1, 0, 0, 1, 'x', 0, 0, 0, 9},
	} {
		ctl := ipctest.NewArea()
		g := ipctest.NewGuest(ctl, func() {})
		g.Print(abi.Stderr, []byte("good"))
		copyIn(part(ctl, abi.ConoutVa, abi.ConoutSize), g.Control.Conout.Prod, bytes)
		g.Control.Conout.Prod += uint32(len(bytes))
		o := NewOutput(ctl)
		chunks, err := o.Read()
		if len(chunks) == 0 || string(chunks[0].Data) != "good" || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, %v", name, chunks, err)
		}
		if chunks, err := o.Read(); len(chunks) != 0 || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Read again: %v, %v", name, chunks, err)
		}
	}
}

// TestEngineKeepsItsIndices holds that a pVM cannot move the indices that are the engine's.
func TestEngineKeepsItsIndices(t *testing.T) {
	ctl := ipctest.NewArea()
	g := ipctest.NewGuest(ctl, func() {})
	o, in, c := NewOutput(ctl), NewInput(ctl), NewCommands(ctl)
	for range 3 {
		g.Control.Conout.Cons, g.Control.Conin.Prod, g.Control.Cmds.Prod = 0xdead, 0xdead, 0xdead
		in.Write([]byte("abc"))
		c.EOF()
		o.Release()
	}
	calls := NewCalls(ctl)
	for n := range int64(3) {
		g.Ask(abi.CallReap)
		call, ok := calls.Next()
		if !ok || call.N != uint32(n+1) {
			t.Fatalf("call %d: %+v, %v", n+1, call, ok)
		}
		g.Control.Call.Done, g.Control.Call.Result = 0xdead, 0xdead
		calls.Answer(call, n)
		if again, ok := calls.Next(); ok || g.Control.Call.Done != call.N || g.Control.Call.Result != n {
			t.Errorf("call %d: answered %+v, then %+v", n+1, g.Control.Call, again)
		}
		g.Control.Call.Done = 0xdead
	}
	if k := g.Control; k.Conout.Cons != 0 || k.Conin.Prod != 9 || k.Cmds.Prod != 3 {
		t.Errorf("indices %d %d %d, want 0 9 3", k.Conout.Cons, k.Conin.Prod, k.Cmds.Prod)
	}
}

// exercise uses everything once and checks what it returns against the limits; errors other than
// the package's own are failures.
func exercise(t *testing.T, ctl []byte, o *Output, in *Input, c *Commands) {
	ok := func(err error) {
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFull) {
			t.Errorf("error %v", err)
		}
	}
	chunks, err := o.Read()
	ok(err)
	total := 0
	for _, k := range chunks {
		total += len(k.Data)
		if k.Stream < abi.Stdout || k.Stream > abi.Kernel || len(k.Data) == 0 {
			t.Errorf("chunk of %d bytes for stream %d", len(k.Data), k.Stream)
		}
	}
	if total > abi.ConoutSize {
		t.Errorf("%d bytes out of a ring of %d", total, abi.ConoutSize)
	}
	o.Release()
	o.Sleep()
	n, _, err := in.Write(make([]byte, 5000))
	ok(err)
	if n < 0 || n > abi.ConinSize {
		t.Errorf("%d bytes into a ring of %d", n, abi.ConinSize)
	}
	_, err = in.Sleep()
	ok(err)
	_, err = c.Signal(15, 1)
	ok(err)
	_, err = c.Sleep()
	ok(err)
	calls := NewCalls(ctl)
	if call, ok := calls.Next(); ok {
		calls.Answer(call, -1)
		SetParent(ctl, 0)
	}
	if task, err := TakeTask(ctl); err == nil {
		exerciseTask(t, task)
	} else {
		ok(err)
	}
	s, err := ReadState(ctl)
	ok(err)
	if s > abi.StateExited {
		t.Errorf("state %d", s)
	}
	st, _, err := ReadStatus(ctl)
	ok(err)
	if code := st.Code(); code < 0 || code > 255 {
		t.Errorf("exit code %d", code)
	}
	_, err = ReadCrash(ctl)
	ok(err)
	ReadMain(ctl)
}

// exerciseTask checks what of a task that a pVM has left is used.
func exerciseTask(t *testing.T, task *Task) {
	if len(task.Data) > TaskRoom {
		t.Errorf("a task of %d bytes", len(task.Data))
	}
	list, err := ParseObjects(task.Data)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
	if len(list) > abi.TaskSize/128 {
		t.Errorf("%d objects", len(list))
	}
	for _, o := range list {
		if o.Kind < abi.ObjectQueue || o.Kind > abi.ObjectPipe || o.Mode > 0o7777 || o.Held[0] > abi.Members || o.Held[1] > abi.Members {
			t.Errorf("object %+v", o)
		}
		for _, pid := range slices.Concat(o.PIDs[:], o.Readers, o.Writers) {
			if pid < 0 || pid > 0x7fff {
				t.Errorf("PID %d of %+v", pid, o)
			}
		}
	}
}

// FuzzTask lets the fuzzer write a task's head and its data.
func FuzzTask(f *testing.F) {
	one := make([]byte, 40+2*128)
	one[4], one[5] = 0, 1
	one[40], one[40+128] = abi.ObjectQueue, abi.ObjectPipe
	f.Add(one)
	f.Add([]byte{8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, bytes []byte) {
		ctl := ipctest.NewArea()
		copy(part(ctl, abi.TaskVa, abi.TaskSize), bytes)
		task, err := TakeTask(ctl)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v", err)
			}
			return
		}
		exerciseTask(t, task)
		PutTask(ctl, task)
		if again, err := TakeTask(ctl); err != nil || !reflect.DeepEqual(again, task) {
			t.Errorf("put %+v, took %+v, %v", task, again, err)
		}
	})
}

// FuzzControl lets the fuzzer write struct kx_control and the beginning of the output ring.
func FuzzControl(f *testing.F) {
	ctl := ipctest.NewArea()
	g := ipctest.NewGuest(ctl, func() {})
	g.Print(abi.Stdout, []byte("hello"))
	g.Exit(0x100)
	page := ctl[abi.ControlVa-abi.CtlVa:][:abi.PageSize]
	f.Add(page[:900], ctl[abi.ConoutVa-abi.CtlVa:][:64])
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, page, out []byte) {
		ctl := ipctest.NewArea()
		o, in, c := NewOutput(ctl), NewInput(ctl), NewCommands(ctl)
		for range 2 {
			copy(ctl[abi.ControlVa-abi.CtlVa:][:abi.PageSize], page)
			copy(part(ctl, abi.ConoutVa, abi.ConoutSize), out)
			exercise(t, ctl, o, in, c)
		}
		exercise(t, ctl, NewOutput(ctl), NewInput(ctl), NewCommands(ctl))
	})
}

// FuzzSplit holds that whatever records say, the chunks are bytes of the records, in order.
func FuzzSplit(f *testing.F) {
	f.Add([]byte{1, 0, 0, 1, 'a', 2, 0, 0, 1, 'b', 'c', 1, 0, 0, 3, 'd'})
	f.Fuzz(func(t *testing.T, buf []byte) {
		var want [4][]byte
		for at := 0; at+4 <= len(buf); {
			h := binary.LittleEndian.Uint32(buf[at:])
			s, n := h>>24, int(h&0xffffff)
			if s < 1 || s > 3 || n > abi.RecordMax || at+4+n > len(buf) {
				break
			}
			want[s] = append(want[s], buf[at+4:][:n]...)
			at += 4 + n
		}
		chunks, _ := split(append([]byte(nil), buf...), 0)
		var got [4][]byte
		for _, c := range chunks {
			got[c.Stream] = append(got[c.Stream], c.Data...)
		}
		for s := range got {
			if string(got[s]) != string(want[s]) {
				t.Errorf("stream %d: %q, want %q", s, got[s], want[s])
			}
		}
	})
}

// scribbler is the environment variable that turns the test binary into a hostile pVM.
const scribbler = "KXSH_TEST_SCRIBBLE"

func TestMain(m *testing.M) {
	if path := os.Getenv(scribbler); path != "" {
		scribble(path)
	}
	os.Exit(m.Run())
}

// scribble writes to a control area for ever, as fast as it can: everything, or only the words
// that matter, with values near their limits.
func scribble(path string) {
	ctl := mapArea(path)
	r := rand.New(rand.NewPCG(1, 2))
	k := control(ctl)
	out := part(ctl, abi.ConoutVa, abi.ConoutSize)
	for {
		binary.LittleEndian.PutUint64(ctl[8*r.IntN(len(ctl)/8):], r.Uint64())
		k.Conout.Prod = k.Conout.Cons + r.Uint32N(2*abi.ConoutSize)
		k.Conin.Cons = k.Conin.Prod - r.Uint32N(2*abi.ConinSize)
		k.Cmds.Cons = k.Cmds.Prod - r.Uint32N(2*abi.Cmds)
		k.Call.Asked, k.Call.Op = r.Uint32N(3), r.Uint32N(5)
		k.State, k.Status, k.Crash.Signo = r.Uint32N(5), r.Uint32N(0x200), r.Uint32N(70)
		binary.LittleEndian.PutUint32(out[k.Conout.Cons%(abi.ConoutSize-4):], (r.Uint32N(5)<<24)|r.Uint32N(20000))
	}
}

func mapArea(path string) []byte {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	ctl, err := syscall.Mmap(int(f.Fd()), 0, abi.CtlSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return ctl
}

// TestScribbler uses a control area that another process overwrites all the time.
func TestScribbler(t *testing.T) {
	path := t.TempDir() + "/ctl"
	if err := os.WriteFile(path, make([]byte, abi.CtlSize), 0o600); err != nil {
		t.Fatal(err)
	}
	ctl := mapArea(path)
	defer syscall.Munmap(ctl)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), scribbler+"="+path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	read := 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		o, in, c := NewOutput(ctl), NewInput(ctl), NewCommands(ctl)
		for range 20 {
			exercise(t, ctl, o, in, c)
			if o.err == nil {
				read++
			}
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of the readings looked right", read)
}
