package engine

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc"
	"kxsh/ipc/abi"
)

// tasksDone is what member does with tasks: each gets its result from f, which may change the task.
func (b body) tasks(f func(t *ipc.Task) int64) {
	atomic.StoreUint32(&b.k.Control.FamilyState, abi.FamilyIn)
	for {
		if b.command().Op == abi.CmdTask {
			b.someTasks(0, f)
		}
	}
}

func (b body) someTasks(news uint64, f func(t *ipc.Task) int64) {
	done, result := int64(0), int64(0)
	for {
		if done = b.call(abi.CallTask, uint64(done), uint64(result), news); done <= 0 {
			return
		}
		news = 0
		t, err := ipc.TakeTask(b.Control())
		if err != nil {
			panic(err)
		}
		result = f(t)
		if t.Op != 0 { // else f has written it itself
			ipc.PutTask(b.Control(), t)
		}
	}
}

// oneQueue lists a queue with the caller's number.
func oneQueue(id int) func(t *ipc.Task) int64 {
	return func(t *ipc.Task) int64 {
		e := abi.KxObject{Kind: abi.ObjectQueue, Id: uint32(id), Key: 5, Bytes: 9}
		t.A[0], t.Data = 0, unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e))
		return 1
	}
}

// listed is which queue IPCList finds.
func listed(t *testing.T, e *Engine, pid int) int {
	t.Helper()
	r, err := e.IPC(context.Background(), pid, IPCRequest{Op: IPCList})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Objects) != 1 || r.Objects[0].Kind != KindQueue || r.Objects[0].Key != 5 || r.Objects[0].Bytes != 9 {
		t.Fatalf("%+v", r.Objects)
	}
	return r.Objects[0].ID
}

// shortPatience leaves a member three seconds: one that is silent costs them, and one that is only paused is not taken for silent.
const shortPatience = 3 * taskShare * time.Second

// One member of a family answers; another that is silent, hostile, stopped or dead is passed over, and its relatives are asked.
func TestTaskOfAnotherMember(t *testing.T) {
	bad := map[string]func(b body){
		"silent": func(b body) { b.sleep() },
		"lost": func(b body) {
			for b.command().Op != abi.CmdTask {
			}
			b.call(abi.CallTask, 0, 0, 0)
			b.sleep()
		},
		"large": func(b body) {
			b.tasks(func(t *ipc.Task) int64 {
				t.Op = 0
				*(*uint32)(unsafe.Pointer(&b.Control()[abi.TaskVa-abi.CtlVa+4])) = 1 << 20
				return 1
			})
		},
		"none": func(b body) { b.tasks(func(t *ipc.Task) int64 { t.Data = nil; return 1 }) },
		"odd":  func(b body) { b.tasks(func(t *ipc.Task) int64 { t.Data = make([]byte, 100); return 1 }) },
		"kind": func(b body) { b.tasks(func(t *ipc.Task) int64 { t.Data = make([]byte, 128); return 1 }) },
		"other": func(b body) {
			for b.command().Op != abi.CmdTask {
			}
			b.call(abi.CallTask, 0, 0, 0)
			b.call(abi.CallTask, 77, 1, 1)
			b.sleep()
		},
		"exits": func(b body) {
			for b.command().Op != abi.CmdTask {
			}
			b.Guest.Exit(0)
		},
		"asks": func(b body) {
			for b.command().Op != abi.CmdTask {
			}
			b.call(abi.CallTask, 0, 0, 0)
			b.Guest.Exit(0)
		},
		"busy": func(b body) { b.tasks(func(t *ipc.Task) int64 { return -int64(unix.EBUSY) }) },
	}
	programs := map[string]func(body){}
	for name, f := range bad {
		programs[name] = func(b body) {
			atomic.StoreUint32(&b.k.Control.FamilyState, abi.FamilyIn)
			b.printf("child %d\n", b.fork(func(c body) { c.tasks(oneQueue(4)) }))
			f(b)
		}
	}
	e, _ := familyEngine(t, programs)
	e.patience = shortPatience
	for name := range bad {
		pid := launch(t, e, name)
		saidNumber(t, e, pid, "child ")
		for range 2 {
			if got := listed(t, e, pid); got != 4 {
				t.Errorf("%s: queue %d", name, got)
			}
		}
	}
	pid := launch(t, e, "silent")
	child := saidNumber(t, e, pid, "child ")
	e.Signal(context.Background(), child, int(unix.SIGSTOP))
	_, err := e.IPC(context.Background(), pid, IPCRequest{Op: IPCList})
	if codeOf(err) != CodeBusy || !strings.Contains(err.Error(), fmt.Sprintf("(%d): does not answer", pid)) {
		t.Errorf("silent: %v", err)
	}
	e.Signal(context.Background(), pid, int(unix.SIGSTOP))
	if _, err := e.IPC(context.Background(), child, IPCRequest{Op: IPCList}); codeOf(err) != CodeBusy || !strings.Contains(err.Error(), "all its members are stopped") {
		t.Errorf("stopped: %v", err)
	}
	e.SignalFamily(context.Background(), pid, int(unix.SIGKILL))
	if _, err := e.IPC(context.Background(), pid, IPCRequest{Op: IPCList}); codeOf(err) != CodeNoPVM {
		t.Errorf("dead: %v", err)
	}
	if _, err := e.IPC(context.Background(), 999, IPCRequest{Op: IPCList}); codeOf(err) != CodeNoPVM {
		t.Errorf("no such: %v", err)
	}
}

