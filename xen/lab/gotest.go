package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tests say which Go tests to run in dom0.
type Tests struct {
	Packages []string // as go test takes them
	Args     []string // of the test programs: -test.run and the like
	JSON     bool     // the output is that of go test -json
}

// RunTests builds the Go tests of packages and runs one after the other in dom0, each in its package's
// folder. The build tag xen is set: tests that need Xen carry it. The status is 1 if any of them failed.
// Options.HostRoot is implied, and Options.Command not used. The tests are built as make builds kxsh (-trimpath), so that
// what is compiled already need not be compiled again.
func RunTests(ctx context.Context, t Tests, o Options) (Result, error) {
	list, err := goTool(ctx, append([]string{"list", "-f", "{{.ImportPath}}\t{{.Dir}}"}, t.Packages...)...)
	if err != nil {
		return Result{}, err
	}
	built, err := os.MkdirTemp("", "kxsh-lab-test-")
	if err != nil {
		return Result{}, fmt.Errorf("lab: %w", err)
	}
	defer os.RemoveAll(built)
	converter := ""
	if t.JSON {
		if converter, err = goTool(ctx, "tool", "-n", "test2json"); err != nil {
			return Result{}, err
		}
	}
	script := "status=0\n"
	for line := range strings.Lines(list + "\n") {
		pkg, folder, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		program := filepath.Join(built, strings.ReplaceAll(pkg, "/", "-")+".test")
		if _, err := goTool(ctx, "test", "-c", "-trimpath", "-tags", "xen", "-o", program, pkg); err != nil {
			return Result{}, err
		}
		if _, err := os.Stat(program); err != nil {
			return Result{}, fmt.Errorf("lab: package %s has no tests", pkg)
		}
		command := append([]string{program}, t.Args...)
		if t.JSON {
			command = append([]string{converter, "-t", "-p", pkg, program, "-test.v=test2json"}, t.Args...)
		}
		script += "cd " + quote([]string{folder}) + " && " + quote(command) + " || status=1\n"
	}
	o.HostRoot = true
	o.Command = []string{"sh", "-c", script + "exit $status"}
	return Run(ctx, o)
}

// goTool runs the go command for dom0 and returns what it prints.
func goTool(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("lab: go %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

func isFolder(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}
