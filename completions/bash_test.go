package completions_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// asking has bash call the function as it does for the words after the script, the last of which is being
// typed. compopt works in a real completion only; here it prints
// the options it is told, in brackets.
const asking = `
source "$SCRIPT"
compopt() { local all=$*; printf '[%s]\n' "${all//-o /}"; }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_TYPE=$TYPE
COMP_POINT=${#COMP_LINE}
_kxsh "$1" "${!#}" "${COMP_WORDS[-2]}"
((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"
exit 0
`

// ask returns what bash would offer for the last of words, a line each. kind is bash's COMP_TYPE: 9 is
// Tab, 63 the second Tab.
func ask(t *testing.T, env []string, dir string, kind int, words ...string) string {
	t.Helper()
	script, err := filepath.Abs("kxsh.bash")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", append([]string{"--norc", "-c", asking, "bash"}, words...)...)
	cmd.Env, cmd.Dir = append(env, "SCRIPT="+script, "TYPE="+strconv.Itoa(kind)), dir
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("bash: %q: %v\n%s", words, err, complaints.String())
	}
	return strings.TrimSuffix(string(out), "\n")
}

func TestBashOffers(t *testing.T) {
	d := newDesk(t)
	const tab, list = 9, 63
	for _, c := range []struct {
		line, want string
		kind       int
	}{
		{"kxsh p", "ps pstree pgrep pkill pidof pool pipe", tab},
		{"kxsh zzz", "[default]", tab},
		{"kxsh --", "--command --hypervisor --socket --state --trust --family-limit --metrics --log-level --color --config --no-start --version --help", tab},
		{"kxsh --hypervisor ", "auto xen hosted", tab},
		{"kxsh --socket ", "[default]", tab},
		{"kxsh --state ", "[dirnames]", tab},
		{"kxsh -c ", "", tab},
		{"kxsh -c ps ", "[default]", tab},
		{"kxsh script.sh ", "[default]", tab},
		{"kxsh script.sh -", "[default]", tab},
		{"kxsh -- pst", "pstree", tab},
		{"kxsh kill ", "web web-worker db 7 12 30 31 32", tab},
		{"kxsh kill ", "web|web-worker|db|7  (web)|12  (web-worker)|30  (db)|31  ($(touch${IFS}ran))|32  (;touch ran)", list},
		{"kxsh kill 3", "30 31 32", tab},
		{"kxsh kill 12", "12", list},
		{"kxsh kill 7 w", "web web-worker", tab},
		{"kxsh kill %", "%7 %30", tab},
		{"kxsh kill -n ", "", tab},
		{"kxsh kill -s T", "TRAP TERM TSTP TTIN TTOU", tab},
		{"kxsh kill --li", "--list", tab},
		{"kxsh kill -9 d", "db", tab},
		{"kxsh kill -- -", "", tab},
		{"kxsh pgrep ", "web web-worker db", tab},
		{"kxsh run ", "hello.kx|my app.kx|[filenames plusdirs]", tab},
		{"kxsh run fold", "[filenames plusdirs]", tab},
		{"kxsh update 7 fold", "folder|[filenames]", tab},
		{"kxsh update we", "web|web-worker|[filenames]", tab},
		{"kxsh rollback ./fold", "./folder|[filenames]", tab},
		{"kxsh run folder/", "folder/inner.kx|[filenames plusdirs]", tab},
		{"kxsh run -dm 1", "", tab},
		{"kxsh run -m64M h", "hello.kx|[filenames plusdirs]", tab},
		{"kxsh run --restart ", "no on-failure always unless-stopped", tab},
		{"kxsh run --net ", "none user", tab},
		{"kxsh run --root ", "[default]", tab},
		{"kxsh run --key ", "[default]", tab},
		{"kxsh sign --loader ", "self app any", tab},
		{"kxsh keygen -t ", "ed25519 rsa", tab},
		{"kxsh verify ", "[default]", tab},
		{"kxsh abidiff --", "--symbols-only --json --help", tab},
		{"kxsh run hello.kx --", "[default]", tab},
		{"kxsh inspect h", "hello.kx|[filenames plusdirs]", tab},
		{"kxsh inspect d", "db|[filenames plusdirs]", tab},
		{"kxsh ps -o pid,na", "pid,name [nospace]", tab},
		{"kxsh ps --sort -me", "-mem [nospace]", tab},
		{"kxsh help ps", "ps pstree", tab},
		{"kxsh help ps ", "", tab},
		{"kxsh pool ", "list resize", tab},
		{"kxsh pool resize ", "", tab},
		{"kxsh engine --", "--background --help", tab},
		{"kxsh cc -", "[default]", tab},
	} {
		words := strings.Split(c.line, " ")
		got := strings.Split(ask(t, d.env(), d.dir, c.kind, words...), "\n")
		sep := "|"
		if !strings.Contains(c.want, sep) && !strings.Contains(c.want, "[filenames") {
			sep = " "
		}
		if !sameSet(got, strings.Split(c.want, sep)) {
			t.Errorf("%s: %q, want %q", c.line, got, c.want)
		}
	}
	d.noneRan(t)
}

// sameSet compares without order.
func sameSet(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	count := map[string]int{}
	for i := range a {
		count[a[i]]++
		count[b[i]]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// The question for pVMs goes to the engine that the line names.
func TestBashAsksTheEngineNamed(t *testing.T) {
	d := newDesk(t)
	ask(t, d.env(), d.dir, 9, "kxsh", "--socket", "~/s", "--state=/x", "kill", "")
	got, err := os.ReadFile(d.asked)
	want := "--socket " + filepath.Dir(d.dir) + "/s --state=/x --no-start ps --no-headers -o pid,fam,name\n"
	if err != nil || string(got) != want {
		t.Errorf("asked %q (%v), want %q", got, err, want)
	}
}