// What may have happened is not done again by another member.
func TestTaskOnce(t *testing.T) {
	var sent atomic.Int32
	e, _ := familyEngine(t, map[string]func(body){"lost": func(b body) {
		atomic.StoreUint32(&b.k.Control.FamilyState, abi.FamilyIn)
		b.printf("child %d\n", b.fork(func(c body) { c.tasks(func(t *ipc.Task) int64 { sent.Add(1); return 0 }) }))
		for b.command().Op != abi.CmdTask {
		}
		b.call(abi.CallTask, 0, 0, 0)
		b.sleep()
	}})
	e.patience = shortPatience
	pid := launch(t, e, "lost")
	saidNumber(t, e, pid, "child ")
	_, err := e.IPC(context.Background(), pid, IPCRequest{Op: IPCSend, ID: 3, Type: 1})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("(%d): has begun with it", pid)) || sent.Load() != 0 {
		t.Errorf("%v, %d by the other", err, sent.Load())
	}
	// Now it is known to be slow, and the other is asked first.
	if _, err := e.IPC(context.Background(), pid, IPCRequest{Op: IPCSend, ID: 3, Type: 1}); err != nil || sent.Load() != 1 {
		t.Errorf("%v, %d by the other", err, sent.Load())
	}
}

// A member that has not begun with a task gets it once more, and one that has brought its result and ended has done it.
func TestTaskMeanwhile(t *testing.T) {
	var given []uint32
	again := notBegun
	e, _ := familyEngine(t, map[string]func(body){"busy": func(b body) {
		atomic.StoreUint32(&b.k.Control.FamilyState, abi.FamilyIn)
		for {
			for b.command().Op != abi.CmdTask {
			}
			number := b.call(abi.CallTask, 0, 0, 0)
			task, err := ipc.TakeTask(b.Control())
			if err != nil {
				panic(err)
			}
			if number > 0 {
				given = append(given, task.Op)
			}
			if len(given) == 3 {
				b.k.Ask(abi.CallTask, uint64(number), 7, 0)
				b.Guest.Exit(0)
			}
			b.call(abi.CallTask, uint64(number), uint64(again), 0)
		}
	}})
	e.patience = shortPatience
	pid := launch(t, e, "busy")
	got, err := e.askMember(context.Background(), e.table[pid], &ipc.Task{Op: abi.TaskQueue})
	if err != nil || got.result != 7 || !slices.Equal(given, []uint32{abi.TaskQueue, abi.TaskQueue, abi.TaskQueue}) {
		t.Errorf("%+v, %v, after it was given %v", got, err, given)
	}
}

