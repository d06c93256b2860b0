package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody is the user that the tests of an ordinary user run as when the suite runs as root.
const nobody = 65534

// newUserHome makes a home of an ordinary user, with copies of kxsh and the example images, since
// that user may not be able to read ours.
func newUserHome(t *testing.T) *home {
	h := newHome(t)
	apps := filepath.Join(h.dir, "apps")
	h.copyTo(t, h.dir, kxsh)
	images, err := filepath.Glob(filepath.Join(root, "guest/apps/*.kx"))
	if err != nil || len(images) == 0 {
		t.Fatalf("no example images: %v", err)
	}
	h.copyTo(t, apps, images...)
	h.bin = filepath.Join(h.dir, filepath.Base(kxsh))
	h.env = append(h.env, "APPS="+apps, "PATH="+h.dir+":"+os.Getenv("PATH"), "XDG_CACHE_HOME="+filepath.Join(h.dir, "cache"))
	if os.Geteuid() == 0 {
		h.uid = nobody
		chown(t, h.dir, nobody)
	}
	return h
}

func (h *home) copyTo(t *testing.T, dir string, files ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// chown gives a file or a folder to a user; what is in a folder stays ours and readable.
func chown(t *testing.T, path string, uid int) {
	t.Helper()
	if err := os.Chown(path, uid, uid); err != nil {
		t.Fatal(err)
	}
}

// An ordinary user does everything that root does: no privilege is needed.
func TestOrdinaryUser(t *testing.T) {
	onlyOn(t, "hosted", "Xen is root's: TestOrdinaryUserOnXen")
	h := newUserHome(t)
	uid := h.uid
	if uid == 0 {
		uid = os.Geteuid()
	}
	if out := h.output(t, "-c", "p=$(run -d $APPS/hello.kx); wait $p; echo $?; logs $p"); out != "0\nHello from a pVM\n" {
		t.Errorf("the main job: %q", out)
	}
	if got := strings.TrimSpace(h.output(t, "-c", "ps -e --no-headers -o uid")); got != fmt.Sprint(uid) {
		t.Errorf("ps says uid %s, want %d", got, uid)
	}
	info := h.info(t)
	if fi, err := os.Stat(fmt.Sprintf("/proc/%d", info.PID)); err != nil || int(fi.Sys().(*syscall.Stat_t).Uid) != uid {
		t.Errorf("the engine is not uid %d's: %v", uid, err)
	}
	if fi, err := os.Stat(h.socket()); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", fi, err)
	}

	h.write(t, "sum.c", []byte("#include <stdio.h>\nint main(void) { int n, s = 0; while (scanf(\"%d\", &n) == 1) s += n; printf(\"%d\\n\", s); return s; }\n"))
	if out, errs, _ := h.run(t, "-c", "kxsh cc -O2 -o sum.kx sum.c && seq 1 8 | run -i ./sum.kx; echo $?"); out != "36\n36\n" {
		t.Errorf("compiled and run: %q %s", out, errs)
	}
	if out, errs, _ := h.run(t, "-c", "run $APPS/spin.kx & kill -TERM $!; wait $!; echo $?; run $APPS/crash.kx null 2>/dev/null; echo $?"); out != "143\n139\n" {
		t.Errorf("signal and fault: %q %s", out, errs)
	}

	pids := strings.Fields(h.output(t, "-c", "run -d --name t $APPS/tick.kx; run -d --name s $APPS/spin.kx"))
	await(t, "a tick", func() (bool, string) {
		out := h.output(t, "logs", "t")
		return strings.Contains(out, "tick 1\n"), out
	})
	h.killEngine(t)
	if got := strings.Fields(h.output(t, "ps", "--no-headers", "-o", "pid,name")); fmt.Sprint(got) != fmt.Sprintf("[%s t %s s]", pids[0], pids[1]) {
		t.Errorf("ps after the engine's death: %q", got)
	}
	if out := h.output(t, "-c", "kill t; wait "+pids[0]+"; echo $?; kill -9 s; wait "+pids[1]+"; echo $?"); out != "0\n137\n" {
		t.Errorf("adopted pVMs end with %q", out)
	}
	if out := h.output(t, "logs", pids[0]); !strings.HasPrefix(out, "tick 1\n") || !strings.HasSuffix(out, "tick: told to stop\n") {
		t.Errorf("the log of an adopted pVM: %q", out)
	}
}

