package shell

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be kxsh: with KXSH_TEST_MAIN set it runs its arguments as main would.
func TestMain(m *testing.M) {
	if os.Getenv("KXSH_TEST_MAIN") != "" {
		os.Exit(asMain(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// asMain is the part of main.go that picks a front end, on a fake engine.
func asMain(args []string) int {
	completionPatience, promptPatience = time.Minute, time.Minute // the fake engine answers
	s := New(fakeConfig())
	switch {
	case len(args) > 1 && args[0] == "-c":
		name, rest := "kxsh", []string(nil)
		if len(args) > 2 {
			name, rest = args[2], args[3:]
		}
		return s.Script(args[1], name, rest)
	case len(args) > 0 && args[0] == "-i":
		return s.Interactive()
	case len(args) > 0 && s.Has(args[0]):
		return s.Command(args)
	case len(args) > 0:
		return s.File(args[0], args[1:])
	}
	return s.Stdin()
}

// result is how a process ended.
type result struct {
	out, err string
	status   int
}

// kxsh makes a command that runs the test binary as kxsh in dir.
func kxsh(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "KXSH_TEST_MAIN=1", "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "KXSH_TEST_STATE="+dir)
	cmd.Dir = dir
	return cmd
}

// outcome runs a command, within a time.
func outcome(t *testing.T, cmd *exec.Cmd, stdin string) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		t.Fatalf("%q hangs; output %q, errors %q", cmd.Args, out.String(), errs.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// language is scripts that do in kxsh what they do in bash.
var language = []struct {
	script string
	out    string
	status int
}{
	{`echo hi`, "hi\n", 0},
	{`echo -n a; echo -e 'b\tc'; echo -ne 'd\n'; echo -E 'e\t'`, "ab\tc\nd\ne\\t\n", 0},
	{`echo -e 'a\cb'; echo -- -n; echo -x`, "a-- -n\n-x\n", 0},
	{`printf '%s-%03d\n' a 1 b 2; printf -v x '%05.1f' 3.14159; echo $x`, "a-001\nb-002\n003.1\n", 0},
	{`printf '%5s|%-5s|%x|%b|%%|%c\n' a b 255 'x\ty' zz; printf '%d\n' 0x1f "'A"; printf '\x41\101\n'`, "    a|b    |ff|x\ty|%|z\n31\n65\nAA\n", 0},
	{`printf '%d\n' 3x 2>/dev/null; echo $?; printf '%*d|%.2s\n' 4 7 abc; printf 'no newline'`, "3\n1\n   7|ab\nno newline", 0},
	{`x=$(echo sub); echo "$x" ${x%b} ${#x}`, "sub su 3\n", 0},
	{`echo $0 $1 $#`, "arg0 one 2\n", 0},
	{`f() { echo "$0" $1; return 4; }; f x; echo $?`, "arg0 x\n4\n", 0},
	{`f() { false || return; echo no; }; f; echo $?; (exit 5) || (exit; ) || echo $?`, "1\n5\n", 0},
	{`exit 3`, "", 3},
	{`false`, "", 1},
	{`set -e; false; echo not reached`, "", 1},
	{`set -e; false || true; ! true; if false; then :; fi; echo reached`, "reached\n", 0},
	{`(set -u; echo ${x-unset}; echo $x; echo not reached); [ $? != 0 ] && echo failed`, "unset\nfailed\n", 0},
	{`set -o pipefail; false | true; echo $?`, "1\n", 0},
	{`false | true; echo $?; exit 5 | cat; echo $?`, "0\n0\n", 0},
	{`for i in 1 2 3; do case $i in 2) continue;; 3) break;; esac; echo $i; done`, "1\n", 0},
	{`i=0; while [ $i -lt 3 ]; do i=$((i+1)); echo $i; done; until false; do break; done; echo $?`, "1\n2\n3\n0\n", 0},
	{`cat <<E
here $((1+2))
E
cat <<'E'
no $x
E`, "here 3\nno $x\n", 0},
	{`echo a >f; echo b >>f; cat <f; cat f 2>&1 | wc -l | tr -d ' '`, "a\nb\n2\n", 0},
	{`echo a b c | while read x y; do echo "$y-$x"; done`, "b c-a\n", 0},
	{`IFS=: read a b <<<'1:2:3'; echo $a,$b`, "1,2:3\n", 0},
	{`a=(1 2 3); echo ${a[1]} ${#a[@]} "${a[@]:1}"; declare -A m=([k]=v); echo ${m[k]}`, "2 3 2 3\nv\n", 0},
	{`[[ abc == a* && 1 -lt 2 ]] && echo yes; [[ abc =~ b(.) ]] && echo no-rematch >/dev/null`, "yes\n", 0},
	{`touch g1 g2; echo g*; echo 'g*'; set -f; echo g*`, "g1 g2\ng*\ng*\n", 0},
	{`nosuchcommand 2>/dev/null; echo $?; ./nosuchfile 2>/dev/null; echo $?`, "127\n127\n", 0},
	{`echo x >plain; ./plain 2>/dev/null; echo $?; / 2>/dev/null; echo $?`, "126\n126\n", 0},
	{`mkdir bin; echo x >bin/noexec; PATH=$PWD/bin:$PATH; noexec 2>/dev/null; echo $?`, "126\n", 0},
	{`echo 'echo script $1 $0' >s; chmod +x s; ./s arg`, "script arg ./s\n", 0},
	{`sh -c 'kill -9 $$' 2>/dev/null; echo $?; sh -c 'exit 7'; echo $?`, "137\n7\n", 0},

	// Background jobs.
	{`sleep 0.05 & wait $!; echo $?`, "0\n", 0},
	{`(exit 3) & wait $!; echo $?`, "3\n", 0},
	{`{ sleep 0.05; exit 4; } & p=$!; wait $p; echo $?; wait $p; echo $?`, "4\n4\n", 0},
	{`sleep 60 & kill $!; wait $! 2>/dev/null; echo $?`, "143\n", 0},
	{`sleep 60 & kill -9 $! ; wait $! 2>/dev/null; echo $?`, "137\n", 0},
	{`sleep 60 & kill -s INT $!; kill -KILL %1 2>/dev/null; wait %1 2>/dev/null; [ $? -gt 128 ] && echo dead`, "dead\n", 0},
	{`while :; do :; done & kill $!; wait $! 2>/dev/null; echo $?`, "143\n", 0},
	{`false & wait; echo $?`, "0\n", 0},
	{`touch 0; for i in 1 2 3; do { until [ -e $((i - 1)) ]; do sleep 0.01; done; echo $i; touch $i; } & done; wait; echo all`, "1\n2\n3\nall\n", 0},
	{`x=1; { x=2; echo in $x; } & wait; echo out $x`, "in 2\nout 1\n", 0},
	{`f() { sleep 0.02; return 6; }; f & wait $!; echo $?`, "6\n", 0},
	{`(sleep 0.02; exit 2) & a=$!; (exit 5) & b=$!; wait $a; echo $?; wait $b; echo $?`, "2\n5\n", 0},
	{`sleep 60 & kill -0 $! && echo alive; kill $!; wait $! 2>/dev/null; kill -0 $! 2>/dev/null || echo gone`, "alive\ngone\n", 0},
	{`cat & wait; echo eof`, "eof\n", 0},
	{`set -e; false & wait $! || echo handled $?`, "handled 1\n", 0},
	{`eval 'sleep 0.02 & wait $!; echo $?'; eval "exit 8" & wait $!; echo $?`, "0\n8\n", 0},
	{`echo 'sleep 0.01 & wait $!; echo sourced $? $1; return 9' >src; . ./src arg; echo $?`, "sourced 0 arg\n9\n", 0},
	{`wait 999999 2>/dev/null; echo $?; kill 999999 2>/dev/null; echo $?`, "127\n1\n", 0},

	// Signals and traps.
	{`trap 'echo bye' EXIT; echo a`, "a\nbye\n", 0},
	{`trap 'echo bye $?' EXIT; exit 3`, "bye 3\n", 3},
	{`trap 'exit 9' EXIT; exit 3`, "", 9},
	{`trap 'echo err' ERR; false; true; echo end`, "err\nend\n", 0},
	{`trap 'echo got' TERM; kill -TERM $$; echo end`, "got\nend\n", 0},
	{`trap 'echo got; exit 5' INT; kill -INT $$; echo not reached`, "got\n", 5},
	{`trap '' TERM; kill $$; echo survived; trap - TERM; kill $$; echo not reached`, "survived\n", -1},
	{`trap 'echo t' USR1; for i in 1 2; do kill -USR1 $$; echo $i; done`, "t\n1\nt\n2\n", 0},
	{`trap 'echo t' USR1; false; kill -USR1 $$; echo $?`, "t\n0\n", 0},
	{`trap 'echo t >&2' USR1; sh -c "kill -USR1 $$" 2>/dev/null; echo after`, "after\n", 0},
	{`trap 'by=USR1' USR1; sleep 60 & (while kill -USR1 $$; do sleep 0.1; done) & wait %1; echo $? $by; kill %1 %2`, "138 USR1\n", 0},
	{`(trap 'echo sub' EXIT; echo in); echo out`, "in\nsub\nout\n", 0},
	{`(trap 'echo sub' EXIT; exit 3); echo $?`, "sub\n3\n", 0},
	{`trap 'echo main' EXIT; (echo in); echo out`, "in\nout\nmain\n", 0},
	{`trap 'echo one' TERM; trap; trap - TERM; trap; echo none`, "trap -- 'echo one' SIGTERM\nnone\n", 0},
	{`{ trap 'echo job; exit 2' TERM; touch set; while :; do sleep 0.01; done; } & until [ -e set ]; do sleep 0.01; done; kill $!; wait $!; echo $?`, "job\n2\n", 0},
	{`f() { trap 'echo in f' EXIT; }; f; echo body`, "body\nin f\n", 0},
	{`kill -l 15; kill -l TERM; kill -l 143`, "TERM\n15\nTERM\n", 0},

	// Broken pipes.
	{`while :; do echo y; done | head -1`, "y\n", 0},
	{`while :; do printf 'y\n'; done | head -1`, "y\n", 0},
	{`set -o pipefail; while :; do echo y; done | head -1 >/dev/null; echo $?`, "141\n", 0},
	{`yes | head -1; set -o pipefail; yes | head -1 >/dev/null; echo $?`, "y\n141\n", 0},
	{`{ sleep 0.1; touch made; } | true; ls made`, "made\n", 0},

	// Names.
	{`kill() { echo my kill "$@"; }; kill 5; unset -f kill; kill -l 9`, "my kill 5\nKILL\n", 0},
	{`echo() { command echo "[$*]"; }; echo a b`, "[a b]\n", 0},
	{`command -v echo; command -v kill; command -v nosuch; echo $?; type -t echo`, "echo\nkill\n1\nbuiltin\n", 0},
	{`command echo x; builtin echo y; command false; echo $?`, "x\ny\n1\n", 0},
	{`exec echo replaced; echo not reached`, "replaced\n", 0},
	{`exec >f; echo to file; exec >/dev/stderr; cat f`, "", 0},
	{`export A=1; B=2 sh -c 'echo $A $B'; unset A; sh -c 'echo "[$A]"'`, "1 2\n[]\n", 0},
	{`cd /; pwd; cd /usr; cd - >/dev/null; pwd; (cd /usr; pwd); pwd`, "/\n/\n/usr\n/\n", 0},
	{`umask 027; umask; touch u; stat -c %a u`, "0027\n640\n", 0},
	{`jobs; sleep 60 & jobs | grep -c sleep; kill $!`, "1\n", 0},
	{`if`, "", 2},
	{`diff <(echo a) <(echo a) && echo same`, "same\n", 0},
	{`x=5; ((x++)); let x+=2; echo $((x * 2))`, "16\n", 0},
	{`shift 1; echo $? $1; shift 5; echo $? $#; shift; shift; echo $?; set -- a b; shift 2; echo $? $#; shift 0; echo $?; shift -1 2>/dev/null; echo $?`, "0 two\n1 1\n1\n0 0\n0\n1\n", 0},
	{`f() { shift 2 || echo only $#; shift; echo $#; }; f a; echo $#; while [ $# -gt 0 ]; do echo $1; shift; done`, "only 1\n0\n2\none\ntwo\n", 0},
	{`echo a $((1/0)); echo not reached`, "", 1},
	{`x=$((5 % 0)); echo not reached`, "", 1},
	{`(echo $((1/0)); echo not reached); echo $?; y=$(echo $((1 / (2 - 2)))); echo $? "[$y]"`, "1\n1 []\n", 0},
	{`((1/0)); echo $?; i=6; ((i /= 0)); echo $? $i; let 1%0; echo $?`, "1\n1 6\n1\n", 0},
	{`i=7 n=2; echo $((i / n)) $((i % n * 3)) $((100 / n / (n + 3) / n)) $((i /= n++)) $n $((i %= n-1)) $((-7 / n)) $((0 ? 1 / 0 : 4))`, "3 3 5 3 3 1 -2 4\n", 0},
	{`set -C; echo a >f; echo b >f; echo $?; cat f; echo c >|f; cat f; echo d &>f; echo $?; echo e >>f; cat f; echo n >/dev/null; echo $?`,
		"1\na\nc\n1\nc\ne\n0\n", 0},
	{`set -Ceu; echo a >f; set +Cu; echo "b$none" >f; cat f; set -C -- p q; echo $1 $2; echo c >f || echo kept; (set +C; echo d >f); cat f; echo c 2>|f; cat f`,
		"b\np q\nkept\nd\nc\n", 0},
	{`set -euo noclobber -o pipefail; >f; eval '>f' || echo kept; f() { echo x >f; }; f || cat f; set +o noclobber; f; cat f; ln -s none to; set -C; echo y >to || echo no`,
		"kept\nx\nno\n", 0},
	{`echo a 2>&1 3>&- 4<&-; exec 5>&-; ls nosuch 2>&1 3>&- | wc -l | tr -d ' '`, "a\n1\n", 0},
	{`y=4; let "x = $y * 2"; echo $x; let 'x += 1' "y=x-1"; echo $x $y; let "x == 9" && echo nine; let "0"; echo $?; f() { let "n = n + 1"; }; f; f; echo $n`,
		"8\n9 8\nnine\n1\n2\n", 0},
	{`for ((i = 0; i < 3; i++)); do ((n++)); done; echo $n; for ((i = 3; i--;)); do [ $i = 1 ] && continue; false; done; echo $i; eval 'for ((i = 0; i < 2; i++)); do false; done; echo $i'`, "3\n-1\n2\n", 0},
	{`a=(1 2); ((a[1]++)); echo $? ${a[1]}; ((--a[0])); echo $? ${a[0]}; ((a[2] = a[1] * 2)) && echo ${a[2]}; i=1; ((a[i+1] /= 4)); echo ${a[@]}; ((a[0]++)); echo $? ${a[0]}; let "a[0]<<=2"; echo ${a[0]}`,
		"0 3\n1 0\n6\n0 3 1\n1 1\n4\n", 0},
	{`declare -A c; for w in x y x z x; do ((c[$w]++)); done; echo ${c[x]} ${c[y]}; f() { local -a b; ((b[0] += 7)); echo ${b[0]}; }; f; if ((c[x] == 3)); then echo three; fi`, "3 1\n7\nthree\n", 0},
	{`. <(echo 'echo hi $1') x; . /dev/stdin <<<'echo a'; echo 'echo b' | . /dev/stdin; . <(echo 'echo c & wait $!'); . /dev/null; echo $?`, "hi x\na\nb\nc\n0\n", 0},
	{`HOME=/usr/bin; cd /usr; pushd /; pushd ~; dirs -p; pushd; popd; popd; pwd; popd 2>/dev/null; echo $?; pushd 2>/dev/null; echo $?`,
		"/ /usr\n~ / /usr\n~\n/\n/usr\n/ ~ /usr\n~ /usr\n/usr\n/usr\n1\n1\n", 0},
	{`cd /; f() { pushd "$1" >/dev/null && pwd; popd >/dev/null; }; f /usr; pwd; cd /usr; (pushd / >/dev/null; dirs); dirs -l; pushd /nosuch 2>/dev/null; echo $?; dirs; cd /bin; pushd / >/dev/null; dirs -c; dirs`,
		"/usr\n/\n/ /usr\n/usr\n1\n/usr\n/\n", 0},
	{`while getopts ab: o -a -b val; do echo $o $OPTARG; done`, "a\nb val\n", 0},
}

func TestLanguage(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("bash, the measure of this test, is missing: apt-get install bash")
	}
	for _, c := range language {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			want := result{out: c.out, status: c.status}
			dir := t.TempDir()
			ref := exec.Command(bash, "-c", c.script, "arg0", "one", "two")
			ref.Dir = dir
			if got := outcome(t, ref, ""); got.out != want.out || got.status != want.status {
				t.Errorf("the table says %q, %d; bash says %q, %d: %s", want.out, want.status, got.out, got.status, got.err)
			}
			got := outcome(t, kxsh(t.TempDir(), "-c", c.script, "arg0", "one", "two"), "")
			status := got.status
			if want.status == -1 && status > 128 { // bash dies of the signal itself
				status = -1
			}
			if got.out != want.out || status != want.status {
				t.Errorf("got %q, %d; want %q, %d\n%s", got.out, got.status, want.out, want.status, got.err)
			}
		})
	}
}

// What needs another descriptor than the three that there are is refused before anything of it is done, and the script goes on.
func TestDescriptorsAbove(t *testing.T) {
	for script, fd := range map[string]string{
		"exec 3>made": "3", "echo a 4>made >also": "4", "while read x; do :; done 3</dev/null": "3", "echo a >&5": "5", "read x <&6": "6", "exec {fd}>made": "{fd}",
		"eval 'echo a 3>made'": "3", "x=$(echo a 7>made)": "7",
	} {
		dir := t.TempDir()
		got := outcome(t, kxsh(dir, "-c", script+"; echo $?; ls"), "")
		want := "kxsh: " + fd + ": this shell has the descriptors 0, 1 and 2: name the file where it is read or written, or leave the line to sh -c\n"
		if got.out != "1\n" || got.err != want {
			t.Errorf("%s: %+v", script, got)
		}
	}
}

// ulimit says of programs of the host what bash does, but for the size of pipes, which is no limit.
func TestUlimit(t *testing.T) {
	for _, script := range []string{"ulimit -a", "ulimit -Ha", "ulimit", "ulimit -n", "ulimit -Hn", "ulimit -H -c -n", "ulimit -n -c; ulimit -S -s; ulimit -v"} {
		text := "exec " + os.Args[0] + " -c '" + script + "'"
		bash, err := exec.Command("bash", "-c", "ulimit -Sn 99; ulimit -c 1; "+script).Output()
		if err != nil {
			t.Fatal(err)
		}
		want := regexp.MustCompile(`(?m)^pipe size.*\n`).ReplaceAllString(string(bash), "")
		cmd := kxsh(t.TempDir(), "-c", script)
		cmd.Path, cmd.Args = "/bin/bash", []string{"bash", "-c", "ulimit -Sn 99; ulimit -c 1; " + text}
		if got := outcome(t, cmd, ""); got.out != want || got.status != 0 {
			t.Errorf("%s: %d, %s\n%swant\n%s", script, got.status, got.err, got.out, want)
		}
	}
	for script, want := range map[string]string{
		"ulimit -n 64": "ulimit: 64: kxsh sets no limits of its own: sh -c 'ulimit … && exec PROGRAM' does for a program of the host, limit and run -m for a pVM\n",
		"ulimit -Z":    "ulimit: -Z: no such limit; ulimit -a lists them\n",
	} {
		if got := outcome(t, kxsh(t.TempDir(), "-c", script), ""); got.err != want || got.status == 0 || got.out != "" {
			t.Errorf("%s: %+v", script, got)
		}
	}
}

// help knows what is done here and not by the interpreter.
func TestHelpBuiltins(t *testing.T) {
	for name := range ours {
		if got := outcome(t, kxsh(t.TempDir(), "-c", "help "+name), ""); got.status != 0 || !strings.Contains(got.out, name) || strings.Contains(got.out, "not implemented") {
			t.Errorf("help %s: %d\n%s%s", name, got.status, got.out, got.err)
		}
	}
}

// A script on standard input is read a line at a time: what it reads itself follows it there.
func TestScriptOnStdin(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"echo a\nread x\nline\necho got $x\n", "a\ngot line\n"},
		{"for i in 1 2\ndo echo $i\ndone\n", "1\n2\n"},
		{"cat <<E\nhere\nE\necho end", "here\nend\n"},
		{"trap 'echo bye' EXIT\necho a\nexit 0\necho b\n", "a\nbye\n"},
		{"cat\nrest\nof it\n", "rest\nof it\n"},
	} {
		if got := outcome(t, kxsh(t.TempDir()), c.in); got.out != c.out || got.status != 0 {
			t.Errorf("%q: %q, %d, %s; want %q", c.in, got.out, got.status, got.err, c.out)
		}
	}
}

func TestScriptFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s"), []byte("#!/usr/bin/env kxsh\necho $0 $# $2\nexit 6\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := outcome(t, kxsh(dir, "s", "a", "b c"), ""); got.out != "s 2 b c\n" || got.status != 6 {
		t.Errorf("%+v", got)
	}
	if got := outcome(t, kxsh(dir, "nosuch"), ""); got.status != 127 || got.err != "kxsh: nosuch: no such file or directory\n" {
		t.Errorf("%+v", got)
	}
	if got := outcome(t, kxsh(dir, "-c", "pss"), ""); got.status != 127 || !strings.Contains(got.err, "did you mean ps?") {
		t.Errorf("%+v", got)
	}
}

// What rewriting makes of a program must parse again: eval and source go through text.
func TestRewriteRoundTrip(t *testing.T) {
	for _, c := range language {
		s := New(Config{})
		s.trapsUsed = true
		text, err := s.rewriteText(c.script)
		if err != nil {
			continue // a syntax error is in the table on purpose
		}
		if _, err := New(Config{}).rewriteText(text); err != nil {
			t.Errorf("%s\nbecomes\n%s\n%v", c.script, text, err)
		}
	}
}
