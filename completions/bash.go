package completions

import (
	_ "embed"
	"fmt"
	"strings"

	"kxsh/shell"
)

// bashCode is the part of the bash script that does not depend on the table.
//
//go:embed code.bash
var bashCode string

// bash has two functions made of the table, and those of code.bash, which walk the line.
func (s *script) bash() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# "+about+"\n\n", "bash")
	b.WriteString("# _kxsh_command NAME sets what a command takes; no name: kxsh itself.\n_kxsh_command() {\n\tcase $1 in\n")
	s.program.bashTakes(&b, s.names())
	for _, c := range s.commands {
		c.bashTakes(&b, c.args.words)
	}
	b.WriteString("\tesac\n}\n\n")
	b.WriteString("# _kxsh_value COMMAND FLAG sets what the flag's value is, and fails if it takes none.\n_kxsh_value() {\n\tcase $1:$2 in\n")
	for _, c := range append([]command{s.program}, s.commands...) {
		for _, f := range c.flags {
			if f.value == nil {
				continue
			}
			var names []string
			for _, w := range f.words() {
				names = append(names, c.name+":"+w)
			}
			fmt.Fprintf(&b, "\t%s)\n\t\tkind=%s words=%s ;;\n", strings.Join(names, " | "), kindWord(*f.value), quote(strings.Join(f.value.words, " ")))
		}
	}
	b.WriteString("\t*) return 1 ;;\n\tesac\n}\n\n")
	b.WriteString(strings.NewReplacer("@CHARS@", nameChars, "@LIVE@", live).Replace(bashCode))
	return b.String()
}

// names lists the commands.
func (s *script) names() []string {
	var names []string
	for _, c := range s.commands {
		names = append(names, c.name)
	}
	return names
}

func (c *command) bashTakes(b *strings.Builder, words []string) {
	var flags []string
	for _, f := range c.flags {
		flags = append(flags, f.words()...)
	}
	kind := kindWord(c.args)
	if c.name == "" {
		kind = "command"
	}
	fmt.Fprintf(b, "\t%s)\n\t\tflags=%s\n", quote(c.name), quote(strings.Join(append(flags, c.bare...), " ")))
	fmt.Fprintf(b, "\t\tkind=%s once=%s leading=%s raw=%s\n\t\twords=%s ;;\n", kind, mark(c.once), mark(c.leading), mark(c.raw), quote(strings.Join(words, " ")))
}

// mark is a truth as the scripts have it: a word or none.
func mark(yes bool) string {
	if yes {
		return "yes"
	}
	return ""
}

// kindWord is a kind as the scripts have it.
func kindWord(v value) string {
	switch v.kind {
	case shell.PVM, shell.PVMOrJob:
		return "pvm"
	case shell.PVMName:
		return "name"
	case shell.Image:
		return "image"
	case shell.PVMOrFile:
		return "pvm-or-image"
	case shell.Library:
		return "pvm-or-file"
	case shell.File:
		return "file"
	case shell.Dir:
		return "dir"
	case shell.Column:
		return "list"
	}
	if len(v.words) > 0 {
		return "words"
	}
	return "none"
}

// quote quotes for bash and zsh.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
