package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// stream is what go test -json prints of a case that passes, one that is skipped, one with cases inside of which
// one fails, and one that does not end.
const stream = `{"Action":"start","Package":"kxsh/shell/e2e"}
{"Action":"run","Package":"kxsh/shell/e2e","Test":"TestPass"}
{"Action":"output","Package":"kxsh/shell/e2e","Test":"TestPass","Output":"noise\n"}
{"Action":"pass","Package":"kxsh/shell/e2e","Test":"TestPass","Elapsed":0.1}
{"Action":"run","Package":"kxsh/shell/e2e","Test":"TestSkip"}
{"Action":"output","Package":"kxsh/shell/e2e","Test":"TestSkip","Output":"    user_test.go:5: only on xen: it is root's\n"}
{"Action":"output","Package":"kxsh/shell/e2e","Test":"TestSkip","Output":"--- SKIP: TestSkip (0.00s)\n"}
{"Action":"skip","Package":"kxsh/shell/e2e","Test":"TestSkip","Elapsed":0}
{"Action":"run","Package":"kxsh/shell/e2e","Test":"TestTree"}
{"Action":"run","Package":"kxsh/shell/e2e","Test":"TestTree/good"}
{"Action":"pass","Package":"kxsh/shell/e2e","Test":"TestTree/good","Elapsed":0}
{"Action":"run","Package":"kxsh/shell/e2e","Test":"TestTree/bad"}
{"Action":"output","Package":"kxsh/shell/e2e","Test":"TestTree/bad","Output":"what is wrong\n"}
{"Action":"fail","Package":"kxsh/shell/e2e","Test":"TestTree/bad","Elapsed":0}
{"Action":"fail","Package":"kxsh/shell/e2e","Test":"TestTree","Elapsed":0}
a line of its own
{"Action":"run","Package":"kxsh/shell/e2e","Test":"TestHangs"}
`

func try(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out strings.Builder
	status, err := command(args, &out)
	if err != nil && status == 0 {
		t.Errorf("%q: status 0 and %v", args, err)
	}
	return out.String(), status
}

func TestRunAndTable(t *testing.T) {
	dir := t.TempDir()
	printed, file := filepath.Join(dir, "printed"), filepath.Join(dir, "kept/results.json")
	if err := os.WriteFile(printed, []byte(stream), 0o644); err != nil {
		t.Fatal(err)
	}
	out, status := try(t, "run", "-v", "-o", file, "--", "cat", printed)
	for _, want := range []string{"ok    TestPass (0.1s)\n", "skip  TestSkip (0.0s)  only on xen: it is root's\n", "what is wrong\n  FAIL  TestTree/bad", "a line of its own\n", "TestHangs: did not end\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("run does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "noise") || status != 1 {
		t.Errorf("status %d, want 1, without noise:\n%s", status, out)
	}
	out, _ = try(t, "table", "here="+file, "there="+filepath.Join(dir, "none"))
	var lines []string
	for line := range strings.Lines(out) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := `END TO END here there (not run)
TestHangs fail not run did not end
TestPass pass not run
TestSkip not run not run only on xen: it is root's
TestTree fail not run
TestTree/bad fail not run
TestTree/good pass not run
here: 2 pass, 3 fail, 1 not run
there (not run): 0 pass, 0 fail, 6 not run`
	if got := strings.Join(lines, "\n"); !strings.HasPrefix(got, want) {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
}

// The command's own failure is the run's, whatever its tests said.
func TestStatus(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	for _, c := range []struct {
		script string
		want   int
	}{
		{"true", 0}, {"exit 3", 3}, {`echo '{"Action":"start","Package":"p"}'`, 1},
		{`echo '{"Action":"fail","Package":"p"}'`, 1}, {`echo '{"Action":"start","Package":"p"}'; echo '{"Action":"pass","Package":"p"}'`, 0},
	} {
		if out, got := try(t, "run", "-o", file, "--", "sh", "-c", c.script); got != c.want {
			t.Errorf("%s: status %d, want %d\n%s", c.script, got, c.want, out)
		}
	}
	if _, status := try(t, "run", "--", "true"); status != 2 {
		t.Errorf("without a file: status %d, want 2", status)
	}
}

func TestGuest(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return file
	}
	list := write("calls.txt", "# of calls\ngood01 a b\nbad01 b c # the second\n\ngone01 d\nnone01 - nobody has it\n")
	native := write("native", "ok a\nnoise\nok b\nok c\nok d\n")
	pvm := write("pvm", "ok a\nok b\r\nFAIL c: x.c:1: broken\n")
	out, status := try(t, "guest", list, "native="+native, "pVM="+pvm)
	var lines []string
	for line := range strings.Lines(out) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	want := "CALLS.TXT native pVM\nbad01 pass fail c: x.c:1: broken\ngone01 pass fail d: did not end\ngood01 pass pass\n" +
		"none01 not run not run nobody has it\nnative: 3 pass, 0 fail, 1 not run\npVM: 1 pass, 2 fail, 1 not run\n"
	if got := strings.TrimSpace(strings.Join(lines, "\n")) + "\n"; got != want || status != 1 {
		t.Errorf("status %d, want 1:\n%s\nwant\n%s", status, got, want)
	}
	if out, status := try(t, "guest", list, "native="+native); status != 0 {
		t.Errorf("status %d, want 0:\n%s", status, out)
	}
	for _, bad := range [][]string{{list}, {list, "native"}, {list, "native=" + dir + "/none"}, {dir + "/none", "native=" + native}, {write("empty", "alone01\n"), "native=" + native}} {
		if _, status := try(t, append([]string{"guest"}, bad...)...); status != 2 {
			t.Errorf("%q: status %d, want 2", bad, status)
		}
	}
}
