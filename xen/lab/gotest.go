package lab

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// RunTests builds the Go tests of a package as one static program and runs it in dom0, in a folder
// that also holds the package's testdata. args are those of a test program: -test.run and the like.
// The build tag xen is set: tests that need Xen carry it. Options.Command is not used.
func RunTests(ctx context.Context, pkg string, args []string, o Options) (Result, error) {
	folder, err := goTool(ctx, "list", "-f", "{{.Dir}}", pkg)
	if err != nil {
		return Result{}, err
	}
	built, err := os.MkdirTemp("", "kxsh-lab-test-")
	if err != nil {
		return Result{}, fmt.Errorf("lab: %w", err)
	}
	defer os.RemoveAll(built)
	name := filepath.Base(folder) + ".test"
	program := filepath.Join(built, name)
	if _, err := goTool(ctx, "test", "-c", "-tags", "xen", "-o", program, pkg); err != nil {
		return Result{}, err
	}
	if _, err := os.Stat(program); err != nil {
		return Result{}, fmt.Errorf("lab: package %s has no tests", pkg)
	}
	o.Files = maps.Clone(o.Files)
	if o.Files == nil {
		o.Files = map[string]string{}
	}
	o.Files[path.Join(home, name)] = program
	if data := filepath.Join(folder, "testdata"); isFolder(data) {
		o.Files[path.Join(home, "testdata")] = data
	}
	o.Command = append([]string{"./" + name}, args...)
	return Run(ctx, o)
}

// goTool runs the go command for dom0, which has no shared libraries, and returns what it prints.
func goTool(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
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
