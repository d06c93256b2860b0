package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kxsh/ipc/abi"
)

func (h *home) compileVolume(t *testing.T) string {
	t.Helper()
	return h.image(t, volumeSource, volumeFlags...)
}

var (
	volumeSource = filepath.Join(root, "shell/e2e/testdata/volume/volume.c")
	volumeFlags  = []string{"-O2", "-Wall", "-Wextra", "-Werror"}
)

// folder makes a folder of the host.
func (h *home) folder(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(h.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// clerk is a volume.kx that does what it is told.
type clerk struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (h *home) clerk(t *testing.T, args ...string) *clerk {
	t.Helper()
	c := &clerk{t: t, cmd: h.command(append(append([]string{"run", "-i", "--name", "clerk"}, args...), h.compileVolume(t))...)}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	c.cmd.Stderr = io.Discard
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// line is the next that it says.
func (c *clerk) line() string {
	c.t.Helper()
	got := make(chan string, 1)
	go func() {
		s, _ := c.out.ReadString('\n')
		got <- strings.TrimSuffix(s, "\n")
	}()
	select {
	case s := <-got:
		return s
	case <-time.After(2 * patience):
		c.cmd.Process.Kill()
		c.t.Fatal("it says nothing")
		return ""
	}
}

// does has it do something, and expects what it says of it: nothing in particular if want is empty.
func (c *clerk) does(command, want string) string {
	c.t.Helper()
	fmt.Fprintln(c.in, command)
	got := c.line()
	if want != "" && got != want {
		c.t.Errorf("%s: %q, want %q", command, got, want)
	}
	return got
}

func (c *clerk) end() {
	c.t.Helper()
	c.in.Close()
	io.Copy(io.Discard, c.out)
	if err := c.cmd.Wait(); err != nil {
		c.t.Error(err)
	}
}

func failed(no unix.Errno) string { return fmt.Sprintf("error %d", int(no)) }

// volumeScript is a random list of commands for volume.c, on few names, so that they meet.
func volumeScript(seed int64, n int) string {
	r := rand.New(rand.NewSource(seed))
	var s strings.Builder
	name := func() string {
		p := string("abcd"[r.Intn(4)])
		if r.Intn(3) == 0 {
			p = "d" + "/" + p
		}
		if r.Intn(12) == 0 {
			p = "d/../" + p
		}
		return p
	}
	slot := func() int { return r.Intn(4) }
	flags := []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_RDWR | unix.O_CREAT, unix.O_RDWR | unix.O_CREAT | unix.O_EXCL,
		unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC, unix.O_RDWR | unix.O_CREAT | unix.O_APPEND, unix.O_RDONLY | unix.O_DIRECTORY}
	modes := []string{"644", "600", "755", "444", "200"}
	for range n {
		switch r.Intn(26) {
		case 0, 1, 2, 3, 4:
			fmt.Fprintf(&s, "open %d %s %d %s\n", slot(), name(), flags[r.Intn(len(flags))], modes[r.Intn(len(modes))])
		case 5, 6:
			fmt.Fprintf(&s, "pwrite %d %d %d %d\n", slot(), r.Intn(300000), r.Intn(200000), r.Intn(256))
		case 7, 8:
			fmt.Fprintf(&s, "write %d %d %d\n", slot(), r.Intn(5000), r.Intn(256))
		case 9, 10:
			fmt.Fprintf(&s, "pread %d %d %d\n", slot(), r.Intn(300000), r.Intn(300000))
		case 11:
			fmt.Fprintf(&s, "read %d %d\n", slot(), r.Intn(5000))
		case 12:
			fmt.Fprintf(&s, "seek %d %d %d\n", slot(), r.Intn(4000)-1000, r.Intn(3))
		case 13:
			fmt.Fprintf(&s, "ftruncate %d %d\n", slot(), r.Intn(200000))
		case 14:
			fmt.Fprintf(&s, "fstat %d\nfsync %d\n", slot(), slot())
		case 15:
			fmt.Fprintf(&s, "append %d %d\n", slot(), r.Intn(2))
		case 16:
			fmt.Fprintf(&s, "stat %s\nlstat %s\n", name(), name())
		case 17:
			fmt.Fprintf(&s, "chmod %s %s\n", name(), modes[r.Intn(len(modes))])
		case 18:
			fmt.Fprintf(&s, "times %s %d %d\nlstat %s\n", name(), r.Intn(1000), r.Intn(1000000000), name())
		case 19:
			fmt.Fprintf(&s, "mkdir %s 755\n", name())
		case 20:
			fmt.Fprintf(&s, "rmdir %s\n", name())
		case 21:
			fmt.Fprintf(&s, "unlink %s\n", name())
		case 22:
			fmt.Fprintf(&s, "rename %s %s\n", name(), name())
		case 23:
			fmt.Fprintf(&s, "link %s %s\n", name(), name())
		case 24:
			fmt.Fprintf(&s, "symlink %s %s\nreadlink %s\n", name(), name(), name())
		case 25:
			fmt.Fprintf(&s, "ls .\nls d\ntruncate %s %d\n", name(), r.Intn(10000))
		}
	}
	return s.String() + "ls .\nls d\n"
}

// tree is what is below a folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fmt.Fprintf(&s, "%s %v", rel, fi.Mode())
		switch {
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&s, " %d %x", len(b), len(bytes.Trim(b, "\x00")))
		case fi.Mode()&os.ModeSymlink != 0:
			to, _ := os.Readlink(p)
			s.WriteString(" -> " + to)
		}
		s.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}

