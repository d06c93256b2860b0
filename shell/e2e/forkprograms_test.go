package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Deep chains, wide trees, and as much memory as a family's members share: what is too much for every run of
// the guest test program.
func TestUsertestsOfFork(t *testing.T) {
	h := newHome(t)
	image := filepath.Join(root, "guest/test/usertests.kx")
	// On Xen a child of this program has some 6 MiB of its own, and the lab less than 2 GiB for all.
	wide := "500"
	if where == "xen" {
		wide = "150"
	}
	for _, args := range [][]string{
		{"-m", "16M", image, "-n", wide, "fork_many", "fork_deep", "fork_generations", "fork_stacks", "fork_memory", "fork_protection"},
		{"-m", "192M", image, "fork_big"},
	} {
		if out, errs, code := h.run(t, append([]string{"run"}, args...)...); code != 0 || !strings.Contains(out, " passed, 0 failed") {
			t.Errorf("%q: status %d\n%s%s", args, code, out, errs)
		}
	}
}

// Robust mutexes, cases of pipes, signals and waits, and what many of each shared thing leave: what takes its time.
func TestUsertestsOfIPC(t *testing.T) {
	h := newHome(t)
	image := filepath.Join(root, "guest/test/usertests.kx")
	n := strconv.Itoa(max(50/slowness, 5))
	for _, tests := range []string{
		"robust_thread robust_given_up robust_ends robust_waiters robust_read_only robust_lists robust_threads robust_not robust_count",
		"shm_read_only kill_each kill_cannot_be_caught pipe_no_descriptors pipe_readers pipe_wakes_readers wait_errors fork_numbers fork_environment pipe_io",
		"wait_many wait_groups wait_busy waitid_which kill_caught vfork_same kill_group set_group",
		"msg_copy sem_permissions sem_undo_thread shm_addresses shm_both shm_permissions msg_no_room sem_no_room shm_no_room",
		"cycles_queues cycles_semaphores cycles_segments cycles_mappings",
		"cycles_pipes cycles_pairs cycles_eventfds cycles_files",
	} {
		if out, errs, code := h.run(t, append([]string{"run", "-m", "64M", image, "-n", n}, strings.Fields(tests)...)...); code != 0 || !strings.Contains(out, " passed, 0 failed") {
			t.Errorf("%s: status %d\n%s%s", tests, code, out, errs)
		}
	}
}

// Random trees of forks, random writes in all members: what each has in memory is what a model says, natively
// and in pVMs alike.
func TestForkTree(t *testing.T) {
	h := newHome(t)
	image, native := h.compileFork(t, "tree"), h.program(t, filepath.Join(root, "shell/e2e/testdata/fork/tree.c"), "-O2")
	// On Xen a family is smaller: a few children at a time, on an emulated machine.
	const ops = 4000
	trees, shape := max(3/slowness, 1), []string{"3", "6"}
	if where == "xen" {
		shape = []string{"1", "6"}
	}
	line := regexp.MustCompile(`^tree: member \S+ ops (\d+) sum [0-9a-f]{16}$`)
	for range trees {
		seed := strconv.FormatUint(rand.Uint64(), 10)
		t.Run(seed, func(t *testing.T) {
			args := append([]string{seed, strconv.Itoa(ops)}, shape...)
			got, errs, code := h.run(t, append([]string{"run", "-m", "16M", image}, args...)...)
			lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
			did := 0
			for _, l := range lines {
				if m := line.FindStringSubmatch(l); m != nil {
					did += number(t, m[1])
				}
			}
			if code != 0 || errs != "" || did != ops {
				t.Fatalf("tree %q: status %d, %d operations of %d\n%s%s", args, code, did, ops, got, errs)
			}
			t.Logf("%d members", len(lines))
			out, err := exec.Command(native, args...).Output()
			if err != nil {
				t.Fatalf("native: %v\n%s", err, out)
			}
			want := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			slices.Sort(lines)
			slices.Sort(want)
			if !slices.Equal(lines, want) {
				t.Errorf("tree %q:\n%s\nnatively:\n%s", args, strings.Join(lines, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// A store that saves itself from a forked child: what is saved is what was there at the fork, whatever became of it
// before it was written.
func TestSnapkv(t *testing.T) {
	h := newHome(t)
	in := "fill 2000\nset name 1\nhold -\nchurn 20000\nset name 2\ndel k7\nhold /tmp/other\nget name\nwait\nget k7\nsum\n"
	out, errs, code := h.runInput(t, in, "run", "-i", filepath.Join(root, "guest/apps/snapkv.kx"))
	if code != 0 || errs != "" {
		t.Fatalf("status %d: %s%s", code, out, errs)
	}
	for _, want := range []string{
		"saving version 2001\n", "version 2001: 2001 keys, sum 2000001: saved\n", "2 saves, 0 bad", "\nname 1\n", "\n2\n", "\nno k7\n", "\nk7 1000\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(regexp.MustCompile(`(?m)^k\d+ .*\n`).Split(out, -1), ""))
		}
	}
	saved := regexp.MustCompile(`(?m)^k\d+ 1000$`).FindAllString(out, -1)
	if len(saved) != 2000 || strings.Contains(out, "\nname 2\n") || strings.Contains(out, "NOT") {
		t.Errorf("%d keys were saved as they were at the fork", len(saved))
	}
}

// Debian's dash, unmodified, says in a pVM what it says natively: subshells, jobs, wait, traps.
func TestDashLikeNative(t *testing.T) {
	h := newHome(t)
	for _, script := range scripts(t, "dash", ".sh") {
		t.Run(filepath.Base(script), func(t *testing.T) {
			code, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			portOf("dash", "dash").likeNative(t, h, []string{"-m", "16M"}, string(code))
		})
	}
}

// The processes of a shell in a pVM are those of its family. What is not in it cannot be run, and it says so.
func TestDashFamily(t *testing.T) {
	h := newHome(t)
	dash := filepath.Join(root, "guest/ports/dash/dash.kx")
	pid := h.launch(t, "--name", "dash", dash, "-c", "(while :; do :; done) & (while :; do :; done) & wait; echo all")
	list := h.awaitMembers(t, pid, 3)
	if out := h.output(t, "ps", "--forest", "--no-headers", "-o", "ppid,name"); strings.Count(out, fmt.Sprint(pid, "  \\_ dash\n")) != 2 {
		t.Errorf("ps --forest:\n%s", out)
	}
	for _, p := range list {
		if p.PID == p.Family {
			continue
		}
		h.output(t, "kill", strconv.Itoa(p.PID))
	}
	if out := h.output(t, "-c", fmt.Sprintf("wait %[1]d; echo $?; logs %[1]d", pid)); out != "0\nall\n" {
		t.Errorf("its end: %q", out)
	}
	// Members of another family are not there for kill.
	other := h.launch(t, filepath.Join(root, "guest/apps/spin.kx"))
	script := fmt.Sprintf("kill -0 %[1]d; echo $?; kill -9 %[1]d; echo $?; ls; echo $?; exec ls", other)
	out, errs, code := h.run(t, "run", dash, "-c", script)
	if out != "1\n1\n127\n" || code != 126 || strings.Count(errs, ": kill: No such process\n") != 2 || !strings.Contains(errs, ": ls: not found\n") ||
		!strings.Contains(errs, "execve) is not supported") || !strings.HasSuffix(errs, ": exec: ls: Function not implemented\n") {
		t.Errorf("status %d: %q %q", code, out, errs)
	}
	h.output(t, "kill", "-9", strconv.Itoa(other))
}
