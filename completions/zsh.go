package completions

import (
	_ "embed"
	"fmt"
	"strings"

	"kxsh/shell"
)

// zshCode is the part of the zsh script that does not depend on the table.
//
//go:embed code.zsh
var zshCode string

// zsh hands the table to _arguments.
func (s *script) zsh() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef kxsh\n# "+about+"\n\n", "zsh")
	b.WriteString("_kxsh() {\n\tlocal curcontext=$curcontext state program=$words[1] ret=1\n\tlocal -a line globals\n\tlocal -A opt_args\n")
	b.WriteString("\t_arguments -s -S -C -A '-*'")
	s.program.zshFlags(&b)
	b.WriteString(" \\\n\t\t'1: :->command' '*:: :->arguments' && ret=0\n\t_kxsh_globals\n\tcase $state in\n" +
		"\tcommand)\n\t\t_kxsh_commands && ret=0\n\t\t_files && ret=0\n\t\t;;\n" +
		"\targuments)\n\t\t(( $+opt_args[-c] + $+opt_args[--command] )) && { _files && ret=0; return ret }\n" +
		"\t\tcurcontext=${curcontext%:*}-$words[1]:\n\t\tcase $words[1] in\n")
	for _, c := range s.commands {
		c.zsh(&b)
	}
	b.WriteString("\t\t*) _files && ret=0 ;;\n\t\tesac\n\t\t;;\n\tesac\n\treturn ret\n}\n\n")
	b.WriteString("_kxsh_commands() {\n\tlocal -a commands=(\n")
	for _, c := range s.commands {
		fmt.Fprintf(&b, "\t\t%s\n", quote(c.name+":"+c.short))
	}
	b.WriteString("\t)\n\t_describe -t commands command commands\n}\n\n")
	b.WriteString(strings.NewReplacer("@CHARS@", nameChars, "@LIVE@", live).Replace(zshCode))
	return b.String()
}

func (c *command) zsh(b *strings.Builder) {
	if c.raw {
		fmt.Fprintf(b, "\t\t%s) _files && ret=0 ;;\n", c.name)
		return
	}
	fmt.Fprintf(b, "\t\t%s)\n\t\t\t_arguments -S", c.name)
	if len(c.bare) == 0 { // else -KILL would be five flags in one word
		b.WriteString(" -s")
	}
	if c.leading {
		b.WriteString(" -A '-*'")
	}
	c.zshFlags(b)
	for _, w := range c.bare {
		fmt.Fprintf(b, " \\\n\t\t\t%s", quote(w))
	}
	switch action := zshAction(c.args); {
	case action == "":
	case c.once:
		fmt.Fprintf(b, " \\\n\t\t\t%s", quote("1:"+zshWhat(c.args, "argument")+":"+action))
	case c.leading:
		fmt.Fprintf(b, " \\\n\t\t\t%s '*:argument:_files'", quote("1:"+zshWhat(c.args, "argument")+":"+action))
	default:
		fmt.Fprintf(b, " \\\n\t\t\t%s", quote("*:"+zshWhat(c.args, "argument")+":"+action))
	}
	b.WriteString(" && ret=0\n\t\t\t;;\n")
}

// zshFlags writes a specification of _arguments for each flag.
func (c *command) zshFlags(b *strings.Builder) {
	for _, f := range c.flags {
		usage := "[" + zshEscape(f.usage, `\[]:`) + "]"
		argument := ""
		if f.value != nil {
			argument = ":" + zshEscape(zshWhat(*f.value, f.meta), `\:`) + ":" + zshAction(*f.value)
			if zshAction(*f.value) == "" {
				argument += " "
			}
		}
		words := f.words()
		exclude := "(" + strings.Join(words, " ") + ")"
		if f.repeats {
			exclude = "*"
		}
		for _, w := range words {
			if f.value != nil && strings.HasPrefix(w, "--") {
				w += "="
			} else if f.value != nil {
				w += "+"
			}
			fmt.Fprintf(b, " \\\n\t\t\t%s", quote(exclude+w+usage+argument))
		}
	}
}

// zshWhat names a value above the list of what it may be.
func zshWhat(v value, other string) string {
	switch v.kind {
	case shell.PVM, shell.PVMOrJob:
		return "pVM"
	case shell.PVMName:
		return "name"
	case shell.Image:
		return "image"
	case shell.PVMOrFile:
		return "pVM or image"
	case shell.Library:
		return "pVM or library"
	case shell.Signal:
		return "signal"
	case shell.Topic:
		return "command"
	case shell.Column:
		return "column"
	}
	return other
}

// zshAction is what completes a value.
func zshAction(v value) string {
	switch kindWord(v) {
	case "pvm":
		return "_kxsh_pvms"
	case "name":
		return "_kxsh_names"
	case "image":
		return "_kxsh_images"
	case "pvm-or-image":
		return "_kxsh_pvms_or_images"
	case "pvm-or-file":
		return "_kxsh_pvms_or_files"
	case "file":
		return "_files"
	case "dir":
		return "_files -/"
	case "list":
		return "_kxsh_list " + strings.Join(v.words, " ")
	case "words":
		if v.about != nil {
			var described []string
			for _, w := range v.words {
				described = append(described, w+`\:"`+zshEscape(v.about[w], `\:"`)+`"`)
			}
			return "((" + strings.Join(described, " ") + "))"
		}
		return "(" + strings.Join(v.words, " ") + ")"
	}
	return ""
}

// zshEscape puts a backslash before each of special.
func zshEscape(s, special string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(special, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
