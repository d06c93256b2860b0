// Command gen writes docs/reference/commands.md and the manual pages in docs/man: what the kxsh of this tree says about its commands.
// It must run inside the module.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:generate go run kxsh/docs/reference/gen ..

const head = `# Commands

Generated from the command table (` + "`go generate ./docs/...`" + `); ` + "`kxsh help COMMAND`" + ` prints the same. Every
command works inside kxsh and, as ` + "`kxsh COMMAND`" + `, from any other shell. Errors are one line,
` + "`COMMAND: WHAT: WHY`" + `, on standard error. Exit status 2 is a command used wrongly.
`

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen FOLDER")
		os.Exit(2)
	}
	files, err := generate()
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], name), text, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "docs/reference/gen: %v\n", err)
		os.Exit(1)
	}
}

// generate builds kxsh, asks it for every command's help, and returns the files by their paths from docs/reference.
func generate() (map[string][]byte, error) {
	tmp, err := os.MkdirTemp("", "kxsh-gen")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	kxsh := filepath.Join(tmp, "kxsh")
	if _, err := output("go", "build", "-o", kxsh, "kxsh"); err != nil {
		return nil, err
	}
	list, err := output(kxsh, "help")
	if err != nil {
		return nil, err
	}
	usage, err := output(kxsh, "--help")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"../man/kxsh.1": programPage(usage, list)}
	var b bytes.Buffer
	b.WriteString(head)
	for _, name := range append(names(list), "engine") {
		text, err := output(kxsh, name, "--help")
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "\n## %s\n\n```text\n%s```\n", name, text)
		files["../man/kxsh-"+name+".1"] = commandPage(name, text)
	}
	files["commands.md"] = b.Bytes()
	return files, nil
}

// names takes the commands' names from what help prints: the first words of the indented lines.
func names(list string) []string {
	var all []string
	for line := range strings.Lines(list) {
		if strings.HasPrefix(line, "  ") {
			all = append(all, strings.Fields(line)[0])
		}
	}
	return all
}

// output runs a program and returns what it printed; what it complains of goes to standard error.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return string(out), nil
}