// The same program does the same random things on this machine and, by -v, in a pVM: every result, error and byte is the same.
func TestVolumeLikeHost(t *testing.T) {
	h := newHome(t)
	image, program := h.compileVolume(t), h.program(t, volumeSource, volumeFlags...)
	for seed := int64(1); seed <= int64(max(12/slowness, 2)); seed++ {
		script := volumeScript(seed, max(1500/slowness, 300))
		here, there := h.folder(t, fmt.Sprint("here", seed)), h.folder(t, fmt.Sprint("there", seed))
		cmd := exec.Command(program)
		cmd.Dir, cmd.Stdin = here, strings.NewReader(script)
		want, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		got, errs, code := h.runInput(t, "chdir /data\n"+script, "run", "-i", "-v", there+":/data", image)
		if code != 0 || errs != "" {
			t.Fatalf("status %d: %s", code, errs)
		}
		commands := strings.Split("chdir\n"+script, "\n")
		wants, gots := strings.Split("0\n"+string(want), "\n"), strings.Split(got, "\n")
		for i := range wants {
			if i >= len(gots) || gots[i] != wants[i] {
				t.Fatalf("seed %d, command %d, after\n%s\nin the pVM %q, here %q", seed, i,
					strings.Join(commands[max(0, i-40):min(i+1, len(commands))], "\n"), gots[min(i, len(gots)-1)], wants[i])
			}
		}
		if a, b := tree(t, here), tree(t, there); a != b {
			t.Fatalf("seed %d: here\n%s\nin the pVM's folder\n%s", seed, a, b)
		}
	}
}