// Receivers wait without keeping the member busy, are told of news, and take nothing once they have gone.
func TestTaskWaits(t *testing.T) {
	var mu sync.Mutex
	var queue []string
	looks := 0
	e, _ := familyEngine(t, map[string]func(body){"queue": func(b body) {
		do := func(t *ipc.Task) int64 {
			mu.Lock()
			defer mu.Unlock()
			if t.Op == abi.TaskSend {
				queue = append(queue, string(t.Data))
				return 0
			}
			looks++
			if len(queue) == 0 {
				return -int64(unix.ENOMSG)
			}
			t.Data, t.Type = []byte(queue[0]), 7
			queue = queue[1:]
			return int64(len(t.Data))
		}
		for {
			if b.command().Op == abi.CmdTask {
				news := false
				b.someTasks(0, func(t *ipc.Task) int64 { news = news || t.Op == abi.TaskSend; return do(t) })
				if news {
					b.someTasks(1, do)
				}
			}
		}
	}})
	e.lookAgain = time.Hour
	api := viaSocket(t, e)
	pid := launch(t, api, "queue")
	ctx, cancel := context.WithCancel(context.Background())
	const receivers = 3
	got := make(chan string, receivers)
	for range receivers {
		go func() {
			r, err := api.IPC(ctx, pid, IPCRequest{Op: IPCReceive, ID: 1, Wait: true})
			if err != nil {
				got <- err.Error()
				return
			}
			got <- fmt.Sprint(r.Type, string(r.Data))
		}()
	}
	time.Sleep(300 * time.Millisecond)
	mu.Lock()
	if looks > 2*receivers {
		t.Errorf("%d looks of %d receivers", looks, receivers)
	}
	mu.Unlock()
	for _, text := range []string{"a", "b"} {
		if _, err := api.IPC(context.Background(), pid, IPCRequest{Op: IPCSend, ID: 1, Type: 7, Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
		if r := <-got; r != "7"+text {
			t.Errorf("received %q, want %q", r, text)
		}
	}
	before := connections(t, api)
	cancel()
	if r := <-got; r != context.Canceled.Error() {
		t.Errorf("the third receives %q", r)
	}
	eventually(t, "the engine has heard of it", func() bool { return connections(t, api) < before })
	if _, err := api.IPC(context.Background(), pid, IPCRequest{Op: IPCSend, ID: 1, Type: 7, Data: []byte("c")}); err != nil {
		t.Fatal(err)
	}
	if r, err := api.IPC(context.Background(), pid, IPCRequest{Op: IPCReceive, ID: 1}); err != nil || string(r.Data) != "c" {
		t.Errorf("after that: %+v, %v", r, err)
	}
	if _, err := api.IPC(context.Background(), pid, IPCRequest{Op: IPCReceive, ID: 1}); codeOf(err) != CodeBusy {
		t.Errorf("of nothing: %v", err)
	}
}

// connections counts the sockets at an engine's path: that of a request which was given up goes when the engine has given it up, too.
func connections(t *testing.T, api API) int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), " "+api.(*Client).socket+"\n")
}

// Results that make no sense are errors, or bounded.
func TestTaskNonsense(t *testing.T) {
	var result atomic.Int64
	e, _ := familyEngine(t, map[string]func(body){"liar": func(b body) {
		b.tasks(func(t *ipc.Task) int64 { t.A[0]++; t.Data = t.Data[:min(len(t.Data), 3)]; return result.Load() })
	}})
	pid := launch(t, e, "liar")
	requests := []IPCRequest{
		{Op: IPCList}, {Op: IPCKey, Path: "/"}, {Op: IPCQueue, Key: 1}, {Op: IPCSegment, Key: 1, Size: 5}, {Op: IPCSend, Type: 1}, {Op: IPCReceive},
		{Op: IPCRead, Size: 1 << 40}, {Op: IPCWrite, Data: make([]byte, 100000)}, {Op: IPCWrite}, {Op: IPCRemove},
		{Op: "nonsense"}, {Op: IPCKey}, {Op: IPCKey, Path: "a\x00b"}, {Op: IPCSend}, {Op: IPCSend, Type: 1, Data: make([]byte, MaxMessage+1)}, {Op: IPCSegment, Size: 1 << 40},
	}
	for _, n := range []int64{0, 1, 1000, 1 << 31, 1 << 62, -1 << 63, -1, -5, -22, -4096, 1<<63 - 1} {
		result.Store(n)
		for _, r := range requests {
			reply, err := e.IPC(context.Background(), pid, r)
			if err == nil && (len(reply.Data) > MaxMoved || reply.Size > MaxMoved || len(reply.Objects) > abi.FamilyPages || reply.ID < 0 || reply.ID > maxID) {
				t.Errorf("%d: %+v: %+v", n, r, reply)
			}
			if err != nil && (codeOf(err) == "" || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%d: %+v: %v", n, r, err)
			}
		}
	}
}
