package tui

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"kxsh/engine"
)

// filter is what the user typed to see or find some pVMs. The zero filter keeps all.
type filter struct {
	text  string
	wants []test
	drops []test // what came after a ! that stands for itself
}

// test holds for a pVM or not.
type test func(*engine.Process) bool

// filterHelp is what a filter may be and what help says of it.
var filterHelp = [][2]string{
	{"7", "the pVM of this PID"},
	{"%7", "the family of this PID"},
	{"web.*", "names with a match of the regular expression, whatever the case"},
	{"cpu>40", "a column, = != < > <= >=, and a number with its unit: mem>10M, time>=2m"},
	{"lib=libm", "a column of words, = or !=, and all of a word; " + `in "quotes" if it has blanks`},
	{"name~re", "a column of words and a regular expression, whatever the case; !~ for none"},
	{"A B, A & B", "where both hold; in the tree, with what is below"},
	{"A | B", "where one holds"},
	{"!A", "all but these; in the tree, nor what is below them"},
	{"(A | B) C", "parentheses first, then !, &, |"},
}

// filterMax is how long a filter may be.
const filterMax = 1000

// parseFilter understands what filterHelp tells. What is not finished is an error. An operator stands alone or beside what it
// connects; only | within a regular expression belongs to that.
func parseFilter(text string) (filter, error) {
	f := filter{text: strings.TrimSpace(text)}
	if len(f.text) > filterMax {
		return filter{}, fmt.Errorf("longer than %d bytes", filterMax)
	}
	p := parser{rest: f.text}
	p.blanks()
	if p.rest == "" {
		return f, nil
	}
	terms, err := p.either()
	switch {
	case err != nil:
		return filter{}, err
	case p.rest != "":
		return filter{}, errors.New("): there is no ( for it")
	}
	for _, t := range terms {
		if t.not {
			f.drops = append(f.drops, t.test)
		} else {
			f.wants = append(f.wants, t.test)
		}
	}
	return f, nil
}

// term is a test or its inverse.
type term struct {
	not  bool
	test test
}

// all is the test whether every term holds.
func all(terms []term) test {
	if len(terms) == 1 && !terms[0].not {
		return terms[0].test
	}
	return func(p *engine.Process) bool {
		for _, t := range terms {
			if t.test(p) == t.not {
				return false
			}
		}
		return true
	}
}

// parser takes a filter from left to right. Each of its methods leaves rest at what is not a blank.
type parser struct{ rest string }

func (p *parser) blanks() { p.rest = strings.TrimLeft(p.rest, " \t") }

// take takes an operator, if it comes next.
func (p *parser) take(op string) bool {
	rest, ok := strings.CutPrefix(p.rest, op)
	if ok {
		p.rest = rest
		p.blanks()
	}
	return ok
}

func (p *parser) at(ops string) bool { return p.rest != "" && strings.Contains(ops, p.rest[:1]) }

// either is A | B. What has no | comes as the terms that must all hold.
func (p *parser) either() ([]term, error) {
	terms, err := p.both()
	if err != nil || !p.at("|") {
		return terms, err
	}
	tests := []test{all(terms)}
	for p.take("|") {
		if terms, err = p.both(); err != nil {
			return nil, err
		}
		tests = append(tests, all(terms))
	}
	return []term{{test: func(q *engine.Process) bool {
		for _, t := range tests {
			if t(q) {
				return true
			}
		}
		return false
	}}}, nil
}

// both is A B or A & B.
func (p *parser) both() ([]term, error) {
	var terms []term
	for {
		if p.rest == "" {
			return nil, errors.New("something is missing at the end")
		}
		if p.at("|&)") {
			return nil, fmt.Errorf("something is missing before %s", p.rest[:1])
		}
		t, err := p.one()
		if err != nil {
			return nil, err
		}
		terms = append(terms, t...)
		if !p.take("&") && (p.rest == "" || p.at("|)")) {
			return terms, nil
		}
	}
}

// one is a word, !A, or (A).
func (p *parser) one() ([]term, error) {
	switch {
	case p.take("!"):
		if p.rest == "" || p.at("|&)") {
			return nil, errors.New("!: all but what?")
		}
		terms, err := p.one()
		if err != nil {
			return nil, err
		}
		if len(terms) == 1 {
			return []term{{!terms[0].not, terms[0].test}}, nil
		}
		return []term{{true, all(terms)}}, nil
	case p.take("("):
		terms, err := p.either()
		if err == nil && !p.take(")") {
			err = errors.New("(: there is no ) for it")
		}
		return terms, err
	}
	w := p.word()
	t, err := parseWord(w)
	return []term{{test: t}}, err
}

// comparison is a column, what connects it, and a value.
var comparison = regexp.MustCompile(`^%?[A-Za-z]+(!=|!~|<=|>=|=|<|>|~)`)

// word takes a word: up to a blank or an operator outside of the parentheses, brackets and quotes of a value or a regular
// expression, in which | is an operator only if it stands alone or a comparison or a ! follows.
func (p *parser) word() string {
	head := comparison.FindString(p.rest)
	exact := head != "" && !strings.HasSuffix(head, "~")
	depth, class := 0, false
	s, i := p.rest, len(head)
scan:
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' && i == len(head) && head != "":
			if n := strings.IndexByte(s[i+1:], '"'); n >= 0 {
				i += 1 + n
			} else {
				i = len(s) - 1
			}
		case c == ' ' || c == '\t':
			break scan
		case c == '\\' && !exact:
			i++
		case class:
			class = c != ']'
		case c == '[' && !exact:
			class = true
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == ')', c == '&', c == '|' && (exact || alone(s[i+1:])):
			break scan
		}
	}
	i = min(i, len(s)) // after a \ at the end
	p.rest = s[i:]
	p.blanks()
	return s[:i]
}

// alone tells of what follows a | that it does not belong to a regular expression.
func alone(rest string) bool {
	return rest == "" || strings.Contains(" \t!", rest[:1]) || comparison.MatchString(rest)
}

func parseWord(s string) (test, error) {
	if head := comparison.FindString(s); head != "" {
		return parseComparison(s, head)
	}
	if family, ok := strings.CutPrefix(s, "%"); ok {
		n, err := strconv.Atoi(family)
		if err != nil {
			return nil, fmt.Errorf("%s: a family is a number", s)
		}
		return func(p *engine.Process) bool { return p.Family == n && !p.Foreign }, nil
	}
	if n, err := strconv.Atoi(s); err == nil {
		return func(p *engine.Process) bool { return p.PID == n }, nil
	}
	re, err := expression(s)
	if err != nil {
		return nil, err
	}
	return func(p *engine.Process) bool { return re.MatchString(p.Name) }, nil
}

func expression(s string) (*regexp.Regexp, error) {
	re, err := regexp.Compile("(?i)" + s)
	if err != nil {
		return nil, fmt.Errorf("%s: not a regular expression", s)
	}
	return re, nil
}

func (f *filter) empty() bool { return len(f.wants)+len(f.drops) == 0 }

// keeps tells whether a pVM is shown in the list.
func (f *filter) keeps(p *engine.Process) bool { return f.wanted(p) && !f.dropped(p) }

// wanted tells whether all that does not stand behind a ! holds; in the tree descendants are shown with it.
func (f *filter) wanted(p *engine.Process) bool {
	for _, t := range f.wants {
		if !t(p) {
			return false
		}
	}
	return true
}

// dropped tells whether something behind a ! holds; in the tree descendants go with it.
func (f *filter) dropped(p *engine.Process) bool {
	for _, t := range f.drops {
		if t(p) {
			return true
		}
	}
	return false
}
