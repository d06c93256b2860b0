package hosted

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kxsh/elf"
	"kxsh/xen"
	"kxsh/xen/xentest"
)

// engineArg makes the test binary an engine of its own, which a test can kill.
const engineArg = "-engine"

type engineReport struct {
	IDs    []xen.DomID
	Tokens [][]byte
}

// engineMain runs three domains, reports them, and waits to be killed; with a third argument it is resetAndDie.
func engineMain(args []string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "engine:", err)
			os.Exit(1)
		}
	}
	key, path := args[0], args[1]
	h, err := New(Options{Key: key})
	fail(err)
	f, err := os.Open(path)
	fail(err)
	st, err := f.Stat()
	fail(err)
	img, err := elf.ParseImage(f, st.Size())
	fail(err)
	im, err := h.Prepare(img, f)
	fail(err)
	if len(args) > 2 {
		fail(resetAndDie(h, im, args[2]))
		os.Exit(0)
	}
	var r engineReport
	for _, program := range []string{"pong", "spin", "fault"} {
		d, err := h.Create(context.Background(), config(im, program, "e"))
		fail(err)
		if program != "fault" {
			fail(d.Unpause())
		}
		r.IDs, r.Tokens = append(r.IDs, d.ID()), append(r.Tokens, d.Token())
	}
	for h.Pool().Ready < h.Pool().Want {
		time.Sleep(time.Millisecond)
	}
	fail(json.NewEncoder(os.Stdout).Encode(r))
	select {}
}

// stubsOf counts the living processes of a key: domains, and others.
func stubsOf(key string) (domains, others int) {
	for _, pid := range stubs(fileKey(key)) {
		if _, ok := domainOf(pid); ok {
			domains++
		} else {
			others++
		}
	}
	return domains, others
}

// TestEngineKilled kills an engine: its blanks and its zygote go with it, its domains run on, and
// the next engine takes them over.
func TestEngineKilled(t *testing.T) {
	key := fmt.Sprintf("%s %d", t.Name(), os.Getpid())
	keys = append(keys, key)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, engineArg, key, xentest.GuestPath(t))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var r engineReport
	if err := json.NewDecoder(bufio.NewReader(out)).Decode(&r); err != nil {
		t.Fatal(err)
	}
	if domains, others := stubsOf(key); domains != 3 || others != 1+DefaultPool {
		t.Fatalf("%d domains and %d others run", domains, others)
	}
	cmd.Process.Kill()
	cmd.Wait()
	deadline := time.Now().Add(10 * time.Second)
	for {
		domains, others := stubsOf(key)
		if domains == 3 && others == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the engine's death %d domains and %d others run", domains, others)
		}
		time.Sleep(time.Millisecond)
	}

	h, err := New(Options{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if ids, err := h.Domains(); err != nil || fmt.Sprint(ids) != fmt.Sprint(r.IDs) {
		t.Fatalf("domains %v, %v, want %v", ids, err, r.IDs)
	}
	var ds []xen.Domain
	for i, id := range r.IDs {
		token := r.Tokens[i]
		if i == 1 {
			token = nil // as for a domain that nobody stored
		}
		d, err := h.Adopt(id, token)
		if err != nil {
			t.Fatal(err)
		}
		defer remove(t, d)
		ds = append(ds, d)
	}
	pong, spin, fault := ds[0], ds[1], ds[2]
	<-pong.Rang() // adopted domains have always rung
	for range 100 {
		if err := pong.Notify(); err != nil {
			t.Fatal(err)
		}
		<-pong.Rang()
	}
	before := guestResult(spin, 2)
	for begin := time.Now(); guestResult(spin, 2) == before; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the spinning domain has stopped")
		}
	}
	var text [8]byte
	if err := spin.ReadMemory(0x400000, text[:]); err != nil || text == [8]byte{} {
		t.Errorf("text of an adopted domain: %x, %v", text, err)
	}
	if st, err := fault.Status(); err != nil || st.State != xen.StatePaused {
		t.Errorf("status %+v, %v", st, err)
	}
	// How a domain ends is known although it is no child of ours.
	<-fault.Rang()
	fault.Unpause()
	<-fault.Rang()
	for gone := false; !gone; {
		fault.Notify() // one of them comes when it has no stack any more
		select {
		case <-fault.Gone():
			gone = true
		case <-time.After(time.Millisecond):
		}
	}
	if e := fault.Exit(); e.Reason != xen.ExitFault || e.Crash.Signo != uint32(unix.SIGSEGV) {
		t.Errorf("exit %+v", e)
	}
	if _, err := h.Adopt(r.IDs[0], r.Tokens[0]); !errors.Is(err, xen.ErrNoDomain) {
		t.Errorf("adopted twice: %v", err)
	}
}

// noNamespaces is the environment variable that tells a test process that it can enter none.
const noNamespaces = "KX_NO_NAMESPACES"

// TestUnprivileged runs the conformance suite as nobody, with user namespaces and without.
func TestUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		return // then TestConformance is this test
	}
	dir := publicDir(t)
	bin := filepath.Join(dir, "hosted.test")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, self, bin, 0o755)
	image := filepath.Join(dir, "guest.kx")
	copyFile(t, xentest.GuestPath(t), image, 0o644)
	run := func(t *testing.T, attr *syscall.SysProcAttr, args ...string) {
		cmd := exec.Command(args[0], append(args[1:], "-test.run", "TestConformance|TestProcess|TestSandbox")...)
		cmd.Env = append(os.Environ(), xentest.GuestEnv+"="+image)
		cmd.Dir, cmd.SysProcAttr = "/", attr
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	t.Run("nobody", func(t *testing.T) {
		run(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}, bin)
	})
	t.Run("without user namespaces", func(t *testing.T) {
		if !mayRun(syscall.CLONE_NEWUSER) {
			return // then all of this runs without them
		}
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}}
		run(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
			Credential: &syscall.Credential{NoSetGroups: true}},
			"sh", "-c", `echo 0 >/proc/sys/user/max_user_namespaces &&
				exec env `+noNamespaces+`=1 setpriv --bounding-set=-all --inh-caps=-all "$0" "$@"`, bin)
	})
}

// TestNice holds that weights count from the niceness of an engine that is nice itself.
func TestNice(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nice", "-n", "5", self, "-test.run", "TestConformance/(Limits|Adopt)$")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestSandbox holds that what the host allows is used, and said.
func TestSandbox(t *testing.T) {
	h := open(t, t.Name())
	defer h.Close()
	info, err := h.Info()
	if err != nil {
		t.Fatal(err)
	}
	s := strings.Join(info.Sandbox, ", ")
	if !strings.Contains(s, "seccomp") {
		t.Errorf("sandbox: %s", s)
	}
	if got, want := strings.Contains(s, "network namespace"), os.Getenv(noNamespaces) == "" && mayUnshare(); got != want {
		t.Errorf("sandbox: %s; namespaces wanted: %v", s, want)
	}
}

// mayUnshare tells whether this process may make network namespaces, with or without a user namespace.
func mayUnshare() bool {
	return mayRun(syscall.CLONE_NEWNET) || mayRun(syscall.CLONE_NEWUSER|syscall.CLONE_NEWNET)
}

// mayRun tells whether a process can be started in namespaces of its own.
func mayRun(flags uintptr) bool {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd.Run() == nil
}

// publicDir is a folder that everybody may look into; t.TempDir is not.
func publicDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "kx-hosted-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}
