package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// commandPage makes a manual page of what kxsh COMMAND --help prints: a line, "usage:", paragraphs, "flags:" and "examples:".
func commandPage(name, help string) []byte {
	short, rest, _ := strings.Cut(help, "\n\n")
	rest, examples, _ := strings.Cut(rest, "\nexamples:\n")
	rest, flags, _ := strings.Cut(rest, "\nflags:\n")
	usage, long, _ := strings.Cut(rest, "\n")
	usage = strings.TrimPrefix(usage, "usage: ")
	var b bytes.Buffer
	begin(&b, "kxsh-"+name, short)
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B kxsh %s\n%s\n", escape(name), line(strings.TrimPrefix(usage, name+" ")))
	if long = strings.Trim(long, "\n"); long != "" {
		b.WriteString(".SH DESCRIPTION\n")
		paragraphs(&b, long)
	}
	if flags != "" {
		b.WriteString(".SH FLAGS\n")
		flagList(&b, flags)
	}
	if examples != "" {
		b.WriteString(".SH EXAMPLES\n.EX\n")
		for l := range strings.Lines(examples) {
			b.WriteString(line(strings.TrimSuffix(l, "\n")) + "\n")
		}
		b.WriteString(".EE\n")
	}
	b.WriteString(".SH \"SEE ALSO\"\n.BR kxsh (1)\n")
	return b.Bytes()
}

// ownPath is a default that is another one for each user.
var ownPath = regexp.MustCompile(` \(default "/[^"]*"\)`)

// programPage makes kxsh(1) of its usage and of the list of commands.
func programPage(usage, list string) []byte {
	forms, flags, _ := strings.Cut(usage, "\n\n")
	var b bytes.Buffer
	begin(&b, "kxsh", "a shell on a hypervisor whose processes are unikernel domains")
	b.WriteString(".SH SYNOPSIS\n.EX\n")
	for l := range strings.Lines(forms) {
		l = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSuffix(l, "\n"), "usage: "), "       ")
		b.WriteString(line(l) + "\n")
	}
	b.WriteString(".EE\n.SH FLAGS\n")
	flagList(&b, ownPath.ReplaceAllString(flags, ""))
	b.WriteString(".SH COMMANDS\n")
	_, tail, _ := strings.Cut(list, "\n\n")
	for l := range strings.Lines(list) {
		if name, short, ok := strings.Cut(strings.TrimSpace(l), "  "); ok && strings.HasPrefix(l, "  ") {
			fmt.Fprintf(&b, ".TP\n.BR kxsh\\-%s (1)\n%s\n", escape(name), line(strings.TrimSpace(short)))
		}
	}
	b.WriteString(".SH LANGUAGE\n")
	paragraphs(&b, strings.TrimSpace(tail))
	return b.Bytes()
}

func begin(b *bytes.Buffer, name, short string) {
	fmt.Fprintf(b, ".\\\" Generated from the command table: go generate ./docs/...\n.TH %s 1 \"\" kxsh \"kxsh manual\"\n.SH NAME\n%s \\- %s\n",
		strings.ToUpper(escape(name)), escape(name), escape(short))
}

func paragraphs(b *bytes.Buffer, text string) {
	for i, p := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString(".PP\n")
		}
		for l := range strings.Lines(p) {
			b.WriteString(line(strings.TrimSuffix(l, "\n")) + "\n")
		}
	}
}

// flagLine is a line of pflag's list.
var flagLine = regexp.MustCompile(`^ +(-.*?)(?:   +(.*))?$`)

func flagList(b *bytes.Buffer, flags string) {
	for l := range strings.Lines(flags) {
		if m := flagLine.FindStringSubmatch(strings.TrimSuffix(l, "\n")); m != nil {
			fmt.Fprintf(b, ".TP\n.B %s\n%s\n", escape(m[1]), line(m[2]))
		} else if l = strings.TrimSpace(l); l != "" {
			b.WriteString(line(l) + "\n")
		}
	}
}

// line is a line of text: one that begins like a request is kept from being one.
func line(s string) string {
	if s = escape(s); strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") || s == "" {
		return `\&` + s
	}
	return s
}

// escape is for all of a page: a hyphen is a minus, which can be copied.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`, `^`, `\(ha`, `~`, `\(ti`).Replace(s)
}
