package tui

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"kxsh/engine"
)

// filter is what the user typed to see or find some pVMs. All its words must hold. The zero filter keeps all.
type filter struct {
	text  string
	wants []word
	drops []word // those after a !
}

// word holds for a pVM or not.
type word func(*engine.Process) bool

// filterHelp is the words and what help says of them.
var filterHelp = [][2]string{
	{"7", "the pVM of this PID"},
	{"%7", "the family of this PID"},
	{"web.*", "names with a match of the regular expression, whatever the case"},
	{"!WORD", "all but these; in the tree, nor what is below them"},
	{"A B", "where both hold; in the tree, with what is below"},
}

// parseFilter understands words between blanks: a PID, %FAMILY, or else a regular expression (RE2), found anywhere
// in names whatever the case; ! before one of them is its inverse. What is not finished is an error.
func parseFilter(text string) (filter, error) {
	f := filter{text: strings.TrimSpace(text)}
	for _, s := range strings.Fields(text) {
		s, not := strings.CutPrefix(s, "!")
		w, err := parseWord(s)
		switch {
		case err != nil:
			return filter{}, err
		case not:
			f.drops = append(f.drops, w)
		default:
			f.wants = append(f.wants, w)
		}
	}
	return f, nil
}

func parseWord(s string) (word, error) {
	if s == "" {
		return nil, fmt.Errorf("!: all but what?")
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
	re, err := regexp.Compile("(?i)" + s)
	if err != nil {
		return nil, fmt.Errorf("%s: not a regular expression", s)
	}
	return func(p *engine.Process) bool { return re.MatchString(p.Name) }, nil
}

func (f *filter) empty() bool { return len(f.wants)+len(f.drops) == 0 }

// keeps tells whether a pVM is shown in the list.
func (f *filter) keeps(p *engine.Process) bool { return f.wanted(p) && !f.dropped(p) }

// wanted tells whether all words without ! hold; in the tree descendants are shown with it.
func (f *filter) wanted(p *engine.Process) bool {
	for _, w := range f.wants {
		if !w(p) {
			return false
		}
	}
	return true
}

// dropped tells whether a word after a ! holds; in the tree descendants go with it.
func (f *filter) dropped(p *engine.Process) bool {
	for _, w := range f.drops {
		if w(p) {
			return true
		}
	}
	return false
}