// On Xen an ordinary user is told what is missing, in one line.
func TestOrdinaryUserOnXen(t *testing.T) {
	onlyOn(t, "xen", "without Xen nobody needs privileges: TestOrdinaryUser")
	h := newUserHome(t)
	for _, args := range [][]string{{"ps"}, {"info"}, {"run", filepath.Join(h.dir, "apps/hello.kx")}} {
		out, errs, code := h.run(t, args...)
		if want := args[0] + ": engine: cannot start: xen: /dev/xen/privcmd: permission denied: be root, or use --hypervisor hosted\n"; out != "" || errs != want || code == 0 {
			t.Errorf("%q: status %d: %s%s, want %s", args, code, out, errs, want)
		}
	}
	// One of another hypervisor is there for everybody.
	if out := h.output(t, "--hypervisor", "hosted", "-c", "run $APPS/hello.kx"); out != "Hello from a pVM\n" {
		t.Errorf("hosted in dom0: %q", out)
	}
}

// Without flags and variables everything is below the user's own folders.
func TestOrdinaryUsersPlaces(t *testing.T) {
	onlyOn(t, "hosted", "Xen is root's: TestOrdinaryUserOnXen")
	h := newUserHome(t)
	run := filepath.Join(h.dir, "run")
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	if h.uid != 0 {
		chown(t, run, h.uid)
	}
	cmd := h.command("info")
	cmd.Env = nil
	for _, kv := range h.env {
		if !strings.HasPrefix(kv, "KXSH_S") && !strings.HasPrefix(kv, "XDG_") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+run)
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err != nil || os.Geteuid() == 0 && h.uid == 0 {
		t.Fatalf("%v: %s", err, text)
	}
	for _, want := range []string{run + "/kxsh/engine.sock\n", h.dir + "/.local/state/kxsh\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("info does not say %q:\n%s", want, text)
		}
	}
	h.env = append(h.env, "KXSH_SOCKET="+run+"/kxsh/engine.sock")
	pid := infoAt(t, run+"/kxsh/engine.sock").PID
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if !gone(pid, patience) {
		t.Errorf("engine %d does not leave on SIGTERM", pid)
	}
}

// An engine is its user's and root's; others are told whose it is.
func TestEngineOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // it takes two users
	}
	roots, users := newHome(t), newUserHome(t)
	if err := os.Chmod(roots.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	roots.output(t, "run", "-d", "--name", "roots", filepath.Join(root, "guest/apps/spin.kx"))
	for _, args := range [][]string{{"ps"}, {"kill", "1"}, {"run", "x.kx"}} {
		out, errs, code := users.run(t, append([]string{"--socket", roots.socket()}, args...)...)
		want := fmt.Sprintf("%s: engine: %s: permission denied: it belongs to user root: name another with --socket\n", args[0], roots.socket())
		if out != "" || errs != want || code == 0 {
			t.Errorf("%q: status %d: %s%s, want %s", args, code, out, errs, want)
		}
	}
	if err := os.Chmod(roots.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := users.run(t, "--socket", roots.socket(), "ps"); code == 0 || !strings.Contains(errs, "belongs to user root") {
		t.Errorf("a socket in root's folder: status %d: %s", code, errs)
	}

	// Permissions aside, the engine itself looks who is there.
	if err := os.Chmod(roots.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(roots.socket(), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := users.run(t, "--socket", roots.socket(), "ps"); code == 0 || errs != "ps: engine: belongs to user root: name another with --socket\n" {
		t.Errorf("a socket that anybody may open: status %d: %s", code, errs)
	}
}

// Root may use everybody's engine.
func TestRootUsesAUsersEngine(t *testing.T) {
	onlyOn(t, "hosted", "Xen is root's: TestOrdinaryUserOnXen")
	if os.Geteuid() != 0 {
		return // it takes two users
	}
	roots, users := newHome(t), newUserHome(t)
	users.output(t, "run", "-d", "--name", "users", filepath.Join(users.dir, "apps/spin.kx"))
	if out := roots.output(t, "--socket", users.socket(), "ps", "--no-headers", "-o", "name,uid"); strings.Join(strings.Fields(out), " ") != fmt.Sprint("users ", nobody) {
		t.Errorf("root sees of the user's engine: %q", out)
	}
	if out := roots.output(t, "--socket", users.socket(), "-c", "p=$(pidof users); kill -9 $p; wait $p; echo $?"); out != "137\n" {
		t.Errorf("root kills the user's pVM: %q", out)
	}
}