// What is outside of the folder is not reached, by .., by symbolic links or by what is no file; with :ro nothing is changed.
func TestVolumeConfined(t *testing.T) {
	h := newHome(t)
	dir, ro := h.folder(t, "data"), h.folder(t, "ro")
	secret := filepath.Join(h.dir, "secret")
	writeFile(t, secret, "secret")
	writeFile(t, filepath.Join(ro, "kept"), "kept")
	for link, to := range map[string]string{"absolute": secret, "relative": "../secret", "passwd": "/etc/passwd", "dir": ".."} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	c := h.clerk(t, "-v", dir+":/data", "-v", ro+":/srv/ro/:ro")
	c.does("cat /data/absolute", failed(unix.ENOENT)) // there is no such file in the pVM
	c.does("cat /data/relative", failed(unix.ENOENT))
	c.does("cat /data/../secret", failed(unix.ENOENT))
	c.does("cat /data/dir/secret", failed(unix.ENOENT))
	if got := c.does("cat /data/passwd", ""); got != "root:x:0:0:root:/root:/bin/sh" {
		t.Errorf("the pVM's passwd, by a link: %q", got)
	}
	c.line()
	c.line()
	c.does("cat /data/fifo", failed(unix.ENXIO))
	c.does("mkfifo /data/other", failed(unix.EPERM))
	c.does("chmod /data/fifo 4777", "0")
	if fi, err := os.Stat(filepath.Join(dir, "fifo")); err != nil || fi.Mode()&os.ModeSetuid != 0 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	c.does("cat /srv/ro/kept", "kept")
	for _, command := range []string{
		"open 0 /srv/ro/kept 1 0", "open 0 /srv/ro/new 65 644", "open 0 /srv/ro/kept 512 0", "truncate /srv/ro/kept 0", "chmod /srv/ro/kept 600",
		"times /srv/ro/kept 1 1", "unlink /srv/ro/kept", "rename /srv/ro/kept /srv/ro/other", "link /srv/ro/kept /srv/ro/other",
		"symlink x /srv/ro/other", "mkdir /srv/ro/other 755",
	} {
		c.does(command, failed(unix.EROFS))
	}
	c.does("rename /srv/ro/kept /data/kept", failed(unix.EXDEV))
	c.does("rmdir /data", failed(unix.EBUSY))
	c.does("rename /data /other", failed(unix.EBUSY))
	c.does("room /data", "1")
	c.end()
	if b, err := os.ReadFile(filepath.Join(ro, "kept")); string(b) != "kept" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// Another engine goes on with open files, working directory and names that have changed; so does a child of fork.
func TestVolumeEngineKilled(t *testing.T) {
	h := newHome(t)
	dir := h.folder(t, "data")
	c := h.clerk(t, "-v", dir+":/data")
	c.does("chdir /data", "0")
	c.does("mkdir deep 755", "0")
	c.does("open 0 deep/file 66 644", "0")
	c.does("write 0 5 65", "5")
	c.does("open 1 log 1089 600", "0")
	c.does("write 1 2 66", "2")
	c.does("open 2 gone 66 644", "0")
	c.does("open 3 replaced 66 644", "0")
	c.does("rename deep/file deep/moved", "0")
	c.does("rename deep far", "0")
	c.does("unlink gone", "0")
	c.does("pwrite 2 0 3 67", "3")
	c.does("ftruncate 2 2", "0")
	h.killEngine(t)
	os.Remove(filepath.Join(dir, "replaced"))
	writeFile(t, filepath.Join(dir, "another"), "")
	writeFile(t, filepath.Join(dir, "replaced"), "somebody else's")
	h.run(t, "ps") // the next one
	c.does("write 0 5 68", "5")
	c.does("write 1 2 69", "2")
	c.does("pwrite 2 0 1 1", failed(unix.ESTALE))
	c.does("pwrite 3 0 1 1", failed(unix.ESTALE))
	c.does("fsync 0", "0")
	c.does("cat far/moved", "AAAAADDDDD")
	c.does("cat log", "BBEE")
	c.does("fork write 0 2 70", "2")
	c.line()
	c.does("fork append 1 1", "0")
	c.line()
	c.does("fork pread 0 0 3", "")
	c.line()
	c.does("write 0 1 71", "1") // behind what the child wrote
	c.does("fork cat far/moved", "AAAAADDDDDFFG")
	c.line()
	c.end()
}

// No record that was told to be on disk is missing or torn when the engine is killed while they are written.
func TestVolumeEngineKilledWhileWriting(t *testing.T) {
	h := newHome(t)
	dir := h.folder(t, "data")
	c := h.clerk(t, "-v", dir+":/data")
	const records = 400
	fmt.Fprintf(c.in, "churn /data/records %d\nstat /data/records\n", records)
	for i := range records {
		if got := c.line(); got != fmt.Sprint("told ", i) { // once each, whenever the engine died
			t.Fatalf("record %d: %q", i, got)
		}
		if i%100 == 30 {
			h.killEngine(t)
			h.run(t, "ps")
		}
	}
	c.line()
	c.end()
	b, err := os.ReadFile(filepath.Join(dir, "records"))
	if err != nil || len(b) != records*512 {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	for i := 0; i < len(b); i += 8 {
		if n := binary.LittleEndian.Uint64(b[i:]); n != uint64(i/512) {
			t.Fatalf("record %d has %d at %d", i/512, n, i%512)
		}
	}
}

// What several pVMs append to one file at the same time is all there, each piece whole.
func TestVolumeTogether(t *testing.T) {
	h := newHome(t)
	dir, image := h.folder(t, "data"), h.compileVolume(t)
	const pvms, pieces, size = 4, 60, 3000
	var all sync.WaitGroup
	for i := range pvms {
		all.Go(func() {
			script := "open 0 /data/log 1089 644\n" + strings.Repeat(fmt.Sprintf("write 0 %d %d\n", size, 'a'+i), pieces)
			cmd := h.command("run", "-i", "-v", dir+":/data", image)
			cmd.Stdin = strings.NewReader(script)
			out, err := cmd.Output()
			if want := "0\n" + strings.Repeat(fmt.Sprintln(size), pieces); err != nil || string(out) != want {
				t.Errorf("pVM %d: %q, %v", i, out, err)
			}
		})
	}
	all.Wait()
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || len(b) != pvms*pieces*size {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	for at := 0; at < len(b); at += size {
		if p := b[at:][:size]; !bytes.Equal(p, bytes.Repeat(p[:1], size)) {
			t.Fatalf("the piece at %d is torn", at)
		}
	}
}

// Files are used as the engine's user, whoever the program takes itself for.
func TestVolumeUser(t *testing.T) {
	onlyOn(t, "hosted", "Xen is root's: TestVolumeConfined")
	h := newUserHome(t)
	dir := h.folder(t, "data")
	writeFile(t, filepath.Join(dir, "closed"), "closed")
	uid := os.Geteuid()
	if h.uid != 0 {
		uid = h.uid
		chown(t, dir, uid)
	}
	c := h.clerk(t, "-v", dir+":/data")
	c.does("open 0 /data/own 66 444", "0")
	c.does("write 0 3 65", "3")
	c.does("open 1 /data/own 1 0", failed(unix.EACCES))
	if h.uid != 0 {
		c.does("chmod /data/closed 666", failed(unix.EPERM))
		c.does("open 1 /data/closed 1 0", failed(unix.EACCES))
	}
	c.end()
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "own"), &st); err != nil || int(st.Uid) != uid || st.Mode&0o7777 != 0o444 || st.Size != 3 {
		t.Errorf("%+v, %v", st, err)
	}
}

// A folder that is removed, or has no room, is an error like on the host.
func TestVolumeLost(t *testing.T) {
	h := newHome(t)
	dir, small := h.folder(t, "data"), h.folder(t, "small")
	full := unix.Mount("tmpfs", small, "tmpfs", 0, "size=256k") == nil
	if full {
		defer unix.Unmount(small, unix.MNT_DETACH)
	}
	c := h.clerk(t, "-v", dir+":/data", "-v", small+":/small")
	if full {
		c.does("open 0 /small/a 66 644", "0")
		c.does("pwrite 0 0 300000 1", "262144")
		c.does("pwrite 0 262144 1 1", failed(unix.ENOSPC))
		c.does("unlink /small/a", "0")
		c.does("ftruncate 0 0", "0")
		c.does("pwrite 0 0 1000 1", "1000")
	}
	c.does("open 1 /data/a 66 644", "0")
	c.does("write 1 3 65", "3")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	c.does("cat /data/a", failed(unix.ENOENT))
	c.does("mkdir /data/b 755", failed(unix.ENOENT))
	c.does("ls /data", "")
	c.does("pread 1 0 3", "3 193449992")
	c.end()
}

// What cannot be mounted is refused in one line, and nothing runs.
func TestVolumeRefused(t *testing.T) {
	h := newHome(t)
	dir := h.folder(t, "data")
	file := filepath.Join(h.dir, "file")
	writeFile(t, file, "")
	hello := filepath.Join(root, "guest/apps/hello.kx")
	for _, c := range []struct {
		volumes []string
		code    int
		want    string
	}{
		{[]string{"nowhere:/data"}, 1, "run: -v " + h.dir + "/nowhere:/data: " + h.dir + "/nowhere: no such folder, or not one of the engine's user: make it first\n"},
		{[]string{"file:/data"}, 1, "run: -v " + file + ":/data: " + file + ": not a folder: give the one that it is in\n"},
		{[]string{"data:data"}, 1, "run: -v " + dir + ":data: data: not an absolute path\n"},
		{[]string{"data:/"}, 1, "run: -v " + dir + ":/: the root is the pVM's own: name a folder below it\n"},
		{[]string{"data:/proc/x"}, 1, "run: -v " + dir + ":/proc/x: /proc is the pVM's own\n"},
		{[]string{"data:/a", "data:/a/"}, 1, "run: -v " + dir + ":/a/: /a is there already: give each folder a place of its own\n"},
		{[]string{"data:/a", "data:/a/b"}, 1, "run: -v " + dir + ":/a/b: /a is there already: give each folder a place of its own\n"},
		{[]string{"data"}, 2, "run: -v data: not HOSTDIR:PATH or HOSTDIR:PATH:ro"},
		{[]string{"data:/a:wr"}, 2, "run: -v data:/a:wr: not HOSTDIR:PATH or HOSTDIR:PATH:ro"},
	} {
		args := []string{"run"}
		for _, v := range c.volumes {
			args = append(args, "-v", v)
		}
		if out, errs, code := h.run(t, append(args, hello)...); code != c.code || out != "" || !strings.HasPrefix(errs, c.want) {
			t.Errorf("%q: status %d, %q, want %d, %q", c.volumes, code, errs, c.code, c.want)
		}
	}
	if _, errs, code := h.run(t, "run", "--recycle", "-v", dir+":/data", hello); code != 1 || errs != "run: -v: a domain that is used again has no folders of the host: leave out --recycle\n" {
		t.Errorf("--recycle: status %d, %q", code, errs)
	}
	many := []string{"run"}
	for i := range abi.Mounts + 1 {
		many = append(many, "-v", fmt.Sprintf("%s:/m%d", dir, i))
	}
	if _, errs, code := h.run(t, append(many, hello)...); code != 1 || errs != "run: -v: 9 folders, at most 8\n" {
		t.Errorf("too many: status %d, %q", code, errs)
	}
	if _, errs, code := h.run(t, "run", "-v", dir+":/etc/passwd", h.compileVolume(t)); code != 0 {
		t.Errorf("one that opens no file does not mount: %d, %q", code, errs)
	}
	_, errs, code := h.runInput(t, "cat /x\n", "run", "-i", "-v", dir+":/etc/passwd", h.compileVolume(t))
	if code == 0 || !strings.Contains(errs, "-v: cannot mount at /etc/passwd: it is a file, or below one") {
		t.Errorf("over a file: status %d, %q", code, errs)
	}
	pid := strings.TrimSpace(h.output(t, "run", "-d", "-v", dir+":/data:ro", "-v", "data:/other", filepath.Join(root, "guest/apps/spin.kx")))
	if _, err := strconv.Atoi(pid); err != nil {
		t.Fatal(err)
	}
	if out := h.output(t, "inspect", pid); !strings.Contains(out, dir+" at /data, read-only\n") || !strings.Contains(out, dir+" at /other\n") {
		t.Errorf("inspect shows %s", out)
	}
}

// A pVM that speaks to the server of its folders by itself, and not by the rules, touches nothing but those, and harms nobody.
func TestVolumeHostile(t *testing.T) {
	a := newArena(t)
	dir := a.folder(t, "data/in")
	writeFile(t, filepath.Join(a.dir, "data", "outside"), "outside")
	writeFile(t, filepath.Join(dir, "a"), "a")
	if err := os.Symlink("../outside", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	files := fmt.Sprint(abi.ControlVa + unsafe.Offsetof(abi.KxControl{}.Files))
	image := a.compile(t, "requests")
	before, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range max(4/slowness, 1) {
		e, _ := a.finish(t, "-v", dir+":/data", image, files, fmt.Sprint(seed), fmt.Sprint(1000/slowness))
		if e.code != 0 || e.stdout != "1\n" {
			t.Errorf("seed %d: status %d, %q, %q", seed, e.code, e.stdout, e.errs)
		}
	}
	if e, pid := a.finish(t, "-v", dir+":/data", image, files); e.code != 137 {
		t.Errorf("a request without a size: status %d, %q", e.code, e.stdout)
	} else if out := a.output(t, "events"); !strings.Contains(out, "a request of folders of 4294967295 bytes") {
		t.Errorf("%s: no event", pid)
	}
	left, err := os.ReadDir(filepath.Join(a.dir, "data"))
	text, _ := os.ReadFile(filepath.Join(a.dir, "data", "outside"))
	after, _ := os.ReadFile("/etc/passwd")
	if err != nil || len(left) != 2 || string(text) != "outside" || !bytes.Equal(before, after) {
		t.Errorf("outside of the folder: %v, %q, %v", left, text, err)
	}
}

// All bytes of a large file come and go, in a time that the log tells.
func TestVolumeSpeed(t *testing.T) {
	h := newHome(t)
	c := h.clerk(t, "-v", h.folder(t, "data")+":/data")
	var written, read, small, stat int64
	said := c.does(fmt.Sprintf("speed /data/large %d", max(64/slowness, 8)), "")
	if n, err := fmt.Sscan(said, &written, &read, &small, &stat); n != 4 {
		t.Fatalf("%q: %v", said, err)
	}
	t.Logf("MB/s written %d, read %d; µs of a small read %d, of a stat %d", written/1e6, read/1e6, small/1e3, stat/1e3)
	c.end()
}

// A request is answered whether the server is just looking for it, about to sleep, or asleep; with an engine that follows one that was killed, too, and
// where looking is forbidden.
func TestVolumeHalting(t *testing.T) {
	h := newHome(t)
	dir := h.folder(t, "data")
	writeFile(t, filepath.Join(dir, "file"), "x")
	c := h.clerk(t, "-v", dir+":/data")
	n := max(4000/slowness, 200)
	halting := fmt.Sprintf("halting /data/file %d", n)
	c.does(halting, fmt.Sprint(n))
	h.killEngine(t)
	h.run(t, "ps")
	c.does(halting, fmt.Sprint(n))
	h.output(t, "limit", "--no-spin", "clerk")
	c.does(halting, fmt.Sprint(n))
	c.end()
}

// A restarted pVM has the folders again.
func TestVolumeRestart(t *testing.T) {
	h := newHome(t)
	dir := h.folder(t, "data")
	c := h.clerk(t, "-v", dir+":/data", "--restart", "always")
	c.does("mkdir /data/a 755", "0")
	c.end()
	await(t, "the next one", func() (bool, string) {
		out, _, _ := h.run(t, "inspect", "clerk")
		return strings.Contains(out, dir+" at /data\n") && strings.Contains(out, "instead of"), out
	})
}
