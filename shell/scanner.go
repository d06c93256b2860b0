package shell

import "strings"

// after is what the next word of a command is.
type after uint8

const (
	aCommand after = iota // or a keyword or an assignment
	aName                 // or a flag, after command and its like: no keyword and no assignment
	anArgument
	anEnd     // of a command around one that has ended, such as } after done
	aTarget   // of a redirection
	aFunction // to be declared
	aVariable // of for
	forIn     // the in of for, or do
	caseWord
	caseIn
	aPattern // of case
	inTest   // within [[ ]]
)

// keywords are the words that are special where a command is expected, and what comes after them.
var keywords = map[string]after{
	"if": aCommand, "then": aCommand, "elif": aCommand, "else": aCommand, "fi": anEnd,
	"while": aCommand, "until": aCommand, "do": aCommand, "done": anEnd, "for": aVariable, "select": aVariable,
	"case": caseWord, "esac": anEnd, "{": aCommand, "}": anEnd, "!": aCommand, "time": aCommand,
	"function": aFunction, "[[": inTest,
}

// namers are the commands whose next word is a command as well.
var namers = map[string]bool{"command": true, "exec": true, "builtin": true}

// redirections are their operators, longest first; & before > is not one of separate.
var redirections = []string{"&>>", "<<<", "<<-", "&>", "<<", "<&", "<>", ">>", ">|", ">&", "<", ">"}

// hereDoc is a here-document whose body begins on the next line.
type hereDoc struct {
	end      string
	verbatim bool // without expansions
	tabs     bool // before the lines are not theirs
}

// scanner finds out what the characters of a program are. It is not a parser: a program that is being typed
// is wrong most of the time, and is read as far as it goes. Each character is looked at once, or twice.
type scanner struct {
	text  []rune
	marks []kind
	at    int
	known func(command string) bool
	docs  []hereDoc
	funcs map[string]bool // that the program has declared so far
}

// kindsOf tells what each character of a program is part of, which may end anywhere.
func kindsOf(program []rune, known func(command string) bool) []kind {
	s := scanner{text: program, marks: make([]kind, len(program)), known: known, funcs: map[string]bool{}}
	s.list(-1)
	return s.marks
}

func newline(c rune) bool { return c == '\n' || c == pastedNewline }

// peek is the character n further on; -1 after the end.
func (s *scanner) peek(n int) rune {
	if s.at+n < len(s.text) {
		return s.text[s.at+n]
	}
	return -1
}

// begins reports whether the text goes on with word, which is ASCII.
func (s *scanner) begins(word string) bool {
	for i := range len(word) {
		if s.peek(i) != rune(word[i]) {
			return false
		}
	}
	return true
}

// take marks the next n characters, or as many as there are.
func (s *scanner) take(n int, k kind) {
	for ; n > 0 && s.at < len(s.text); n-- {
		s.marks[s.at] = k
		s.at++
	}
}

// mark marks what has been taken, from there on.
func (s *scanner) mark(from int, k kind) { s.markTo(from, s.at, k) }

func (s *scanner) markTo(from, to int, k kind) {
	for i := from; i < to; i++ {
		s.marks[i] = k
	}
}

