package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the transcripts in testdata. In a transcript [hosted] and [xen] say where it runs.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			if where == "hosted" { // on Xen all engines share one table of domains
				t.Parallel()
			}
			testscript.RunT(scriptT{t}, testscript.Params{
				Files:               []string{file},
				Deadline:            time.Now().Add(patience), // a script that hangs fails with what it has shown
				RequireExplicitExec: true,
				Setup: func(env *testscript.Env) error {
					h := newHome(t)
					env.Vars = append(env.Vars, h.env...)
					env.Vars = append(env.Vars, "WORK="+env.WorkDir, "HYPERVISOR="+where)
					return nil
				},
				Condition: func(cond string) (bool, error) {
					switch cond {
					case "hosted", "xen":
						return cond == where, nil
					}
					return false, fmt.Errorf("unknown condition %q", cond)
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"truncate": truncateFile,
					"patch":    patchFile,
				},
			})
		})
	}
}

// scriptT has testscript run its one file as the test itself.
type scriptT struct{ *testing.T }

func (t scriptT) Parallel()                          {}
func (t scriptT) Run(_ string, f func(testscript.T)) { f(t) }
func (t scriptT) Verbose() bool                      { return false }

// truncateFile is `truncate FILE SIZE` in a script.
func truncateFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: truncate FILE SIZE")
	}
	n, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

// patchFile is `patch FILE OFFSET BYTE…` in a script.
func patchFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: patch FILE OFFSET BYTE…")
	}
	off, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	var b []byte
	for _, a := range args[2:] {
		v, err := strconv.ParseUint(a, 0, 8)
		ts.Check(err)
		b = append(b, byte(v))
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_WRONLY, 0)
	ts.Check(err)
	defer f.Close()
	_, err = f.WriteAt(b, off)
	ts.Check(err)
}
