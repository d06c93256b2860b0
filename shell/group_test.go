package shell

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Ctrl-Z stops a program wherever in its start it comes, before its exec, too, when nobody would hear of it.
func TestStopAtTheStart(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	list := fmt.Sprintf("/proc/self/task/%d/children", unix.Gettid())
	children := func() []string {
		data, _ := os.ReadFile(list)
		return strings.Fields(string(data))
	}
	if err := exec.Command("true").Run(); err != nil { // the first time Go makes another child, to see what Linux can do
		t.Fatal(err)
	}
	for i := range 100 {
		before := children()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				for _, child := range children() {
					if pid, err := strconv.Atoi(child); err == nil && !slices.Contains(before, child) {
						time.Sleep(time.Duration(i) * 5 * time.Microsecond)
						unix.Kill(pid, unix.SIGTSTP)
						return
					}
				}
			}
		}()
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := startQuietly(cmd); err != nil {
			t.Fatal(err)
		}
		<-done
		for end := time.Now().Add(time.Minute); !isStopped(cmd.Process.Pid); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("round %d: it goes on", i)
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
}