// list reads commands up to the character end, which is left, or all there are: -1.
func (s *scanner) list(end rune) {
	next := aCommand
	var resume after // what comes after the target of a redirection
	var doc *hereDoc // the redirection's
	cases := 0
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case c == ' ' || c == '\t':
			s.at++
		case c == '\\' && newline(s.peek(1)):
			s.take(2, kindOperator)
		case newline(c):
			s.at++
			s.hereDocs()
			if next != caseIn && next != forIn && next != aPattern && next != inTest {
				next = aCommand
			}
		case c == '#':
			s.comment()
		case next == aPattern && strings.ContainsRune("()|", c):
			s.take(1, kindOperator)
			if c == ')' {
				next = aCommand
			}
		case next == inTest && strings.ContainsRune("()|&<>", c):
			s.take(1, kindOperator)
		case c == end:
			return
		case s.redirection() != "":
			op := s.redirection()
			s.take(len(op), kindOperator)
			doc = nil
			if op == "<<" || op == "<<-" {
				doc = &hereDoc{tabs: op == "<<-"}
			}
			if next != aTarget {
				resume = next
			}
			next = aTarget
		case strings.ContainsRune(";&|", c):
			next = s.separator(next, cases)
		case c == '(' && (next == aCommand || next == aVariable) && s.peek(1) == '(':
			s.take(2, kindOperator)
			s.arithmetic(kindOperator)
			next = anEnd
		case c == '(' && next == aCommand:
			s.within(kindOperator, 1)
			next = anEnd
		case c == '(' || c == ')':
			s.take(1, kindOperator)
		case c == '!' && next == aCommand && s.peek(1) == '(':
			s.take(1, kindKeyword)
		default:
			from := s.at
			text, bare := s.word()
			number := bare && strings.Trim(text, "0123456789") == "" && (s.peek(0) == '<' || s.peek(0) == '>')
			switch {
			case number && next != aTarget: // 2>
				s.mark(from, kindOperator)
			case next == aTarget:
				if doc != nil {
					doc.end, doc.verbatim = s.unquote(from)
					s.docs = append(s.docs, *doc)
				}
				next = resume
			default:
				next = s.use(from, text, bare, next, &cases)
			}
		}
	}
}

// redirection is the operator of one that begins here; "": none does.
func (s *scanner) redirection() string {
	if c := s.text[s.at]; c != '<' && c != '>' && c != '&' || c != '&' && s.peek(1) == '(' {
		return ""
	}
	for _, op := range redirections {
		if s.begins(op) {
			return op
		}
	}
	return ""
}

// comment takes the rest of the line.
func (s *scanner) comment() {
	for s.at < len(s.text) && !newline(s.text[s.at]) {
		s.take(1, kindComment)
	}
}

// separator takes what stands between two commands.
func (s *scanner) separator(next after, cases int) after {
	for _, op := range []string{";;&", ";;", ";&"} {
		if cases > 0 && s.begins(op) {
			s.take(len(op), kindOperator)
			return aPattern
		}
	}
	s.take(1, kindOperator)
	if next == forIn {
		return next
	}
	return aCommand
}

// use marks a word by its place in the command, and tells what comes after it.
func (s *scanner) use(from int, text string, bare bool, next after, cases *int) after {
	switch next {
	case aCommand:
		return s.command(from, text, bare, cases)
	case aName:
		switch {
		case bare && text[0] != '-':
			return s.name(from, s.at, text)
		case !bare || strings.ContainsAny(text, "vV"): // command -v only asks for what there is
			return anArgument
		}
	case anEnd:
		if _, ok := keywords[text]; ok && bare {
			return s.command(from, text, bare, cases)
		}
	case aFunction:
		s.mark(from, kindCommand)
		s.funcs[text] = true
		s.parentheses()
		return aCommand
	case aVariable:
		s.mark(from, kindVariable)
		return forIn
	case forIn:
		if bare && text == "do" {
			s.mark(from, kindKeyword)
			return aCommand
		}
		if bare && text == "in" {
			s.mark(from, kindKeyword)
		}
		return anArgument
	case caseWord:
		return caseIn
	case caseIn:
		if bare && text == "in" {
			s.mark(from, kindKeyword)
			*cases++
			return aPattern
		}
		return anArgument
	case aPattern:
		if bare && text == "esac" {
			s.mark(from, kindKeyword)
			*cases--
			return anEnd
		}
	case inTest:
		if bare && text == "]]" {
			s.mark(from, kindKeyword)
			return anEnd
		}
	}
	return next
}

// command marks a word where a command is expected.
func (s *scanner) command(from int, text string, bare bool, cases *int) after {
	if n := assignment(s.text[from:s.at]); n > 0 {
		s.markTo(from, from+n, kindVariable)
		return aCommand
	}
	if !bare {
		return anArgument
	}
	if next, ok := keywords[text]; ok {
		s.mark(from, kindKeyword)
		if text == "esac" {
			*cases = max(0, *cases-1)
		}
		return next
	}
	if text[0] == '-' { // time -p
		return aCommand
	}
	end := s.at
	if s.parentheses() {
		s.markTo(from, end, kindCommand)
		s.funcs[text] = true
		return aCommand
	}
	return s.name(from, end, text)
}

