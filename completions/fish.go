package completions

import (
	_ "embed"
	"fmt"
	"strings"
)

// fishCode is the part of the fish script that does not depend on the table.
//
//go:embed code.fish
var fishCode string

// fish gets one complete command for each flag and each kind of argument.
func (s *script) fish() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# "+about+"\n\n", "fish")
	var takers []string
	for _, f := range s.program.flags {
		if f.value != nil {
			takers = append(takers, f.words()...)
		}
	}
	b.WriteString(strings.NewReplacer("@CHARS@", nameChars, "@LIVE@", live, "@TAKERS@", strings.Join(takers, " "),
		"@COMMANDS@", strings.Join(s.names(), " ")).Replace(fishCode))
	b.WriteString("\n# kxsh itself\ncomplete -c kxsh -f\n")
	s.program.fishFlags(&b, "__kxsh_first")
	for _, c := range s.commands {
		fmt.Fprintf(&b, "complete -c kxsh -n __kxsh_first -a %s -d %s\n", c.name, fishQuote(c.short))
	}
	b.WriteString("complete -c kxsh -n __kxsh_file -F\n")
	for _, c := range s.commands {
		c.fish(&b)
	}
	return b.String()
}

func (c *command) fish(b *strings.Builder) {
	fmt.Fprintf(b, "\n# %s\n", c.name)
	in := "__kxsh_in " + c.name
	if c.raw {
		fmt.Fprintf(b, "complete -c kxsh -n %s -F\n", fishQuote(in))
		return
	}
	first := in
	if c.leading || c.once {
		var takers []string
		for _, f := range c.flags {
			if f.value != nil {
				takers = append(takers, f.words()...)
			}
		}
		first = strings.Join(append([]string{"__kxsh_first_of", c.name}, takers...), " ")
	}
	if c.leading {
		fmt.Fprintf(b, "complete -c kxsh -n %s -F\n", fishQuote(in+"; and not "+first))
		in = first
	}
	c.fishFlags(b, in)
	for _, w := range c.bare {
		fmt.Fprintf(b, "complete -c kxsh -n %s -a %s\n", fishQuote(in+"; and __kxsh_dash"), fishQuote(w))
	}
	if c.args.about != nil {
		for _, w := range c.args.words {
			fmt.Fprintf(b, "complete -c kxsh -n %s -f -a %s -d %s\n", fishQuote(first), w, fishQuote(c.args.about[w]))
		}
	} else if how := fishArgs(c.args); how != "" {
		fmt.Fprintf(b, "complete -c kxsh -n %s %s\n", fishQuote(first), how)
	}
}

// fishFlags writes the flags, offered where the condition holds.
func (c *command) fishFlags(b *strings.Builder, condition string) {
	for _, f := range c.flags {
		fmt.Fprintf(b, "complete -c kxsh -n %s", fishQuote(condition))
		if f.short != "" {
			fmt.Fprintf(b, " -s %s", f.short)
		}
		fmt.Fprintf(b, " -l %s", f.long)
		if f.value != nil {
			b.WriteString(" -r")
			if how := fishArgs(*f.value); how != "" {
				b.WriteString(" " + how)
			} else {
				b.WriteString(" -f")
			}
		}
		fmt.Fprintf(b, " -d %s\n", fishQuote(f.usage))
	}
}

// fishArgs is what completes a value.
func fishArgs(v value) string {
	switch kindWord(v) {
	case "pvm":
		return "-f -k -a '(__kxsh_pvms)'"
	case "name":
		return "-f -a '(__kxsh_names)'"
	case "image":
		return "-f -a '(__kxsh_images)'"
	case "pvm-or-image":
		return "-f -k -a '(__kxsh_pvms; __kxsh_images)'"
	case "pvm-or-file":
		return "-F -k -a '(__kxsh_pvms)'"
	case "file":
		return "-F"
	case "dir":
		return "-f -a '(__fish_complete_directories (commandline -ct))'"
	case "list":
		return "-f -a " + fishQuote("(__kxsh_list "+strings.Join(v.words, " ")+")")
	case "words":
		return "-f -a " + fishQuote(strings.Join(v.words, " "))
	}
	return ""
}

// fishQuote quotes for fish.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
