package completions

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"kxsh/shell"
)

// script is what all three scripts are made of.
type script struct {
	program  command
	commands []command
}

// command is one command, or kxsh itself.
type command struct {
	name, short string
	flags       []flag
	bare        []string // more words with a -, such as kill's -TERM
	args        value
	once        bool // there is one argument, of those in args
	leading     bool // the flags end at the first argument
	raw         bool
}

// flag is one flag. value is nil if it takes none.
type flag struct {
	long, short string
	usage       string
	meta        string // what its value is called
	repeats     bool
	value       *value
}

// words are how it may be typed.
func (f flag) words() []string {
	if f.short == "" {
		return []string{"--" + f.long}
	}
	return []string{"-" + f.short, "--" + f.long}
}

// value is what may stand at one place of the line: one of words if there are any, else what kind
// says.
type value struct {
	kind  shell.Kind
	words []string
	about map[string]string // a line about each word; nil: they say it themselves
}

// read makes a script of a program.
func read(p *Program) *script {
	s := &script{program: command{leading: true, flags: flagsOf(p.Flags)}}
	for i := range s.program.flags {
		f := &s.program.flags[i]
		if f.value != nil {
			*f.value = value{kind: p.FlagArgs[f.long], words: p.Choices[f.long]}
		}
	}
	s.program.addHelp("list the flags")
	for _, c := range p.Table.Commands() {
		s.commands = append(s.commands, commandOf(p.Table, c))
	}
	for _, c := range p.Others {
		s.commands = append(s.commands, commandOf(p.Table, c))
	}
	return s
}

func commandOf(t Table, c *shell.Command) command {
	set := pflag.NewFlagSet(c.Name, pflag.ContinueOnError)
	if c.Flags != nil {
		c.Flags(set)
	}
	out := command{
		name: c.Name, short: c.Short, flags: flagsOf(set),
		args:    valueOf(c.Args, t, c.Name),
		once:    c.Args == shell.Choice && !c.Several || c.Args == shell.Topic,
		leading: c.Leading, raw: c.Raw,
	}
	out.args.about = c.About
	out.addHelp("explain the command")
	var known []string
	for i := range out.flags {
		f := &out.flags[i]
		known = append(known, f.words()...)
		if f.value != nil {
			*f.value = valueOf(c.FlagArgs[f.long], t, c.Name, "--"+f.long)
		}
	}
	for _, w := range trimmed(t.Candidates([]string{c.Name}, "-")) {
		if strings.HasPrefix(w, "-") && !slices.Contains(known, w) {
			out.bare = append(out.bare, w)
		}
	}
	return out
}

// addHelp adds --help, which pflag knows without a declaration.
func (c *command) addHelp(usage string) {
	c.flags = append(c.flags, flag{long: "help", usage: usage})
}

// flagsOf lists the flags of a set in the order of their declaration.
func flagsOf(set *pflag.FlagSet) []flag {
	set.SortFlags = false
	var list []flag
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		meta, usage := pflag.UnquoteUsage(f)
		one := flag{long: f.Name, short: f.Shorthand, usage: usage, meta: meta,
			repeats: strings.HasSuffix(f.Value.Type(), "Array") || strings.HasSuffix(f.Value.Type(), "Slice")}
		if f.NoOptDefVal == "" {
			one.value = &value{}
		}
		list = append(list, one)
	})
	return list
}

// valueOf is a value of a kind, with its words if the kind has a fixed set of them. The table's own
// completion says which: args are the words before it.
func valueOf(kind shell.Kind, t Table, args ...string) value {
	switch kind {
	case shell.Signal, shell.Column, shell.Topic, shell.Choice:
		return value{kind: kind, words: trimmed(t.Candidates(args, ""))}
	case shell.Network: // the bridges are this machine's
		words := trimmed(t.Candidates(args, ""))
		return value{kind: kind, words: slices.DeleteFunc(words, func(w string) bool { return strings.Contains(w, "=") })}
	}
	return value{kind: kind}
}

func trimmed(words []string) []string {
	var out []string
	for _, w := range words {
		out = append(out, strings.TrimSpace(w))
	}
	return out
}