// name marks the name of a command.
func (s *scanner) name(from, to int, text string) after {
	name := strings.ReplaceAll(text, `\`, "")
	switch {
	case name == "" || strings.ContainsAny(name, "*?[{") && name != "[": // who knows what that will be
	case s.funcs[name] || s.known(name):
		s.markTo(from, to, kindCommand)
	default:
		s.markTo(from, to, kindUnknown)
	}
	if namers[name] {
		return aName
	}
	return anArgument
}

// assignment is the length of NAME=, NAME+= or NAME[INDEX]= at the beginning of a word; 0: there is none.
func assignment(word []rune) int {
	n := 0
	for n < len(word) && nameRune(word[n], n == 0) {
		n++
	}
	if n == 0 {
		return 0
	}
	if n < len(word) && word[n] == '[' {
		for n < len(word) && word[n] != ']' {
			n++
		}
		n++
	}
	if n < len(word) && word[n] == '+' {
		n++
	}
	if n < len(word) && word[n] == '=' {
		return n + 1
	}
	return 0
}

// nameRune reports whether a variable's name may have the character.
func nameRune(c rune, first bool) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || !first && '0' <= c && c <= '9'
}

// parentheses takes the () of a function, if they are here.
func (s *scanner) parentheses() bool {
	at := s.at
	blanks := func() {
		for s.peek(0) == ' ' || s.peek(0) == '\t' {
			s.at++
		}
	}
	blanks()
	if s.peek(0) == '(' {
		open := s.at
		s.at++
		if blanks(); s.peek(0) == ')' {
			s.marks[open] = kindOperator
			s.take(1, kindOperator)
			return true
		}
	}
	s.at = at
	return false
}

// within reads the commands between parentheses, of which the opening one is n characters long.
func (s *scanner) within(k kind, n int) {
	s.take(n, k)
	s.list(')')
	s.take(1, k)
}

// word takes a word and marks its quotes and expansions. bare: it has neither, and is text, but for backslashes.
func (s *scanner) word() (text string, bare bool) {
	from := s.at
	bare = true
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case c == '\\' && newline(s.peek(1)):
			s.take(2, kindOperator)
			bare = false
		case c == '\\':
			s.take(2, kindQuote)
		case c == '\'' || c == '"' || c == '`' || c == '$':
			s.special(kindPlain)
			bare = false
		case (c == '<' || c == '>') && s.peek(1) == '(': // a process behind a file
			s.within(kindVariable, 2)
			bare = false
		case c == '(' && s.at > from && strings.ContainsRune("?*+@!", s.text[s.at-1]): // an extended glob
			s.group()
			bare = false
		case c == '(' && s.at > from && s.text[s.at-1] == '=' && assignment(s.text[from:s.at]) == s.at-from: // an array
			s.group()
			bare = false
		case newline(c) || strings.ContainsRune(" \t;&|<>()", c):
			if bare {
				text = string(s.text[from:s.at])
			}
			return text, bare
		default:
			s.at++
		}
	}
	if bare {
		text = string(s.text[from:s.at])
	}
	return text, bare
}

// group takes words between parentheses.
func (s *scanner) group() {
	s.take(1, kindOperator)
	for s.at < len(s.text) && s.text[s.at] != ')' {
		switch c := s.text[s.at]; {
		case newline(c) || strings.ContainsRune(" \t;&|", c) || (c == '<' || c == '>') && s.peek(1) != '(':
			s.at++
		case c == '(':
			s.group()
		case c == '#' && strings.ContainsRune(" \t\n", s.text[s.at-1]):
			s.comment()
		default:
			at := s.at
			if s.word(); s.at == at {
				s.at++
			}
		}
	}
	s.take(1, kindOperator)
}

