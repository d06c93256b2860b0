package guest

import (
	"bufio"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The checks below read objdump's disassembly. They see what a compiler or an assembler programmer
// writes: operands relative to the stack pointer, and to a frame pointer that was set from it. An
// address below the stack pointer that was computed into another register escapes them.

var (
	functionLine = regexp.MustCompile(`^[0-9a-f]+ <(.+)>:$`)
	memberLine   = regexp.MustCompile(`^(\S+): +file format `)
	belowRSP     = regexp.MustCompile(`-0x[0-9a-f]+\(%[re]sp\)`)
	belowRBP     = regexp.MustCompile(`-0x([0-9a-f]+)\(%rbp[,)]`)
	subRSP       = regexp.MustCompile(`^sub +\$0x([0-9a-f]+),%rsp`)
	addRSP       = regexp.MustCompile(`^add +\$0x([0-9a-f]+),%rsp`) // of a negative number
	kernelEntry  = regexp.MustCompile(`^(syscall|sysenter|sysret|int +\$0x80)`)
)

// function collects what is seen of one function.
type function struct {
	name   string
	frame  bool   // rbp was set from rsp
	room   uint64 // most bytes that were allocated below rbp
	lowest uint64 // furthest access below rbp
	where  string
}

func (f *function) fault() string {
	if f.frame && f.lowest > f.room {
		return fmt.Sprintf("%s: %s: uses %d bytes below rbp, allocates %d", f.name, f.where, f.lowest, f.room)
	}
	return ""
}

// dynamic is the room of a function that moves rsp by a computed amount.
const dynamic = 1 << 62

// see takes in one instruction and returns what is wrong with it.
func (f *function) see(insn string) string {
	switch {
	case kernelEntry.MatchString(insn) && f.name != "executed": // which runs as a process of Linux only
		return f.name + ": enters the host's kernel: " + insn
	case belowRSP.MatchString(insn) && !(strings.HasPrefix(insn, "lea") && strings.HasSuffix(insn, ",%rsp")):
		return f.name + ": below the stack pointer: " + insn
	case strings.HasPrefix(insn, "mov ") && strings.HasSuffix(insn, "%rsp,%rbp"):
		f.frame = true
	case strings.HasPrefix(insn, "push"):
		f.room += 8
	case strings.HasPrefix(insn, "sub ") && strings.HasSuffix(insn, ",%rsp"):
		m := subRSP.FindStringSubmatch(insn)
		if m == nil {
			f.room = dynamic
		} else if n, err := strconv.ParseUint(m[1], 16, 64); err == nil && f.room < dynamic {
			f.room += n
		}
	case strings.HasPrefix(insn, "add ") && strings.HasSuffix(insn, ",%rsp"):
		// gcc writes sub $128 as add $-128, which has a shorter immediate.
		if m := addRSP.FindStringSubmatch(insn); m != nil {
			if n, err := strconv.ParseUint(m[1], 16, 64); err == nil && int64(n) < 0 {
				f.room += -n
			}
		}
	}
	if m := belowRBP.FindStringSubmatch(insn); m != nil {
		if n, err := strconv.ParseUint(m[1], 16, 64); err == nil && n > f.lowest {
			f.lowest, f.where = n, insn
		}
	}
	return ""
}

// faults disassembles an object, archive or image and returns what a pVM must not contain: use of the
// red zone, instructions that enter the host's kernel. It also counts the functions it saw.
func faults(t *testing.T, path string) (found []string, functions int) {
	t.Helper()
	cmd := exec.Command("objdump", "-d", "--no-show-raw-insn", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f, member := &function{}, ""
	note := func(fault string) {
		if fault != "" {
			found = append(found, member+fault)
		}
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if m := memberLine.FindStringSubmatch(line); m != nil {
			note(f.fault())
			f, member = &function{}, m[1]+": "
		} else if m := functionLine.FindStringSubmatch(line); m != nil {
			note(f.fault())
			f = &function{name: m[1]}
			functions++
		} else if _, insn, ok := strings.Cut(line, "\t"); ok {
			insn = strings.TrimPrefix(strings.TrimSpace(insn), "lock ")
			note(f.see(insn))
		}
	}
	note(f.fault())
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return found, functions
}

// TestDisassembler shows that the checks find what they look for.
func TestDisassembler(t *testing.T) {
	tests := []struct {
		name, flags, source string
		bad                 bool
	}{
		{"leaf without red zone", "-O2 -mno-red-zone", leafSource, false},
		{"leaf with red zone", "-O2 -mred-zone", leafSource, true},
		{"unoptimized without red zone", "-O0 -mno-red-zone", leafSource, false},
		{"unoptimized with red zone", "-O0 -mred-zone", leafSource, true},
		{"system call", "-O2 -mno-red-zone", `void f(void) { __asm__ volatile("syscall"); }`, true},
		{"alloca", "-O2 -mno-red-zone", `void g(char *); void f(int n) { char a[n]; g(a); g(a + 1); }`, false},
		{"128 bytes", "-O0 -mno-red-zone", `void g(char *); void f(void) { char a[112]; g(a); }`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			object := t.TempDir() + "/f.o"
			args := append(strings.Fields(tt.flags), "-fno-pie", "-fno-stack-protector", "-x", "c", "-", "-c", "-o", object)
			cmd := exec.Command("gcc", args...)
			cmd.Stdin = strings.NewReader(tt.source)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("gcc: %v\n%s", err, out)
			}
			found, _ := faults(t, object)
			if (len(found) > 0) != tt.bad {
				t.Errorf("found %q", found)
			}
		})
	}
}

const leafSource = `int f(int i) { volatile int a[8]; a[i & 7] = i; return a[3]; }`
