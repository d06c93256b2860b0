// Command gen writes the completion scripts of package completions, as the kxsh of this tree prints
// them. It must run inside the module.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"kxsh/completions"
)

func main() {
	if err := generate(); err != nil {
		fmt.Fprintf(os.Stderr, "completions/gen: %v\n", err)
		os.Exit(1)
	}
}

func generate() error {
	root, err := output("go", "list", "-m", "-f", "{{.Dir}}", "kxsh")
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "kxsh-gen")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	kxsh := filepath.Join(tmp, "kxsh")
	if _, err := output("go", "build", "-o", kxsh, "kxsh"); err != nil {
		return err
	}
	for _, sh := range completions.Shells {
		text, err := output(kxsh, "completion", sh)
		if err != nil {
			return err
		}
		path := filepath.Join(strings.TrimSpace(root), "completions", completions.File(sh))
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// output runs a program and returns what it printed; what it complains of goes to standard error.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return string(out), nil
}