// special takes a quote, an expansion or a character, which begins here, in text of kind in.
func (s *scanner) special(in kind) {
	switch s.text[s.at] {
	case '\\':
		s.take(2, kindQuote)
	case '\'':
		s.take(1, kindQuote)
		s.until('\'', false)
	case '"':
		s.take(1, kindQuote)
		s.expanding('"', kindQuote, true)
	case '`':
		s.backquotes()
	case '$':
		s.dollar(in)
	default:
		s.take(1, in)
	}
}

// until takes a string to its closing quote.
func (s *scanner) until(quote rune, escapes bool) {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '\\' && escapes:
			s.take(2, kindQuote)
		case c == quote:
			s.take(1, kindQuote)
			return
		default:
			s.take(1, kindQuote)
		}
	}
}

// expanding takes what may have expansions in it, of kind k else, to its end. quoted: ' means itself.
func (s *scanner) expanding(end rune, k kind, quoted bool) {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == end:
			s.take(1, k)
			return
		case c == '\'' && quoted:
			s.take(1, k)
		default:
			s.special(k)
		}
	}
}

// backquotes takes `commands`. They end at the next backquote without a backslash, whatever they are.
func (s *scanner) backquotes() {
	s.take(1, kindVariable)
	all := s.text
	for end := s.at; end < len(all); end++ {
		if all[end] == '\\' {
			end++
		} else if all[end] == '`' {
			s.text = all[:end]
			break
		}
	}
	s.list(-1)
	s.text = all
	s.take(1, kindVariable)
}

// dollar takes what a $ begins.
func (s *scanner) dollar(in kind) {
	switch c := s.peek(1); {
	case s.begins("$(("):
		s.take(3, kindVariable)
		s.arithmetic(kindVariable)
	case c == '(':
		s.within(kindVariable, 2)
	case c == '{':
		s.take(2, kindVariable)
		s.expanding('}', kindVariable, in == kindQuote)
	case c == '\'' && in == kindPlain:
		s.take(2, kindQuote)
		s.until('\'', true)
	case c == '"' && in == kindPlain:
		s.take(1, kindQuote)
	case nameRune(c, true):
		s.take(2, kindVariable)
		for nameRune(s.peek(0), false) {
			s.take(1, kindVariable)
		}
	case c > 0 && strings.ContainsRune("@*#?-$!0123456789", c):
		s.take(2, kindVariable)
	default:
		s.take(1, in)
	}
}

// arithmetic takes an expression, whose opening parentheses have been taken, and the two that close it, of kind k.
func (s *scanner) arithmetic(k kind) {
	for depth := 0; s.at < len(s.text); {
		switch c := s.text[s.at]; {
		case c == '(':
			depth++
			s.at++
		case c == ')' && depth > 0:
			depth--
			s.at++
		case c == ')':
			if s.take(1, k); s.peek(0) == ')' {
				s.take(1, k)
			}
			return
		default:
			s.special(kindPlain)
		}
	}
}

// unquote returns a word that ends here without its quotes, and whether it had any.
func (s *scanner) unquote(from int) (word string, quoted bool) {
	var b strings.Builder
	for _, c := range s.text[from:s.at] {
		if strings.ContainsRune(`\'"`, c) {
			quoted = true
		} else {
			b.WriteRune(c)
		}
	}
	return b.String(), quoted
}

// hereDocs takes the here-documents that begin with this line.
func (s *scanner) hereDocs() {
	docs := s.docs
	s.docs = nil
	for _, doc := range docs {
		for s.at < len(s.text) {
			end := s.at
			for end < len(s.text) && !newline(s.text[end]) {
				end++
			}
			line := string(s.text[s.at:end])
			if doc.tabs {
				line = strings.TrimLeft(line, "\t")
			}
			if line == doc.end {
				s.take(end-s.at, kindOperator)
				s.at = min(s.at+1, len(s.text))
				break
			}
			for s.at < end {
				if c := s.text[s.at]; !doc.verbatim && (c == '$' || c == '`' || c == '\\') {
					s.special(kindQuote)
				} else {
					s.take(1, kindQuote)
				}
			}
			if s.at == end { // and not further, in an expansion of several lines
				s.at = min(s.at+1, len(s.text))
			}
		}
	}
}
