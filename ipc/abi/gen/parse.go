package main

import (
	"fmt"
	"regexp"
	"strings"
)

// kind tells what a line of a header became.
type kind int

const (
	blank   kind = iota
	comment      // a comment on lines of its own
	constant
	openStruct
	field
	closeStruct
)

// item is one thing of a header, in the order of the header.
type item struct {
	kind kind
	// name is the C name of a constant, struct or field.
	name string
	// value is a constant's expression in Go's spelling, or a field's Go type.
	value string
	// note is the comment behind it, or the lines of a comment of its own.
	note []string
}

var (
	reDefine = regexp.MustCompile(`^#define\s+(\w+)\s+(.+)$`)
	reGuard  = regexp.MustCompile(`^#define\s+\w+_H$`)
	reOther  = regexp.MustCompile(`^#(ifndef|endif|include)\b`)
	reNumber = regexp.MustCompile(`^\(?((?:0x[0-9a-fA-F]+|[0-9]+))U?L?L?(?: << ([0-9]+))?\)?$`)
	reStruct = regexp.MustCompile(`^struct (\w+) \{$`)
	reField  = regexp.MustCompile(`^(struct )?(\w+) ([\w, \[\]]+);$`)
	reName   = regexp.MustCompile(`^(\w+)(?:\[(\w+)\])?$`)
	reNote   = regexp.MustCompile(`^(.*?)\s*/\*\s*(.*?)\s*\*/$`)
)

var scalars = map[string]string{
	"uint8_t": "uint8", "uint16_t": "uint16", "uint32_t": "uint32", "uint64_t": "uint64",
	"int8_t": "int8", "int16_t": "int16", "int32_t": "int32", "int64_t": "int64",
	"char": "byte",
}

// parser reads one header after the other; later ones may use the names of earlier ones.
type parser struct {
	consts   map[string]bool
	structs  map[string]bool
	items    []item
	inStruct bool
}

func newParser() *parser {
	return &parser{consts: map[string]bool{}, structs: map[string]bool{}}
}

// parse reads a header and returns its items. Anything outside the subset is an error: a
// declaration that was passed over would be a hole in the contract.
func (p *parser) parse(file, text string) ([]item, error) {
	p.items, p.inStruct = nil, false
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		first := i
		line := strings.TrimSpace(lines[i])
		if strings.HasPrefix(line, "/*") && !strings.HasSuffix(line, "*/") {
			for i+1 < len(lines) && !strings.HasSuffix(line, "*/") {
				i++
				line += "\n" + lines[i]
			}
		}
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, first+1, err)
		}
	}
	if p.inStruct {
		return nil, fmt.Errorf("%s: the last struct has no end", file)
	}
	return p.items, nil
}

func (p *parser) line(line string) error {
	switch {
	case line == "":
		p.add(item{kind: blank})
		return nil
	case strings.HasPrefix(line, "/*"):
		p.add(item{kind: comment, note: commentLines(line)})
		return nil
	case reGuard.MatchString(line), reOther.MatchString(line):
		return nil
	}
	var note []string
	if m := reNote.FindStringSubmatch(line); m != nil {
		line, note = m[1], []string{m[2]}
	}
	if m := reDefine.FindStringSubmatch(line); m != nil {
		return p.define(m[1], m[2], note)
	}
	if m := reStruct.FindStringSubmatch(line); m != nil && !p.inStruct {
		p.inStruct = true
		p.structs[m[1]] = true
		p.add(item{kind: openStruct, name: m[1], note: note})
		return nil
	}
	if line == "};" && p.inStruct {
		p.inStruct = false
		p.add(item{kind: closeStruct})
		return nil
	}
	if m := reField.FindStringSubmatch(line); m != nil && p.inStruct {
		return p.fields(m[1] != "", m[2], m[3], note)
	}
	return fmt.Errorf("outside the subset of C that the generator reads: %s", line)
}

func (p *parser) add(it item) { p.items = append(p.items, it) }

func (p *parser) define(name, value string, note []string) error {
	m := reNumber.FindStringSubmatch(value)
	if m == nil {
		return fmt.Errorf("%s is no integer constant: %s", name, value)
	}
	expr := m[1]
	if m[2] != "" {
		expr += " << " + m[2]
	}
	p.consts[name] = true
	p.add(item{kind: constant, name: name, value: expr, note: note})
	return nil
}

// fields reads one declaration, which may declare several fields of one type.
func (p *parser) fields(isStruct bool, ctype, names string, note []string) error {
	gotype := scalars[ctype]
	if isStruct {
		if !p.structs[ctype] {
			return fmt.Errorf("struct %s is not declared yet", ctype)
		}
		gotype = goName(ctype)
	}
	if gotype == "" {
		return fmt.Errorf("%s is no type of fixed width", ctype)
	}
	for _, decl := range strings.Split(names, ",") {
		m := reName.FindStringSubmatch(strings.TrimSpace(decl))
		if m == nil {
			return fmt.Errorf("cannot read the field %q", decl)
		}
		t := gotype
		if n := m[2]; n != "" {
			if p.consts[n] {
				n = goName(n)
			} else if !reNumber.MatchString(n) {
				return fmt.Errorf("%s is not declared yet", n)
			}
			t = "[" + n + "]" + t
		}
		p.add(item{kind: field, name: m[1], value: t, note: note})
		note = nil
	}
	return nil
}

// commentLines takes the marks off a comment and keeps its lines.
func commentLines(c string) []string {
	c = strings.TrimSuffix(strings.TrimPrefix(c, "/*"), "*/")
	var out []string
	for _, l := range strings.Split(c, "\n") {
		l = strings.TrimPrefix(strings.TrimSpace(l), "*")
		out = append(out, strings.TrimRight(strings.TrimPrefix(l, " "), " \t"))
	}
	for len(out) > 0 && out[0] == "" {
		out = out[1:]
	}
	for len(out) > 0 && out[len(out)-1] == "" {
		out = out[:len(out)-1]
	}
	return out
}

// goName spells a C name as Go does: words begin with a capital, kxsh's own constants lose KX_.
func goName(c string) string {
	words := strings.Split(strings.TrimPrefix(c, "KX_"), "_")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + strings.ToLower(w[1:])
		}
	}
	return strings.Join(words, "")
}
